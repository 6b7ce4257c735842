"""canonicalize, fold-constants, cse, dce: IR before, IR after."""

import time
from collections.abc import Callable

import numpy as np
import pytest
from pass_cases import (
    constants,
    declines,
    feeds_of,
    module_of,
    op_counts,
    rewrites,
    run,
    same_bits,
)

from mcc.ir import DType, Module, Region, Tensor, Value, Yield, constant, evaluate
from mcc.ops import Add, Mul, Relu
from mcc.passes import pipeline, run_passes

VECTOR = '(%x: f32[64]) -> ("y")'

EXACT = {
    "a constant stands second": (
        "%c = constant(f32 2.0) : f32[]\n%y = mul(%c, %x) : f32[64]\nyield(%y)",
        "%c = constant(f32 2.0) : f32[]\n%y = mul(%x, %c) : f32[64]\nyield(%y)",
    ),
    "a difference is a sum": (
        "%c = constant(f32 2.5) : f32[]\n%y = sub(%x, %c) : f32[64]\nyield(%y)",
        "%c = constant(f32 -2.5) : f32[]\n%y = add(%x, %c) : f32[64]\nyield(%y)",
    ),
    "minus zero is nothing": (
        "%c = constant(f32 0.0) : f32[]\n%y = sub(%x, %c) : f32[64]\nyield(%y)",
        "yield(%x)",
    ),
    "times and by one": (
        "%c = constant(f32 1.0) : f32[]\n%a = mul(%x, %c) : f32[64]\n"
        "%y = div(%a, %c) : f32[64]\nyield(%y)",
        "yield(%x)",
    ),
    "a quotient by a power of two is a product": (
        "%c = constant(f32 -8.0) : f32[]\n%y = div(%x, %c) : f32[64]\nyield(%y)",
        "%c = constant(f32 -0.125) : f32[]\n%y = mul(%x, %c) : f32[64]\nyield(%y)",
    ),
    "any other quotient is not": (
        "%c = constant(f32 3.0) : f32[]\n%y = div(%x, %c) : f32[64]\nyield(%y)",
        "%c = constant(f32 3.0) : f32[]\n%y = div(%x, %c) : f32[64]\nyield(%y)",
    ),
    "nor one whose reciprocal is subnormal": (
        "%c = constant(f32 1.7014118346046923e+38) : f32[]\n%y = div(%x, %c) : f32[64]\nyield(%y)",
        "%c = constant(f32 1.7014118e+38) : f32[]\n%y = div(%x, %c) : f32[64]\nyield(%y)",
    ),
    "twice negated": ("%a = neg(%x) : f32[64]\n%y = neg(%a) : f32[64]\nyield(%y)", "yield(%x)"),
    "first power": (
        "%c = constant(f32 1.0) : f32[]\n%y = pow(%x, %c) : f32[64]\nyield(%y)",
        "yield(%x)",
    ),
    "relu of relu": (
        '%a = relu(%x) : f32[64] from "/a"\n%y = relu(%a) : f32[64] from "/b"\nyield(%y)',
        '%y = relu(%x) : f32[64] from "/a", "/b"\nyield(%y)',
    ),
    "bounds become one clip": (
        "%l = constant(f32 -1.0) : f32[]\n%h = constant(f32 6.0) : f32[]\n"
        "%a = max(%x, %l) : f32[64]\n%y = min(%h, %a) : f32[64]\nyield(%y)",
        "%y = clip(%x, lo=-1.0, hi=6.0) : f32[64]\nyield(%y)",
    ),
    "clip of clip, apart": (
        "%a = clip(%x, lo=2.0, hi=3.0) : f32[64]\n%y = clip(%a, lo=-1.0, hi=1.0) : f32[64]\n"
        "yield(%y)",
        "%y = clip(%x, lo=1.0, hi=1.0) : f32[64]\nyield(%y)",
    ),
    "a clip that is a relu": (
        "%y = clip(%x, lo=0.0) : f32[64]\nyield(%y)",
        "%y = relu(%x) : f32[64]\nyield(%y)",
    ),
    "a clip of everything": ("%y = clip(%x) : f32[64]\nyield(%y)", "yield(%x)"),
    "a cast to what it is": ("%y = cast(%x, to=f32) : f32[64]\nyield(%y)", "yield(%x)"),
    "a cast there and back": (
        "%a = cast(%x, to=f64) : f64[64]\n%y = cast(%a, to=f32) : f32[64]\nyield(%y)",
        "yield(%x)",
    ),
    "a cast through less stays": (
        "%a = cast(%x, to=f16) : f16[64]\n%y = cast(%a, to=f32) : f32[64]\nyield(%y)",
        "%a = cast(%x, to=f16) : f16[64]\n%y = cast(%a, to=f32) : f32[64]\nyield(%y)",
    ),
}


