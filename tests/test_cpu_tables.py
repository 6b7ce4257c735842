"""Chains of tables and sums of one 8-bit integer as one table, against the ops as they were."""

import numpy as np
import pytest

from mcc.backends.cpu.tables import ComposeTables
from mcc.ir import Array, Module, evaluate, parse
from mcc.passes import Dce, run_passes

CONSTANTS = """
%table = constant(@table) : u8[256]
%half = constant(u8 200) : u8[]
%halves = constant(@halves) : u8[4]
%s = constant(f32 0.037) : f32[]
%t = constant(f32 0.0078) : f32[]
%z = constant(u8 121) : u8[]
%c = constant(f32 0.5) : f32[]
%cs = constant(@cs) : f32[4]
"""
SUM = "zero=3, lo=0, hi=255, dtype=u8"
GELU = f"""
%e = lookup(%x, %table) : u8[2,128,4]
%a = qadd(%e, %half, a_scale=0.9, b_scale=0.5, a_zero=127, b_zero=2, {SUM}) : u8[2,128,4]
%xf = dequantize(%x, %s, %z) : f32[2,128,4]
%af = dequantize(%a, %t, %z) : f32[2,128,4]
%m = mul(%xf, %af) : f32[2,128,4]
%h = mul(%m, %c) : f32[2,128,4]
%y = quantize(%h, %t, %z) : u8[2,128,4]
"""


def module(body: str, dtype: str = "u8") -> Module:
    rng = np.random.default_rng(0)
    arrays = {
        "table": rng.integers(0, 256, 256).astype("u1"),
        "halves": rng.integers(0, 256, 4).astype("u1"),
        "cs": rng.random(4, np.float32),
    }
    inputs = f"%x: {dtype}[2,128,4], %other: u8[2,128,4]"
    used = {name: array for name, array in arrays.items() if f"@{name})" in CONSTANTS}
    return parse(f'module @v({inputs}) -> ("y") {{\n{CONSTANTS}{body}yield(%y)\n}}\n', used)


def steps(found: Module) -> list[str]:
    return [op.op_name for op in found.ops() if op.op_name not in ("constant", "yield")]


def evaluated(found: Module, dtype: str) -> Array:
    low = -128 if dtype == "i8" else 0
    every = np.arange(low, low + 256).astype("i1" if dtype == "i8" else "u1")
    x = np.resize(every, (2, 128, 4))
    other = np.random.default_rng(1).integers(0, 256, x.shape).astype("u1")
    return evaluate(found, {"x": x, "other": other})["y"]


@pytest.mark.parametrize("dtype", ["u8", "i8"])
def test_a_gelu_of_single_ops_is_one_table(dtype: str) -> None:
    body = GELU if dtype == "u8" else GELU.replace("%xf = dequantize(%x,", "%xf = dequantize(%e,")
    found = run_passes(module(body, dtype), [ComposeTables(), Dce()])
    assert steps(found) == ["lookup"]
    np.testing.assert_array_equal(evaluated(found, dtype), evaluated(module(body, dtype), dtype))


@pytest.mark.parametrize(
    ("body", "left"),
    [
        # A table of a sum of two tensors begins at the sum.
        (
            f"""
%q = qadd(%x, %other, a_scale=0.9, b_scale=0.5, {SUM}) : u8[2,128,4]
%d = lookup(%q, %table) : u8[2,128,4]
%y = lookup(%d, %table) : u8[2,128,4]
""",
            ["qadd", "lookup"],
        ),
        (
            f"""
%d = lookup(%x, %table) : u8[2,128,4]
%y = qadd(%d, %other, a_scale=0.9, b_scale=0.5, {SUM}) : u8[2,128,4]
""",
            ["lookup", "qadd"],
        ),
        (
            f"""
%d = lookup(%x, %table) : u8[2,128,4]
%y = qadd(%d, %halves, a_scale=0.9, b_scale=0.5, {SUM}) : u8[2,128,4]
""",
            ["lookup", "qadd"],
        ),
        (
            """
%d = lookup(%x, %table) : u8[2,128,4]
%f = dequantize(%d, %s, %z) : f32[2,128,4]
%m = mul(%f, %cs) : f32[2,128,4]
%y = quantize(%m, %s, %z) : u8[2,128,4]
""",
            ["lookup", "dequantize", "mul", "quantize"],
        ),
        # Without a table the ops are fast by themselves.
        (
            f"""
%y = qadd(%x, %half, a_scale=0.9, b_scale=0.5, {SUM}) : u8[2,128,4]
""",
            ["qadd"],
        ),
    ],
)
def test_what_depends_on_more_stays(body: str, left: list[str]) -> None:
    found = run_passes(module(body), [ComposeTables(), Dce()])
    assert steps(found) == left
    np.testing.assert_array_equal(evaluated(found, "u8"), evaluated(module(body), "u8"))


def test_long_chains_become_one_table_piece_by_piece() -> None:
    lines = ["%v0 = lookup(%x, %table) : u8[2,128,4]"]
    for number in range(100):
        to = "%y" if number == 99 else f"%v{number + 1}"
        lines.append(
            f"{to} = qadd(%v{number}, %half, a_scale=0.99, b_scale=0.01, {SUM}) : u8[2,128,4]"
        )
    body = "\n" + "\n".join(lines) + "\n"
    found = run_passes(module(body), [ComposeTables(), Dce()])
    assert steps(found) == ["lookup"]
    np.testing.assert_array_equal(evaluated(found, "u8"), evaluated(module(body), "u8"))
