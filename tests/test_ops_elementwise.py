"""Element-wise ops, reductions and normalizations against onnxruntime and exact formulas."""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.ir_judge import onnxruntime_op, run

from mcc.ir import Array, DType, Op, OpError
from mcc.ops import (
    Abs,
    Add,
    And,
    Atan,
    BatchNorm,
    Cast,
    Clip,
    Cos,
    Div,
    Equal,
    Erf,
    Exp,
    Floor,
    Greater,
    LayerNorm,
    LeakyRelu,
    Less,
    Log,
    Matmul,
    Maximum,
    Minimum,
    Mul,
    Neg,
    Not,
    Or,
    Pow,
    Reciprocal,
    ReduceMax,
    ReduceMean,
    ReduceSum,
    Relu,
    Remainder,
    Round,
    Sigmoid,
    Sin,
    Softmax,
    Sqrt,
    Sub,
    Tanh,
    Where,
)

SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, 0.3, -7.5, 40.0, -40.0, 1e-30, 3e38], np.float32)
ODD = np.array([np.nan, np.inf, -np.inf], np.float32)

UNARY: list[tuple[type[Op], str]] = [
    (Neg, "Neg"),
    (Abs, "Abs"),
    (Exp, "Exp"),
    (Log, "Log"),
    (Sqrt, "Sqrt"),
    (Reciprocal, "Reciprocal"),
    (Tanh, "Tanh"),
    (Sigmoid, "Sigmoid"),
    (Erf, "Erf"),
    (Sin, "Sin"),
    (Cos, "Cos"),
    (Atan, "Atan"),
    (Floor, "Floor"),
    (Round, "Round"),
    (Relu, "Relu"),
    (LeakyRelu, "LeakyRelu"),
]


@pytest.mark.parametrize(("op_class", "onnx_name"), UNARY)
def test_unary(op_class: type[Op], onnx_name: str) -> None:
    x = np.concatenate([SPECIAL, np.random.default_rng(0).standard_normal(50).astype(np.float32)])
    (expected,) = onnxruntime_op(onnx_name, [x])
    np.testing.assert_allclose(run(op_class, x), expected, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("op_class", "expected"),
    [
        (Neg, [math.nan, -math.inf, math.inf]),
        (Exp, [math.nan, math.inf, 0.0]),
        (Log, [math.nan, math.inf, math.nan]),
        (Sqrt, [math.nan, math.inf, math.nan]),
        (Reciprocal, [math.nan, 0.0, -0.0]),
        (Sigmoid, [math.nan, 1.0, 0.0]),
        (Erf, [math.nan, 1.0, -1.0]),
        (Relu, [math.nan, math.inf, 0.0]),
        (Tanh, [math.nan, 1.0, -1.0]),
        (Sin, [math.nan, math.nan, math.nan]),
        (Floor, [math.nan, math.inf, -math.inf]),
        (Round, [math.nan, math.inf, -math.inf]),
    ],
)
def test_special_values_follow_ieee(op_class: type[Op], expected: list[float]) -> None:
    np.testing.assert_array_equal(run(op_class, ODD), np.array(expected, np.float32))


def exact_sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize(
    ("op_class", "exact"),
    [(Erf, math.erf), (Sigmoid, exact_sigmoid)],
)
def test_accuracy_in_float64(op_class: type[Op], exact: Callable[[float], float]) -> None:
    x = np.concatenate([np.linspace(-30, 30, 6001), [0.46875, 4.0, 5.9, 6.1, 1e-300, 26.5]])
    expected = np.array([exact(value) for value in x])
    np.testing.assert_allclose(run(op_class, x), expected, rtol=1e-15, atol=0)


def test_a_million_elements_of_erf_are_fast() -> None:
    x = np.random.default_rng(0).standard_normal(1_000_000).astype(np.float32)
    start = time.process_time()
    run(Erf, x)
    assert time.process_time() - start < 0.5