@pytest.mark.parametrize("case", EXACT)
def test_arithmetic_keeps_every_bit(case: str) -> None:
    before, after = EXACT[case]
    rewrites("canonicalize,dce", before, after, VECTOR, special=True)


IMAGE = '(%x: f32[2,3,4]) -> ("y")'
SHAPES = {
    "reshape of reshape": (
        "%a = reshape(%x, shape=[24]) : f32[24]\n%y = reshape(%a, shape=[4,6]) : f32[4,6]\n"
        "yield(%y)",
        "%y = reshape(%x, shape=[4, 6]) : f32[4,6]\nyield(%y)",
    ),
    "there and back": (
        "%a = reshape(%x, shape=[24]) : f32[24]\n%y = reshape(%a, shape=[2,3,4]) : f32[2,3,4]\n"
        "yield(%y)",
        "yield(%x)",
    ),
    "transpose of transpose": (
        "%a = transpose(%x, perm=[1,2,0]) : f32[3,4,2]\n"
        "%y = transpose(%a, perm=[0,2,1]) : f32[3,2,4]\nyield(%y)",
        "%y = transpose(%x, perm=[1, 0, 2]) : f32[3,2,4]\nyield(%y)",
    ),
    "a transpose undone": (
        "%a = transpose(%x, perm=[1,2,0]) : f32[3,4,2]\n"
        "%y = transpose(%a, perm=[2,0,1]) : f32[2,3,4]\nyield(%y)",
        "yield(%x)",
    ),
    "pads add up": (
        "%a = pad(%x, pads=[0,1,0,0,0,2]) : f32[2,4,6]\n"
        "%y = pad(%a, pads=[0,1,1,0,0,0]) : f32[2,5,7]\nyield(%y)",
        "%y = pad(%x, pads=[0, 2, 1, 0, 0, 2]) : f32[2,5,7]\nyield(%y)",
    ),
    "pads of two kinds do not": (
        "%a = pad(%x, pads=[0,1,0,0,0,2]) : f32[2,4,6]\n"
        "%y = pad(%a, pads=[0,1,1,0,0,0], value=1.0) : f32[2,5,7]\nyield(%y)",
        "%a = pad(%x, pads=[0, 1, 0, 0, 0, 2]) : f32[2,4,6]\n"
        "%y = pad(%a, pads=[0, 1, 1, 0, 0, 0], value=1.0) : f32[2,5,7]\nyield(%y)",
    ),
    "no pad, whole slice, one part, no axes, own shape": (
        "%a = pad(%x, pads=[0,0,0,0,0,0]) : f32[2,3,4]\n"
        "%b = slice(%a, starts=[0,0,0], stops=[2,3,4]) : f32[2,3,4]\n"
        "%c = concat(%b, axis=1) : f32[2,3,4]\n%d = reduce_max(%c, axes=[]) : f32[2,3,4]\n"
        "%y = expand(%d, shape=[3,1]) : f32[2,3,4]\nyield(%y)",
        "yield(%x)",
    ),
    "a backward slice stays": (
        "%y = slice(%x, starts=[1,0,0], stops=[-1,3,4], steps=[-1,1,1]) : f32[2,3,4]\nyield(%y)",
        "%y = slice(%x, starts=[1, 0, 0], stops=[-1, 3, 4], steps=[-1, 1, 1]) : f32[2,3,4]\n"
        "yield(%y)",
    ),
    "a window of one element": (
        "%y = max_pool(%x, kernel=[1], strides=[1]) : f32[2,3,4]\nyield(%y)",
        "yield(%x)",
    ),
}


@pytest.mark.parametrize("case", SHAPES)
def test_movement_is_simplified(case: str) -> None:
    before, after = SHAPES[case]
    rewrites("canonicalize,dce", before, after, IMAGE)


