"""Element-wise kernels of the CPU backend, alone and fused, against the ops' definitions."""

import math
from importlib import import_module

import numpy as np
import pytest
from cpu_cases import Array, Cases, Chain, bind, chained, floats, integers
from processors import native_without

from mcc.backends.cpu import library_members
from mcc.backends.cpu.fuse import absorbed_values
from mcc.ir import DType, Op, Value, evaluate, parse
from mcc.ops import (
    Abs,
    Add,
    And,
    Atan,
    Cast,
    Clip,
    Conv,
    Cos,
    Dequantize,
    Div,
    Equal,
    Erf,
    Exp,
    Floor,
    Greater,
    LeakyRelu,
    Less,
    Log,
    Lookup,
    Matmul,
    Maximum,
    Minimum,
    Mul,
    Neg,
    Not,
    Or,
    Pow,
    QAdd,
    Quantize,
    Reciprocal,
    Relu,
    Remainder,
    Requantize,
    Round,
    Sigmoid,
    Sin,
    Softmax,
    Sqrt,
    Sub,
    SumPool,
    Tanh,
    Where,
)
from mcc.runtime.library import Library

SPECIAL = np.array([0.0, -0.0, math.inf, -math.inf, math.nan, 1e-40, -1e-40, 3e38], np.float32)


def test_unary_ops() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([SPECIAL, floats(rng, 1003) * 10])
    cases = Cases()
    for cls in (Neg, Abs, Relu):
        for dtype in ("f4", "f8", "i4", "i1"):
            cases.add(
                cls.op_name, cls, np.nan_to_num(x, posinf=9, neginf=-9).clip(-99, 99).astype(dtype)
            )
    for exact in (Floor, Round):
        halves = np.concatenate([SPECIAL, np.arange(-9, 9, 0.25, dtype="f4"), x])
        for dtype in ("f4", "f8"):
            cases.add(exact.op_name, exact, halves.astype(dtype))
    for angle in (Sin, Cos, Atan):
        for dtype in ("f4", "f8"):
            cases.add(angle.op_name, angle, floats(rng, 99).astype(dtype) * 10, tolerance=1e-6)
    close: list[type[Op]] = [Neg, Abs, Relu, LeakyRelu, Sqrt, Reciprocal]
    for unary in close:
        cases.add(unary.op_name, unary, x, tolerance=1e-6)
    cases.add("clip", bind(Clip, lo=-1.0, hi=6.0), x)
    cases.add("clip_i", bind(Clip, lo=-3.0), integers(rng, 77))
    cases.add("not", Not, x > 0)
    for dtype, to in (("f4", "i32"), ("f4", "f64"), ("i4", "f32"), ("i1", "i64"), ("?", "f32")):
        values = (floats(rng, 100) * 50).astype(dtype)
        cases.add(f"cast_{dtype}_{to}", bind(Cast, to=DType(to)), values)
    cases.add("cast_truth", bind(Cast, to=DType.I1), x)
    cases.check()