BINARY: list[tuple[type[Op], str]] = [
    (Add, "Add"),
    (Sub, "Sub"),
    (Mul, "Mul"),
    (Div, "Div"),
    (Minimum, "Min"),
    (Maximum, "Max"),
    (Pow, "Pow"),
    (Equal, "Equal"),
    (Less, "Less"),
    (Greater, "Greater"),
]
SHAPES = [((3, 4), (3, 4)), ((3, 1), (4,)), ((), (2, 3)), ((2, 1, 3), (5, 1)), ((0, 4), (1, 4))]


@pytest.mark.parametrize(("op_class", "onnx_name"), BINARY)
@pytest.mark.parametrize("shapes", SHAPES)
def test_binary(
    op_class: type[Op], onnx_name: str, shapes: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    rng = np.random.default_rng(0)
    a, b = (np.asarray(rng.uniform(0.5, 3, shape), np.float32) for shape in shapes)
    (expected,) = onnxruntime_op(onnx_name, [a, b])
    found = run(op_class, a, b)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@given(
    st.lists(
        st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1)), min_size=1
    )
)
@settings(deadline=None)
def test_integer_division_truncates(pairs: list[tuple[int, int]]) -> None:
    a, b = (np.array(column, np.int32) for column in zip(*pairs, strict=True))
    expected = [
        0 if d == 0 else abs(n) // abs(d) * (1 if (n < 0) == (d < 0) else -1) for n, d in pairs
    ]
    wrapped = [(value + 2**31) % 2**32 - 2**31 for value in expected]
    assert run(Div, a, b).tolist() == wrapped


def test_remainders_have_the_sign_of_the_dividend() -> None:
    a, b = np.meshgrid(np.arange(-7, 8), np.arange(-3, 4))
    found = run(Remainder, a.astype(np.int32), b.astype(np.int32))
    expected = np.where(b == 0, 0, np.fmod(a, np.where(b == 0, 1, b)))
    np.testing.assert_array_equal(found, expected)
    x, y = (array.astype(np.float32) * np.float32(0.3) for array in (a, np.where(b == 0, 9, b)))
    (judged,) = onnxruntime_op("Mod", [x, y], fmod=1)
    np.testing.assert_array_equal(run(Remainder, x, y), judged)
    assert np.isnan(run(Remainder, np.ones(1, np.float32), np.zeros(1, np.float32))).all()


def test_bits_of_integers() -> None:
    a, b = np.array([12, -1], np.int8), np.array([10, 5], np.int8)
    assert run(And, a, b).tolist() == [8, 5]
    assert run(Or, a, b).tolist() == [14, -1]


def test_integer_powers() -> None:
    base = np.array([2, -3, 7, 2, 0], np.int32)
    power = np.array([10, 3, 0, -1, 5], np.int32)
    assert run(Pow, base[:3], power[:3]).tolist() == [1024, -27, 1]
    assert run(Pow, base[3:4], power[3:4]).tolist() == [0]
    assert run(Pow, np.array([2.0], np.float32), np.array([-2], np.int64)).tolist() == [0.25]


def test_nan_wins_a_minimum() -> None:
    one = np.array([1.0, np.nan], np.float32)
    two = np.array([np.nan, 1.0], np.float32)
    assert np.isnan(run(Minimum, one, two)).all()
    assert np.isnan(run(Maximum, one, two)).all()


def test_logic() -> None:
    a, b = np.array([True, True, False]), np.array([True, False, False])
    assert run(And, a, b).tolist() == [True, False, False]
    assert run(Or, a, b).tolist() == [True, True, False]
    assert run(Not, a).tolist() == [False, False, True]
    x, y = np.arange(3.0), -np.arange(3.0)
    assert run(Where, a, x, y).tolist() == [0.0, 1.0, -2.0]
    words = np.array(["a", "b"], object)
    assert run(Equal, words, np.array(["a", "c"], object)).tolist() == [True, False]


