"""The C kernels of the RISC-V host against each op's own definition."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from c_kernels import Cases
from hypothesis import given, settings
from hypothesis import strategies as st

import mcc.ops as ops
from mcc.backends.riscv_accel.riscv.calls import EXACT, HostCode
from mcc.backends.riscv_accel.riscv.selftest import fnv1a
from mcc.ir import Array, DType, Module, Op, Region, Tensor, UserError, Value, Yield, constant

F32, I8, U8, I32 = DType.F32, DType.I8, DType.U8, DType.I32
Build = Callable[..., Op]
"""`build(region, *inputs)`: any number of inputs."""


Port = tuple[DType, tuple[int, ...]]


def module(x: Port, *, op: Callable[[Region, Value], Op]) -> Module:
    """A module of one op with one input; `op` gets the region and the input."""
    body = Region([Tensor(*x)], ["x0"])
    return _around(body, op(body, *body.args))


def module2(x: Port, y: Port, *, op: Callable[[Region, Value, Value], Op]) -> Module:
    """The same with two inputs."""
    body = Region([Tensor(*x), Tensor(*y)], ["x0", "x1"])
    return _around(body, op(body, *body.args))


def _around(body: Region, op: Op) -> Module:
    body.append(op)
    body.append(Yield((op.results[0],)))
    return Module("case", body, ("y",))


def const(body: Region, array: Array) -> Value:
    return body.append(constant(array)).result


def f32(*numbers: float) -> Array:
    return np.array(numbers, np.float32)


def scalar(number: float) -> Array:
    return np.array(number, np.float32)


def quantize(scale: Array, zero: Array, axis: int = 1) -> Build:
    def build(b: Region, x: Value) -> Op:
        return ops.Quantize(x, const(b, scale), const(b, zero), axis)

    return build


def dequantize(scale: Array, zero: Array, axis: int = 1) -> Build:
    def build(b: Region, x: Value) -> Op:
        return ops.Dequantize(x, const(b, scale), const(b, zero), axis)

    return build


def requantize(multiplier: Array, **fields: Any) -> Build:
    def build(b: Region, x: Value) -> Op:
        return ops.Requantize(x, const(b, multiplier), **fields)

    return build


def conv(w: Array, **fields: Any) -> Build:
    def build(b: Region, x: Value, bias: Value | None = None) -> Op:
        return ops.Conv(x, const(b, w), bias, **fields)

    return build


def resample(indices: Array) -> Build:
    def build(b: Region, x: Value) -> Op:
        weights = floats(*indices.shape)
        return ops.Resample(x, const(b, indices), const(b, weights), 1)

    return build


def _state(b: Region, hidden: int, batch: int, gates: int) -> tuple[Value, Value, Value]:
    """Recurrent weights, which are small, a state, and lengths."""
    weights = floats(hidden, gates * hidden) * np.float32(0.3)
    lengths = np.arange(batch, dtype=np.int32) + 1
    return const(b, weights), const(b, floats(batch, hidden)), const(b, lengths)


def lstm(hidden: int, batch: int = 2, *, full: bool = False, **fields: Any) -> Build:
    def build(b: Region, x: Value) -> Op:
        r, h, lengths = _state(b, hidden, batch, 4)
        if not full:
            return ops.Lstm(x, r, h, h, **fields)
        return ops.Lstm(x, r, h, h, const(b, floats(3 * hidden)), lengths, **fields)

    return build


def gru(hidden: int, batch: int = 2, *, full: bool = False, **fields: Any) -> Build:
    def build(b: Region, x: Value) -> Op:
        r, h, lengths = _state(b, hidden, batch, 3)
        if not full:
            return ops.Gru(x, r, h, **fields)
        return ops.Gru(x, r, h, const(b, floats(hidden)), lengths, **fields)

    return build


def rnn(hidden: int, batch: int = 2, *, full: bool = False, **fields: Any) -> Build:
    def build(b: Region, x: Value) -> Op:
        r, h, lengths = _state(b, hidden, batch, 1)
        return ops.Rnn(x, r, h, lengths if full else None, **fields)

    return build


def alone(build: Callable[[Value], Op]) -> Callable[[Region, Value], Op]:
    """An op of one operand."""
    return lambda b, x: build(x)


def pair(build: Callable[[Value, Value], Op]) -> Callable[[Region, Value, Value], Op]:
    """An op of two operands."""
    return lambda b, x, y: build(x, y)


_RANDOM = np.random.default_rng(1)


def bytes_(*shape: int) -> Array:
    return _RANDOM.integers(-128, 128, shape).astype(np.int8)


def floats(*shape: int) -> Array:
    return _RANDOM.normal(size=shape).astype(np.float32)


def positive(body: Region) -> Value:
    return const(body, np.abs(floats(3)) + np.float32(0.5))


I8_0, U8_7 = np.array(-3, np.int8), np.array(7, np.uint8)
TABLE = bytes_(256)

MODULES: dict[str, Module] = {
    "quantize": module((F32, (2, 3, 5)), op=quantize(scalar(0.037), I8_0)),
    "quantize u8": module((F32, (31,)), op=quantize(scalar(0.5), U8_7)),
    "quantize axis": module(
        (F32, (2, 3, 4)), op=quantize(f32(0.1, 2.0, 0.007), np.array([0, 5, -128], np.int8))
    ),
    "quantize power of two": module((F32, (2, 40)), op=quantize(scalar(0.125), I8_0)),
    "quantize small power": module((F32, (2, 40)), op=quantize(scalar(2.0**-40), I8_0)),
    "quantize large power": module((F32, (2, 40)), op=quantize(scalar(2.0**40), I8_0)),
    "dequantize": module((I8, (2, 3, 5)), op=dequantize(scalar(0.037), I8_0)),
    "dequantize u8": module((U8, (17,)), op=dequantize(scalar(0.3), U8_7)),
    "dequantize i32": module(
        (I32, (2, 3)), op=dequantize(f32(0.1, 1e-9, 3), np.array([0, 2**31 - 1, -9], np.int32))
    ),
    "requantize": module((I32, (2, 50)), op=requantize(scalar(0.00137), zero=-5, lo=-100, hi=99)),
    "requantize axis": module((I32, (1, 3, 9)), op=requantize(f32(0.1, 0.003, 1e-7))),
    "requantize u8": module(
        (I32, (60,)), op=requantize(scalar(0.01), zero=3, lo=0, hi=255, axis=0, dtype=U8)
    ),
    "requantize power of two": module((I32, (2, 50)), op=requantize(scalar(2.0**-9), zero=4)),
    "requantize left": module((I32, (2, 50)), op=requantize(scalar(4.0))),
    "qadd": module2(
        (I8, (2, 3, 4)), (I8, (2, 3, 4)), op=lambda b, x, y: ops.QAdd(x, y, 0.71, 0.33, 2, -7, 5)
    ),
    "qadd broadcast": module2(
        (I8, (2, 3, 4)), (U8, (3, 1)), op=lambda b, x, y: ops.QAdd(x, y, 0.5, 0.25, 0, 128, 0, -9)
    ),
    "lookup": module((I8, (70,)), op=lambda b, x: ops.Lookup(x, const(b, TABLE))),
    "lookup u8 to f32": module((U8, (70,)), op=lambda b, x: ops.Lookup(x, const(b, floats(256)))),
    "conv i8": module(
        (I8, (2, 4, 7, 6)), op=conv(bytes_(6, 2, 3, 3), groups=2, pads=(1, 0, 2, 1), pad_value=-4)
    ),
    "conv i8 nhwc": module(
        (I8, (1, 6, 7, 3)),
        op=conv(bytes_(5, 3, 3, 2), strides=(2, 1), dilations=(1, 2), layout="nhwc", lo=0.0),
    ),
    "conv u8 1d": module((U8, (1, 3, 9)), op=conv(bytes_(4, 3, 3), pads=(1, 1), pad_value=128)),
    "conv residual": module2(
        (I8, (1, 2, 4, 4)),
        (I8, (1, 3, 4, 4)),
        op=lambda b, x, r: ops.Conv(
            x,
            const(b, bytes_(3, 2, 1, 1)),
            const(b, np.array([2**31 - 1, -5, 7], np.int32)),
            r,
            const(b, np.array([300, -2, 2**30], np.int32)),
        ),
    ),
    "conv f32": module2(
        (F32, (1, 3, 5, 5)), (F32, (4,)), op=conv(floats(4, 3, 3, 3), pads=(1, 1, 1, 1), lo=0.0)
    ),
    "conv f32 3d": module((F32, (1, 2, 3, 4, 5)), op=conv(floats(2, 1, 2, 2, 2), groups=2)),
    "matmul i8": module(
        (I8, (3, 7)),
        op=lambda b, x: ops.Matmul(x, const(b, bytes_(7, 5)), const(b, bytes_(5).astype(np.int32))),
    ),
    "matmul batch": module2(
        (I8, (2, 1, 3, 4)), (U8, (5, 4, 2)), op=lambda b, x, y: ops.Matmul(x, y)
    ),
    "matmul f32": module2(
        (F32, (2, 3, 7)), (F32, (7, 4)), op=lambda b, x, y: ops.Matmul(x, y, hi=6.0)
    ),
    "max_pool": module(
        (I8, (1, 2, 7, 7)), op=lambda b, x: ops.MaxPool(x, (3, 2), (2, 2), (1, 0, 1, 1))
    ),
    "max_pool u8 nhwc": module(
        (U8, (1, 5, 6, 3)),
        op=lambda b, x: ops.MaxPool(x, (2, 2), ceil=True, strides=(2, 2), layout="nhwc"),
    ),
    "max_pool f32": module((F32, (1, 2, 9)), op=lambda b, x: ops.MaxPool(x, (3,), dilations=(2,))),
    "sum_pool": module(
        (I8, (1, 2, 6, 6)), op=lambda b, x: ops.SumPool(x, (3, 3), (2, 2), (1, 1, 1, 1), zero=-7)
    ),
    "avg_pool": module(
        (F32, (1, 2, 6, 6)), op=lambda b, x: ops.AvgPool(x, (3, 3), (2, 2), (1, 1, 1, 1))
    ),
    "avg_pool padded": module(
        (F32, (1, 2, 5, 5)),
        op=lambda b, x: ops.AvgPool(x, (3, 3), (2, 2), (1, 1, 1, 1), ceil=True, include_pad=True),
    ),
    "reshape": module((I8, (2, 6)), op=lambda b, x: ops.Reshape(x, (3, 4))),
    "transpose": module((I8, (2, 3, 4)), op=lambda b, x: ops.Transpose(x, (2, 0, 1))),
    "transpose f32": module((F32, (5, 3)), op=lambda b, x: ops.Transpose(x, (1, 0))),
    "concat": module2((I8, (2, 3)), (I8, (2, 5)), op=lambda b, x, y: ops.Concat((x, y, x), 1)),
    "slice": module((F32, (5, 6)), op=lambda b, x: ops.Slice(x, (4, 1), (-1, 6), (-2, 3))),
    "expand": module((I8, (3, 1)), op=lambda b, x: ops.Expand(x, (2, 3, 4))),
    "pad": module((I8, (2, 3)), op=lambda b, x: ops.Pad(x, (1, -1, 0, 2), -128.0)),
    "pad f32": module((F32, (2, 3)), op=lambda b, x: ops.Pad(x, (0, 2, 1, 0), 1.5)),
    "gather": module(
        (F32, (2, 5, 3)), op=lambda b, x: ops.Gather(x, const(b, np.array([[0, -1], [3, 2]])), 1)
    ),
    "resample": module((F32, (2, 5, 3)), op=resample(np.array([[0, 9], [-1, 3]]))),
    "resample i32": module((F32, (2, 5, 3)), op=resample(np.array([[4, 2]], np.int32))),
    "lstm": module((F32, (3, 2, 20)), op=lstm(5)),
    "lstm full": module((F32, (4, 3, 12)), op=lstm(3, 3, full=True, clip=0.5, gate="hard_sigmoid")),
    "gru": module((F32, (3, 2, 15)), op=gru(5, reverse=True)),
    "gru bias": module((F32, (3, 2, 12)), op=gru(4, 2, full=True, cell="relu")),
    "rnn": module((F32, (3, 2, 6)), op=rnn(6)),
    "rnn lengths": module((F32, (3, 2, 6)), op=rnn(6, full=True, reverse=True, clip=0.5)),
    **{
        name: module((F32, (3, 7)), op=alone(build))
        for name, build in {
            "neg": ops.Neg,
            "abs": ops.Abs,
            "exp": ops.Exp,
            "log": ops.Log,
            "sqrt": ops.Sqrt,
            "reciprocal": ops.Reciprocal,
            "tanh": ops.Tanh,
            "sigmoid": ops.Sigmoid,
            "erf": ops.Erf,
            "sin": ops.Sin,
            "cos": ops.Cos,
            "atan": ops.Atan,
            "floor": ops.Floor,
            "round": ops.Round,
            "relu": ops.Relu,
        }.items()
    },
    "leaky_relu": module((F32, (9,)), op=lambda b, x: ops.LeakyRelu(x, 0.1)),
    "clip": module((F32, (9,)), op=lambda b, x: ops.Clip(x, -1.0, 0.7)),
    **{
        name: module2((F32, (2, 3)), (F32, (3,)), op=pair(build))
        for name, build in {
            "add": ops.Add,
            "sub": ops.Sub,
            "mul": ops.Mul,
            "div": ops.Div,
            "min": ops.Minimum,
            "max": ops.Maximum,
        }.items()
    },
    "softmax": module((F32, (2, 5, 3)), op=lambda b, x: ops.Softmax(x, 1)),
    "reduce_mean": module((F32, (2, 5, 3)), op=lambda b, x: ops.ReduceMean(x, (0, 2), True)),
    "reduce_sum": module((F32, (2, 5, 3)), op=lambda b, x: ops.ReduceSum(x, (1,))),
    "reduce_max": module((F32, (2, 5, 3)), op=lambda b, x: ops.ReduceMax(x, (0, 1))),
    "batch_norm": module(
        (F32, (2, 3, 4)),
        op=lambda b, x: ops.BatchNorm(x, positive(b), positive(b), positive(b), positive(b)),
    ),
    "layer_norm": module(
        (F32, (4, 6)), op=lambda b, x: ops.LayerNorm(x, const(b, floats(6)), const(b, floats(6)))
    ),
}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Cases]:
    """Every module in one library, with float arithmetic and for a host without it."""
    built: dict[bool, Cases] = {}
    for shifts in (False, True):
        found = built[shifts] = Cases(shifts=shifts)
        for each in MODULES.values():
            found.add(each)
        found.build(tmp_path_factory.mktemp("kernels"))
    return built


def feeds_for(target: Module, seed: int) -> dict[str, Array]:
    """Inputs over many orders of magnitude, with ties, infinities and NaN among the floats."""
    random = np.random.default_rng(seed)
    feeds: dict[str, Array] = {}
    for value in target.inputs:
        dtype, shape = value.tensor.dtype, value.tensor.dims
        if dtype is F32:
            array: Array = random.normal(size=shape) * 10.0 ** random.integers(-3, 3)
            halves = random.integers(-40, 40, shape) * 0.5
            array = np.where(random.random(shape) < 0.3, halves, array)
        elif dtype is I32:
            array = random.integers(
                -(2 ** random.integers(3, 24)), 2 ** random.integers(3, 24), shape
            )
        else:
            array = random.integers(dtype.limits[0], dtype.limits[1] + 1, shape)
        feeds[value.name] = np.asarray(array).astype(dtype.numpy)
    return feeds


@pytest.mark.parametrize("name", MODULES)
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), shifts=st.booleans())
def test_a_kernel_equals_the_definition(
    name: str, seed: int, shifts: bool, cases: dict[bool, Cases]
) -> None:
    number = list(MODULES).index(name)
    target = MODULES[name]
    feeds = feeds_for(target, seed)
    got = cases[shifts].run(number, feeds)
    want = cases[shifts].expected(number, feeds)
    if all(isinstance(op, EXACT) for op in target.body if op.operands and op.results) or (
        want.dtype != np.float32
    ):
        np.testing.assert_array_equal(got, want)
    else:
        size = float(np.nanmax(np.abs(np.where(np.isfinite(want), want, 0)), initial=0))
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6 * size)


@pytest.mark.parametrize("name", ["quantize", "quantize u8", "quantize power of two", "relu"])
@pytest.mark.parametrize("shifts", [False, True])
def test_infinities_and_nan(name: str, shifts: bool, cases: dict[bool, Cases]) -> None:
    target = MODULES[name]
    (value,) = target.inputs
    odd = f32(np.inf, -np.inf, np.nan, 0.0, -0.0, 1e-45, 3e38, -3e38, 0.0625, 0.1875)
    feeds = {value.name: np.resize(odd, value.tensor.dims)}
    number = list(MODULES).index(name)
    got = cases[shifts].run(number, feeds)
    np.testing.assert_array_equal(got, cases[shifts].expected(number, feeds))


def test_square_roots_are_correctly_rounded(cases: dict[bool, Cases]) -> None:
    number = list(MODULES).index("sqrt")
    random = np.random.default_rng(3)
    for _ in range(200):
        bits = random.integers(0, 0x7F800001, (3, 7)).astype(np.uint32)
        feeds = {"x0": bits.view(np.float32)}
        want = cases[False].expected(number, feeds)
        np.testing.assert_array_equal(cases[False].run(number, feeds), want)


def test_an_op_without_a_kernel_is_named_with_its_node() -> None:
    body = Region([Tensor(I32, (3,))], ["x"])
    op = body.append(ops.Abs(body.args[0]).named("y", ["/head/Abs"]))
    with pytest.raises(UserError, match=r"/head/Abs: abs \(i32\[3\]\) cannot run .* RISC-V host"):
        HostCode(lambda value: value.name).call(op)


def test_the_hash_of_test_vectors() -> None:
    # Test values of the hash's authors (draft-eastlake-fnv).
    assert (fnv1a(b""), fnv1a(b"a"), fnv1a(b"foobar")) == (0x811C9DC5, 0xE40C292C, 0xBF9CF968)