@pytest.mark.parametrize("without", [(), ("avx512dq",)], ids=["all", "no-avx512dq"])
@pytest.mark.parametrize("rest", range(4))
def test_elementary_functions_over_their_whole_range(without: tuple[str, ...], rest: int) -> None:
    everywhere = np.concatenate(
        [SPECIAL, np.linspace(-110, 110, 20001, dtype="f4"), np.logspace(-30, 1, 999, dtype="f4")]
    )
    everywhere = np.concatenate([everywhere, -everywhere])
    everywhere = everywhere[: len(everywhere) // 16 * 16 - 16 + (1, 7, 14, 0)[rest]]
    cases = Cases()
    for cls in (Exp, Sigmoid, Tanh, Erf, Log):
        for dtype in ("f4", "f8"):
            cases.add(f"{cls.op_name}_{dtype}", cls, everywhere.astype(dtype))
    module, feeds = cases.module()
    members = library_members(module, native_without(*without))
    found = Library(members["library.so"], members["library.json"]).run(list(feeds.values()))
    wanted = evaluate(module, feeds)
    for array, (name, exact) in zip(found, wanted.items(), strict=True):
        # Denormal results may lose bits, those of sigmoid may become 0; nothing else may.
        lost = 1.2e-38 if "sigmoid" in name else 1e-42
        np.testing.assert_allclose(array, exact, rtol=1e-5, atol=lost, err_msg=name)
        np.testing.assert_array_equal(array[2:5], exact[2:5], err_msg=name)  # infinities and NaN


def test_what_is_read_twice_by_one_kernel_is_not_stored() -> None:
    text = """module @silu(%x: f32[1,8,8,4]) -> ("y", "z") {
  %w = constant(@w) : f32[16,4,1,1]
  %a = conv(%x, %w, layout="nhwc") : f32[1,8,8,16]
  %b = sigmoid(%a) : f32[1,8,8,16]
  %y = mul(%a, %b) : f32[1,8,8,16]
  %c = conv(%x, %w, layout="nhwc") : f32[1,8,8,16]
  %d = sigmoid(%c) : f32[1,8,8,16]
  %e = exp(%d) : f32[1,8,8,16]
  %z = reduce_sum(%c, axes=[3]) : f32[1,8,8]
  yield(%y, %z)
}"""
    import_module("mcc.backends.cpu.kernels")  # says what can be fused
    module = parse(text, {"w": np.ones((16, 4, 1, 1), np.float32)})
    absorbed = {value.name for value in absorbed_values(module)}
    # c is read by a sum as well, which is no part of d's kernel.
    assert absorbed == {"a", "b", "d"}


def test_binary_ops_broadcast() -> None:
    rng = np.random.default_rng(1)
    shapes = [
        ((2, 3, 17), (2, 3, 17)),
        ((4, 5, 33), (33,)),
        ((4, 1, 33), (5, 1)),
        ((), (7,)),
        ((1, 3, 8, 8), (3, 1, 1)),
        ((0, 4), (4,)),
    ]
    cases = Cases()
    for left, right in shapes:
        a, b = floats(rng, *left), floats(rng, *right)
        for cls in (Add, Sub, Mul, Div, Minimum, Maximum, Equal, Less, Greater):
            cases.add(
                f"{cls.op_name}{left}{right}", cls, a, b, tolerance=0 if cls is not Div else 1e-6
            )
        cases.add("pow", Pow, np.abs(a), b, tolerance=1e-5)
        cases.add("remainder", Remainder, a * 100, b)
        cases.add("where", Where, a > 0, a, b)
        cases.add("add_clamped", bind(Add, lo=0.0, hi=1.0), a, b)
    special = np.stack(np.meshgrid(SPECIAL, SPECIAL)).reshape(2, -1)
    for cls in (Minimum, Maximum, Add, Mul, Less, Equal):
        cases.add(f"{cls.op_name}_special", cls, special[0], special[1])
    for dtype in ("i1", "u1", "i4", "i8"):
        a, b = integers(rng, 40, dtype=dtype), integers(rng, 40, dtype=dtype)
        b[:3] = 0
        if dtype != "u1":
            a[4], b[4] = np.iinfo(dtype).min, -1
        for binary in (Add, Sub, Mul, Div, Remainder, Minimum, Maximum, Less, And, Or):
            cases.add(f"{binary.op_name}_{dtype}", binary, a, b)
        cases.add(f"pow_{dtype}", Pow, a, np.abs(integers(rng, 40)).clip(0, 9).astype(dtype))
    for logical in (And, Or):
        cases.add(logical.op_name, logical, rng.random(50) > 0.5, rng.random(50) > 0.5)
    cases.check()


@pytest.mark.parametrize("dtype", ["i1", "u1"])
def test_quotients_are_rounded_as_a_division_rounds_them(dtype: str) -> None:
    rng = np.random.default_rng(11)
    info = np.iinfo(dtype)
    halves = np.arange(-300, 300, 0.5)
    scales = [np.nextafter(np.float32(2), np.float32(1)), np.float32(1), np.float32(1 / 3)]
    scales += [np.float32(s) for s in (2.0**-64, 1e-30, 2.0**64, 1e30)]
    scales += list(np.exp2(rng.uniform(-20, 5, 25)).astype("f4"))
    cases = Cases()
    for number, scale in enumerate(scales):
        ties = (halves * float(scale)).astype("f4")
        # Where quotients round to a half or just do not, and beyond both ends of the range.
        near = [(ties.view("i4") + step).view("f4") for step in range(-3, 4)]
        x = np.concatenate([SPECIAL, *near])
        zero = np.array((info.min, -3, 77, info.max)[number % 4]).astype(dtype)
        cases.add(f"quantize{number}", Quantize, x, constants=[np.array(scale), zero])
    cases.check()


def test_quantization_ops_are_exact() -> None:
    rng = np.random.default_rng(5)
    x = np.concatenate([SPECIAL, floats(rng, 5000) * 40, np.arange(-300, 300, 0.5).astype("f4")])
    scale = np.float32(0.37)
    cases = Cases()
    for dtype, zero in (("i1", -3), ("u1", 128), ("i2", 1000), ("i4", 77)):
        constants: list[Array] = [np.array(scale), np.array(zero, dtype)]
        cases.add(f"quantize_{dtype}", Quantize, x, constants=constants)
        q = integers(rng, 999, dtype=dtype)
        cases.add(f"dequantize_{dtype}", Dequantize, q, constants=constants)
    rows = floats(rng, 4, 6, 5) * 50
    vectors = [(rng.random(6) + 0.1).astype("f4"), integers(rng, 6)]
    cases.add("quantize_rows", Quantize, rows, constants=vectors)
    cases.add("quantize_last", bind(Quantize, axis=2), floats(rng, 4, 5, 6), *vectors)
    cases.add("dequantize_rows", Dequantize, integers(rng, 4, 6, 5), constants=vectors)

    total = rng.integers(-(2**31), 2**31, 20000).astype("i4")
    for multiplier in (1e-9, 3.7e-8, 2.0**-24, 0.5):
        for zero, to in ((0, DType.I8), (-128, DType.I8), (200, DType.U8)):
            lo, hi = to.limits
            make = bind(Requantize, zero=zero, lo=lo, hi=hi, dtype=to)
            cases.add(
                f"requantize{multiplier}", make, total, constants=[np.array(multiplier, "f4")]
            )

    a, b = np.meshgrid(np.arange(-128, 128), np.arange(-128, 128))
    a8, b8 = a.ravel().astype("i1"), b.ravel().astype("i1")
    # A fused multiply-add would give other results for some pairs under each of the first six.
    scales = [(0.4403292238712311, 0.13786008954048157), (1.8482142686843872, 0.1964285671710968)]
    scales += [(0.373913049697876, 0.447826087474823), (0.3777429461479187, 0.2507837116718292)]
    scales += [(0.36181819438934326, 0.44363635778427124), (0.40673574805259705, 0.165803104639)]
    scales += [
        (float(np.float32(left)), float(np.float32(right))) for left, right in rng.random((6, 2))
    ]
    for left, right in scales:
        make = bind(QAdd, a_scale=left, b_scale=right, a_zero=5, b_zero=-9, zero=3)
        cases.add(f"qadd{left},{right}", make, a8, b8)
    table = integers(rng, 256)
    cases.add("lookup_i8", Lookup, integers(rng, 300), constants=[table])
    cases.add("lookup_u8", Lookup, integers(rng, 300, dtype="u1"), table)
    cases.check()


def test_what_is_fused_is_the_same() -> None:
    rng = np.random.default_rng(6)
    cases = Cases()

    @chained
    def gelu(chain: Chain, x: Value, half: Value, one: Value, root: Value) -> Op:
        bell = chain(Add(chain(Erf(chain(Div(x, root)))), one))
        return Mul(chain(Mul(x, half)), bell)

    scalars = [np.array(value, "f4") for value in (0.5, 1.0, 2**0.5)]
    cases.add("gelu", gelu, floats(rng, 7, 129), constants=scalars, tolerance=1e-5)

    @chained
    def swish(chain: Chain, x: Value, w: Value, slope: Value) -> Op:
        total = chain(Conv(x, w, pads=(1, 1, 1, 1)))
        return Mul(chain(Tanh(chain(Mul(total, slope)))), slope)

    weights, slope = floats(rng, 20, 5, 3, 3), floats(rng, 20, 1, 1)
    cases.add(
        "conv_tanh", swish, floats(rng, 1, 5, 9, 9), constants=[weights, slope], tolerance=1e-4
    )

    @chained
    def logarithm(chain: Chain, x: Value, w: Value) -> Op:
        return Log(chain(Abs(chain(Matmul(x, w)))))

    cases.add(
        "matmul_log", logarithm, floats(rng, 5, 8), constants=[floats(rng, 8, 33)], tolerance=1e-4
    )

    @chained
    def pooled(chain: Chain, x: Value, multiplier: Value) -> Op:
        return Requantize(chain(SumPool(x, kernel=(4, 4), zero=3)), multiplier, zero=3)

    cases.add("sum_pool", pooled, integers(rng, 2, 33, 8, 8), constants=[np.array(0.06, "f4")])

    @chained
    def reciprocal_softmax(chain: Chain, x: Value) -> Op:
        return Reciprocal(chain(Softmax(x, axis=1)))

    cases.add("softmax", reciprocal_softmax, floats(rng, 3, 40), tolerance=1e-5)

    @chained
    def silu(chain: Chain, x: Value, w: Value, bias: Value) -> Op:
        total = chain(Add(chain(Conv(x, w)), bias))
        return Mul(total, chain(Sigmoid(total)))

    constants = [floats(rng, 20, 5, 3, 3), floats(rng, 20, 1, 1)]
    cases.add("silu", silu, floats(rng, 1, 5, 9, 9), constants=constants, tolerance=1e-4)

    @chained
    def squares(chain: Chain, x: Value) -> Op:
        for _ in range(40):  # were each computed twice, it would never end
            half = chain(Abs(x))
            x = chain(Maximum(half, chain(Neg(half))))
        return Mul(x, x)

    cases.add("squares", squares, floats(rng, 3, 40), tolerance=1e-5)
    library = cases.check()
    assert not library.table.fused, "values without a name are not listed"
    cases.check(layout=True)