@pytest.mark.parametrize(
    ("lo", "hi", "expected"),
    [
        (0.0, 6.0, [0, 0, 6]),
        (-math.inf, math.inf, [-128, 0, 127]),
        (-1000.0, 1000.0, [-128, 0, 127]),
        (0.5, 2.5, [1, 1, 2]),
        (300.0, 400.0, [127, 127, 127]),
        (3.0, 1.0, [1, 1, 1]),
    ],
)
def test_clip_of_integers(lo: float, hi: float, expected: list[int]) -> None:
    assert run(Clip, np.array([-128, 0, 127], np.int8), lo=lo, hi=hi).tolist() == expected


def test_clip_of_floats() -> None:
    x = np.array([-1.0, 0.5, 9.0, np.nan], np.float32)
    np.testing.assert_array_equal(run(Clip, x, lo=0.0, hi=6.0), [0.0, 0.5, 6.0, np.nan])
    np.testing.assert_array_equal(run(Add, x, x, lo=0.0, hi=6.0), [0.0, 1.0, 6.0, np.nan])


CASTS: list[tuple[type[Any], DType]] = [
    (np.float32, DType.I32),
    (np.float32, DType.I8),
    (np.float32, DType.F16),
    (np.float32, DType.I1),
    (np.int32, DType.F32),
    (np.int64, DType.I8),
    (np.bool_, DType.F32),
]


@pytest.mark.parametrize(("source", "to"), CASTS)
def test_cast(source: type[Any], to: DType) -> None:
    x = np.array([0, 1, -1.7, 2.5, 100.9, -3]).astype(source)
    expected = np.array([int(v) for v in x.tolist()] if to.is_integer else x).astype(to.numpy)
    np.testing.assert_array_equal(run(Cast, x, to=to), expected)


def test_cast_to_four_bits_truncates() -> None:
    x = np.array([1.9, -2.9, 7.0], np.float32)
    assert run(Cast, x, to=DType.I4).astype(int).tolist() == [1, -2, 7]


@pytest.mark.parametrize(
    ("op_class", "onnx_name"),
    [(ReduceMean, "ReduceMean"), (ReduceSum, "ReduceSum"), (ReduceMax, "ReduceMax")],
)
@pytest.mark.parametrize("axes", [(0,), (1, 2), (0, 1, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_reductions(
    op_class: type[Op], onnx_name: str, axes: tuple[int, ...], keepdims: bool
) -> None:
    x = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)
    (expected,) = onnxruntime_op(onnx_name, [x, np.array(axes, np.int64)], keepdims=int(keepdims))
    found = run(op_class, x, axes=axes, keepdims=keepdims)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_reductions_of_nothing() -> None:
    nothing = np.zeros((2, 0), np.float32)
    assert np.isnan(run(ReduceMean, nothing, axes=(1,))).all()
    assert run(ReduceSum, nothing, axes=(1,)).tolist() == [0.0, 0.0]
    assert run(ReduceMax, nothing, axes=(1,)).tolist() == [-np.inf, -np.inf]
    assert run(ReduceMax, nothing.astype(np.int8), axes=(1,)).tolist() == [-128, -128]
    assert run(Softmax, nothing, axis=1).shape == (2, 0)


def test_integer_means_truncate() -> None:
    assert run(ReduceMean, np.array([[-3, 0], [3, 4]], np.int32), axes=(1,)).tolist() == [-1, 3]


def test_half_floats_are_summed_in_single() -> None:
    ones = np.full(70_000, 1.0, np.float16)
    assert np.isposinf(run(ReduceSum, ones, axes=(0,)))
    assert run(ReduceMean, ones, axes=(0,)).item() == 1.0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_softmax(axis: int) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32) * 50
    (expected,) = onnxruntime_op("Softmax", [x], axis=axis)
    np.testing.assert_allclose(run(Softmax, x, axis=axis), expected, rtol=1e-5, atol=1e-7)


def test_batch_norm() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    scale, bias, mean, var = (rng.uniform(0.5, 2, 3).astype(np.float32) for _ in range(4))
    (expected,) = onnxruntime_op("BatchNormalization", [x, scale, bias, mean, var], epsilon=1e-3)
    found = run(BatchNorm, x, scale, bias, mean, var, epsilon=1e-3)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("axis", [1, 2])
def test_layer_norm(axis: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 4)).astype(np.float32)
    scale = rng.uniform(0.5, 2, x.shape[axis:]).astype(np.float32)
    bias = rng.standard_normal(x.shape[axis:]).astype(np.float32)
    (expected,) = onnxruntime_op("LayerNormalization", [x, scale, bias], axis=axis)
    found = run(LayerNorm, x, scale, bias, axis=axis)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("left", "right"),
    [((3, 4), (4, 5)), ((4,), (4, 5)), ((2, 3, 4), (4,)), ((4,), (4,)), ((7, 1, 3, 4), (2, 4, 5)),
     ((0, 4), (4, 5)), ((3, 0), (0, 5))],
)  # fmt: skip
def test_matmul(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype(np.float32) for shape in (left, right))
    np.testing.assert_allclose(run(Matmul, x, w), np.matmul(x, w), rtol=1e-5, atol=1e-5)
    small_x, small_w = (np.asarray(rng.integers(-128, 128, s), np.int8) for s in (left, right))
    exact = np.matmul(small_x.astype(np.int64), small_w.astype(np.int64))
    b = np.asarray(rng.integers(-9, 9, right[1:] if len(right) == 2 else right[2:]), np.int32)
    b = b if len(right) > 1 else np.array(5, np.int32)
    np.testing.assert_array_equal(run(Matmul, small_x, small_w, b), exact + b)