REAL = {
    "plus zero": (
        "%c = constant(f32 0.0) : f32[]\n%y = add(%x, %c) : f32[64]\nyield(%y)",
        "yield(%x)",
    ),
    "factors": (
        "%c = constant(f32 3.0) : f32[]\n%d = constant(f32 5.0) : f32[]\n"
        "%a = mul(%x, %c) : f32[64]\n%y = mul(%a, %d) : f32[64]\nyield(%y)",
        "%0 = constant(f32 15.0) : f32[]\n%y = mul(%x, %0) : f32[64]\nyield(%y)",
    ),
    "square": (
        "%c = constant(f32 2.0) : f32[]\n%y = pow(%x, %c) : f32[64]\nyield(%y)",
        "%y = mul(%x, %x) : f32[64]\nyield(%y)",
    ),
}


@pytest.mark.parametrize("case", REAL)
def test_rules_for_real_numbers_need_to_be_asked_for(case: str) -> None:
    before, after = REAL[case]
    rewrites("canonicalize{exact=false},dce", before, after, VECTOR, exact=False)
    module = module_of(before, VECTOR)
    run(module, "canonicalize,dce")
    assert op_counts(module) == op_counts(module_of(before, VECTOR))


def test_adding_zero_keeps_the_sign_of_zero() -> None:
    text = "%c = constant(f32 0.0) : f32[]\n%y = add(%x, %c) : f32[64]\nyield(%y)"
    declines("canonicalize", text, VECTOR, "x + 0.0 makes 0.0 of -0.0")


def test_a_clamping_add_is_not_nothing() -> None:
    text = "%c = constant(f32 -0.0) : f32[]\n%y = add(%x, %c, lo=0.0) : f32[64]\nyield(%y)"
    module = module_of(text, VECTOR)
    run(module, "canonicalize")
    assert op_counts(module) == {"add": 1}


def test_constants_are_computed() -> None:
    module = module_of(
        "%a = constant(f32 [1.0, 2.0]) : f32[2]\n%b = constant(f32 [3.0, 5.0]) : f32[2]\n"
        "%c = mul(%a, %b) : f32[2]\n%d = concat(%c, %a, axis=0) : f32[4]\n"
        "%y = add(%x, %d) : f32[4]\nyield(%y)",
        '(%x: f32[4]) -> ("y")',
    )
    run(module, "fold-constants")
    assert [array.tolist() for array in constants(module)] == [[3, 10, 1, 2]]
    assert op_counts(module) == {"add": 1}


def test_a_result_that_would_blow_up_the_file_stays() -> None:
    text = (
        "%a = constant(f32 1.0) : f32[]\n%b = expand(%a, shape=[1000,1000]) : f32[1000,1000]\n"
        "%y = add(%x, %b) : f32[1000,1000]\nyield(%y)"
    )
    signature = '(%x: f32[1000,1000]) -> ("y")'
    declines("fold-constants", text, signature, "the result has 4000000 bytes, its operands 4, ")
    module = module_of(text, signature)
    run(module, "fold-constants{limit=4000000}")
    assert op_counts(module) == {"add": 1}


QDQ = """
    %s = constant(f32 0.5) : f32[]
    %z = constant(i8 0) : i8[]
    %q = constant(@q) : i8[4,3]
    %w = dequantize(%q, %s, %z) : f32[4,3]
    %t = transpose(%w, perm=[1,0]) : f32[3,4]
    %y = matmul(%x, %t) : f32[2,4]
    yield(%y)
"""


def test_the_quantized_form_of_weights_survives() -> None:
    weights = {"q": np.arange(12, dtype=np.int8).reshape(4, 3)}
    module = module_of(QDQ, '(%x: f32[2,3]) -> ("y")', weights)
    feeds = feeds_of(module)
    expected = evaluate(module, feeds)["y"]
    run(module, "fold-constants,dce")
    assert op_counts(module) == {"dequantize": 1, "matmul": 1}
    assert np.array_equal(constants(module)[-1], weights["q"].T)
    assert same_bits(expected, evaluate(module, feeds)["y"])


def test_a_per_channel_scale_follows_its_axis() -> None:
    text = QDQ.replace("f32 0.5) : f32[]", "f32 [0.5, 1.0, 2.0, 3.0]) : f32[4]")
    text = text.replace("i8 0) : i8[]", "i8 [0, 0, 1, 0]) : i8[4]").replace("%z)", "%z, axis=0)")
    module = module_of(
        text, '(%x: f32[2,3]) -> ("y")', {"q": np.arange(12, dtype=np.int8).reshape(4, 3)}
    )
    feeds = feeds_of(module)
    expected = evaluate(module, feeds)["y"]
    run(module, "fold-constants,dce")
    assert op_counts(module) == {"dequantize": 1, "matmul": 1}
    assert same_bits(expected, evaluate(module, feeds)["y"])