def test_wide_integers_multiply_exactly() -> None:
    x, w = np.array([[2**40 + 1, 1]]), np.array([[2**20], [1]])
    assert run(Matmul, x, w).item() == (2**40 + 1) * 2**20 + 1
    top = np.array([[2**31 - 1]], np.int32)
    assert run(Matmul, top, top).item() == 1


WRONG: list[tuple[type[Op], list[Array], dict[str, object], str]] = [
    (Add, [np.zeros(2), np.zeros(3)], {}, "shapes do not broadcast: a f64.2. and b f64.3."),
    (Add, [np.zeros(2), np.zeros(2, np.int32)], {}, "a is f64, b is i32; they must agree"),
    (Neg, [np.zeros(2, bool)], {}, "x must be a tensor of numbers, is i1"),
    (Exp, [np.zeros(2, np.int8)], {}, "x must be a float tensor, is i8"),
    (Not, [np.zeros(2)], {}, "x must be i1, is f64"),
    (And, [np.zeros(2, bool), np.zeros(2)], {}, "b must be i1 or integers, is f64"),
    (Cast, [np.zeros(2)], {"to": DType.STRING}, "a cast from or to string is not defined"),
    (ReduceSum, [np.zeros(2)], {"axes": (1,)}, r"axes \[1\] do not fit rank 1"),
    (Softmax, [np.zeros(2)], {"axis": 1}, "axis 1 is outside rank 1"),
    (BatchNorm, [np.zeros((1, 2))] + [np.zeros(3)] * 4, {}, "scale is f64.3., expected f64.2."),
    (LayerNorm, [np.zeros((2, 3)), np.zeros(2)], {}, "shapes do not broadcast"),
    (LayerNorm, [np.zeros((2, 1)), np.zeros(2)], {}, "scale f64.2. makes x f64.2,1. larger"),
    (Matmul, [np.zeros((2, 3)), np.zeros((2, 3))], {}, "x f64.2,3. has 3 columns"),
    (Matmul, [np.zeros(()), np.zeros((2, 3))], {}, "a scalar cannot be multiplied"),
    (Where, [np.zeros(2), np.zeros(2), np.zeros(2)], {}, "condition must be i1"),
]


@pytest.mark.parametrize(("op_class", "arrays", "attributes", "complaint"), WRONG)
def test_operands_are_checked(
    op_class: type[Op], arrays: list[Array], attributes: dict[str, object], complaint: str
) -> None:
    with pytest.raises(OpError, match=complaint):
        run(op_class, *arrays, **attributes)