def test_weights_are_quantized_only_where_asked() -> None:
    text = """
        %s = constant(f32 0.5) : f32[]
        %z = constant(i8 0) : i8[]
        %w = constant(f32 [1.0, 2.0]) : f32[2]
        %q = quantize(%w, %s, %z) : i8[2]
        yield(%q)
    """
    declines("fold-constants", text, '() -> ("q")', "weights are quantized only where asked")
    module = module_of(text, '() -> ("q")')
    run(module, "fold-constants{quantize=true}")
    assert constants(module)[-1].tolist() == [2, 4]


def test_an_index_outside_is_left_to_the_run() -> None:
    text = """
        %a = constant(f32 [1.0, 2.0]) : f32[2]
        %i = constant(i64 [7]) : i64[1]
        %y = gather(%a, %i) : f32[1]
        yield(%y)
    """
    declines("fold-constants", text, '() -> ("y")', "its evaluation fails: ")


def test_equal_ops_become_one() -> None:
    rewrites(
        "cse",
        """
        %a = constant(f32 2.0) : f32[]
        %b = constant(f32 2.0) : f32[]
        %c = mul(%x, %a) : f32[64] from "/c"
        %d = mul(%x, %b) : f32[64] from "/d"
        %y = add(%c, %d) : f32[64] from "/y"
        yield(%y)
        """,
        """
        %a = constant(f32 2.0) : f32[]
        %c = mul(%x, %a) : f32[64] from "/c", "/d"
        %y = add(%c, %c) : f32[64] from "/y"
        yield(%y)
        """,
        VECTOR,
    )


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("constant(f32 0.0) : f32[]", "constant(f32 -0.0) : f32[]"),
        ("constant(i32 1) : i32[] quant(0.5, 0)", "constant(i32 1) : i32[] quant(0.25, 0)"),
        ("clip(%x, lo=0.0) : f32[64]", "clip(%x, lo=-0.0) : f32[64]"),
        ("clip(%x, lo=0.0) : f32[64]", "clip(%x, hi=0.0) : f32[64]"),
        ("relu(%x) : f32[64]", "neg(%x) : f32[64]"),
    ],
)
def test_ops_that_differ_in_anything_stay_two(left: str, right: str) -> None:
    module = module_of(f"%a = {left}\n%b = {right}\nyield(%a, %b)", '(%x: f32[64]) -> ("a", "b")')
    assert run(module, "cse")[0].rewrites == 0


def test_what_nobody_reads_goes() -> None:
    runs = rewrites(
        "dce",
        "%a = relu(%x) : f32[64]\n%b = neg(%a) : f32[64]\n%c = abs(%x) : f32[64]\nyield(%c)",
        "%c = abs(%x) : f32[64]\nyield(%c)",
        VECTOR,
    )
    assert dict(runs[0].fired) == {"remove neg": 1, "remove relu": 1}


def chain(length: int) -> Module:
    """length ops in a row, every second one a relu of a relu."""
    region = Region([Tensor(DType.F32, (8,))], ["x"])
    value: Value = region.args[0]
    for i in range(length):
        op = Relu(value) if i % 3 else Add(value, value)
        value = region.append(op.named(f"v{i}", [f"/{i}"])).result
    region.append(Yield((value,)))
    return Module("chain", region, ["y"])


def tree(leaves: int) -> Module:
    """One input read by `leaves` branches with constants of their own, added in pairs."""
    region = Region([Tensor(DType.F32, (8,))], ["x"])
    values: list[Value] = []
    for i in range(leaves):
        factor = region.append(constant(np.full(8, i, np.float32))).result
        values.append(region.append(Mul(region.args[0], factor).named(f"v{i}", [f"/{i}"])).result)
    while len(values) > 1:
        pairs = zip(values[::2], values[1::2], strict=False)
        rest = values[len(values) // 2 * 2 :]
        values = [region.append(Add(a, b)).result for a, b in pairs] + rest
    region.append(Yield((values[0],)))
    return Module("tree", region, ["y"])


@pytest.mark.slow
@pytest.mark.parametrize(("make", "share"), [(chain, 1), (tree, 3)])
def test_time_grows_with_the_number_of_ops(make: Callable[[int], Module], share: int) -> None:
    times: list[float] = []
    for ops in (5_000, 20_000):
        module = make(ops // share)
        started = time.perf_counter()
        run_passes(module, pipeline(2))
        times.append(time.perf_counter() - started)
    assert times[1] < 8 * times[0]
    assert times[1] < 20
