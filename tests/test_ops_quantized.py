"""Quantized ops against formulas in exact arithmetic, and against onnxruntime: to the bit."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.ir_judge import onnxruntime_op, run

from mcc.ir import Array, DType, OpError
from mcc.ops import (
    Dequantize,
    Lookup,
    QAdd,
    Quantize,
    Requantize,
    quantize_array,
    saturate,
    table_of,
)

SCALES = st.floats(2.0**-20, 1024.0, width=32)
FLOATS = st.one_of(
    st.floats(-1e6, 1e6, width=32),
    st.sampled_from([0.5, -0.5, 1.5, 2.5, -2.5, float("inf"), float("-inf"), 0.0, -0.0]),
)
F32 = np.float32


def exactly(x: float | np.floating[Any]) -> Fraction:
    return Fraction(float(x))


def single(x: Fraction) -> np.float32:
    """The float32 nearest to a rational, ties to even, found by trying the neighbours."""
    with np.errstate(over="ignore"):
        guess = np.float32(float(x))
    near = [guess, np.nextafter(guess, F32(np.inf)), np.nextafter(guess, F32(-np.inf))]
    even = {value: int(value.view(np.uint32)) & 1 for value in near}
    finite = [value for value in near if np.isfinite(value)]
    return min(finite, key=lambda value: (abs(exactly(value) - x), even[value]))


def rounded(x: float | np.floating[Any]) -> int:
    """Round half to even: Python's own `round` on an exact rational."""
    return round(exactly(x))


def clamped(x: int, lo: int, hi: int) -> int:
    return max(lo, min(hi, x))


@given(
    st.lists(FLOATS, min_size=1, max_size=20),
    SCALES,
    st.sampled_from([(np.int8, -128, 127), (np.uint8, 0, 255)]),
    st.integers(0, 100),
)
@settings(deadline=None)
def test_quantize(
    values: list[float], scale: float, kind: tuple[type[Any], int, int], zero: int
) -> None:
    dtype, lo, hi = kind
    x, s, z = np.array(values, F32), np.array(scale, F32), np.array(zero, dtype)
    found = run(Quantize, x, s, z)
    with np.errstate(over="ignore"):
        divided = [F32(value) / F32(scale) for value in values]
    expected = [
        clamped(rounded(single(exactly(F32(v)) / exactly(F32(scale)))) + zero, lo, hi)
        if np.isfinite(d)
        else (hi if d > 0 else lo)
        for v, d in zip(values, divided, strict=True)
    ]
    assert found.tolist() == expected
    (judge,) = onnxruntime_op("QuantizeLinear", [x, s, z])
    finite = np.isfinite(np.array(divided)) & (np.abs(np.array(divided)) < 2**31)
    np.testing.assert_array_equal(found[finite], judge[finite])


def test_ties_and_the_ends_of_the_range() -> None:
    x = np.array([0.5, 1.5, -0.5, -1.5, 2.5, 126.5, 127.5, -128.5, -129.0, 1e30], F32)
    found = run(Quantize, x, np.array(1, F32), np.array(0, np.int8))
    assert found.tolist() == [0, 2, 0, -2, 2, 126, 127, -128, -128, 127]
    odd = np.array([np.nan, np.inf, -np.inf], F32)
    assert run(Quantize, odd, np.array(1, F32), np.array(5, np.int8)).tolist() == [-128, 127, -128]


@given(st.integers(0, 3), st.integers(0, 2))
@settings(deadline=None, max_examples=20)
def test_per_channel_forms(seed: int, axis: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2, 3, 4)).astype(F32)
    scale: Array = np.asarray(rng.uniform(0.01, 0.1, (x.shape[axis],)), F32)
    zero: Array = np.asarray(rng.integers(-20, 20, (x.shape[axis],)), np.int8)
    q = run(Quantize, x, scale, zero, axis=axis)
    np.testing.assert_array_equal(
        q, onnxruntime_op("QuantizeLinear", [x, scale, zero], axis=axis)[0]
    )
    np.testing.assert_array_equal(q, quantize_array(x, scale, zero, DType.I8, axis))
    y = run(Dequantize, q, scale, zero, axis=axis)
    (judge,) = onnxruntime_op("DequantizeLinear", [q, scale, zero], axis=axis)
    np.testing.assert_array_equal(y, judge)


@given(st.lists(st.integers(-128, 127), min_size=1), SCALES, st.integers(-128, 127))
@settings(deadline=None)
def test_dequantize(values: list[int], scale: float, zero: int) -> None:
    q, s, z = np.array(values, np.int8), np.array(scale, F32), np.array(zero, np.int8)
    found = run(Dequantize, q, s, z)
    expected = [single(exactly(F32(v - zero)) * exactly(F32(scale))) for v in values]
    np.testing.assert_array_equal(found, np.array(expected, F32))
    np.testing.assert_array_equal(found, onnxruntime_op("DequantizeLinear", [q, s, z])[0])


@given(
    st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=20),
    st.floats(2.0**-40, 2.0, width=32),
    st.integers(-128, 127),
    st.integers(-128, 0),
    st.integers(0, 127),
)
@settings(deadline=None)
def test_requantize(values: list[int], multiplier: float, zero: int, lo: int, hi: int) -> None:
    """Two roundings: the accumulator to float32, and the product."""
    acc = np.array(values, np.int32)
    found = run(Requantize, acc, np.array(multiplier, F32), zero=zero, lo=lo, hi=hi)
    expected = [
        clamped(
            rounded(single(exactly(single(Fraction(v))) * exactly(F32(multiplier)))) + zero, lo, hi
        )
        for v in values
    ]
    assert found.tolist() == expected


def test_requantize_along_channels() -> None:
    acc = np.arange(-12, 12, dtype=np.int32).reshape(2, 3, 4)
    multiplier = np.array([0.5, 1.0, 0.25], F32)
    found = run(Requantize, acc, multiplier, zero=1)
    expected = np.rint(acc * multiplier.reshape(1, 3, 1)) + 1
    np.testing.assert_array_equal(found, expected.astype(np.int8))
    across = run(Requantize, np.moveaxis(acc, 1, -1).copy(), multiplier, zero=1, axis=2)
    np.testing.assert_array_equal(np.moveaxis(across, -1, 1), found)
    unsigned = run(Requantize, acc, multiplier, lo=0, hi=255, dtype=DType.U8)
    assert unsigned.dtype == np.uint8


@given(
    st.lists(st.tuples(st.integers(-128, 127), st.integers(-128, 127)), min_size=1, max_size=20),
    st.floats(2.0**-10, 4.0, width=32),
    st.floats(2.0**-10, 4.0, width=32),
    st.integers(-128, 127),
    st.integers(-128, 127),
    st.integers(-128, 127),
)
@settings(deadline=None)
def test_qadd(
    pairs: list[tuple[int, int]], left: float, right: float, za: int, zb: int, zero: int
) -> None:
    """Three roundings to float32: two products and their sum, no fused multiply-add."""
    a, b = (np.array(column, np.int8) for column in zip(*pairs, strict=True))
    zeros = {"a_zero": za, "b_zero": zb, "zero": zero}
    found = run(QAdd, a, b, a_scale=left, b_scale=right, **zeros)
    expected: list[int] = []
    for one, two in pairs:
        first = single(Fraction(one - za) * exactly(F32(left)))
        second = single(Fraction(two - zb) * exactly(F32(right)))
        total = single(exactly(first) + exactly(second))
        expected.append(clamped(rounded(total) + zero, -128, 127))
    assert found.tolist() == expected


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_lookup(dtype: type[Any]) -> None:
    limits = np.iinfo(dtype)
    x = np.arange(limits.min, limits.max + 1).astype(dtype)
    table = np.random.default_rng(0).permutation(256).astype(np.uint8)
    np.testing.assert_array_equal(run(Lookup, x, table), table)
    assert run(Lookup, x[5:6].reshape(1, 1), table).shape == (1, 1)


def test_tables_are_checked() -> None:
    assert table_of(range(-128, 128), DType.I8).tolist() == list(range(-128, 128))
    for entries in (range(256), range(3)):
        with pytest.raises(OpError, match="a table needs 256 entries of i8"):
            table_of(entries, DType.I8)


def test_saturate_takes_what_rint_gives() -> None:
    values: Array = np.array([np.nan, np.inf, -np.inf, 300.0, -300.0, 7.0])
    found = saturate(values, -128, 127, np.dtype(np.int8))
    assert found.tolist() == [-128, 127, -128, 127, -128, 7]


@pytest.mark.parametrize(
    ("arrays", "attributes", "complaint"),
    [
        (["f", "d", "i"], {}, "scale must be f32, is f64"),
        (["f", "f", "f"], {}, "zero must be of integers, is f32"),
        (["i", "f", "i"], {}, "x must be f32, is i8"),
    ],
)
def test_quantize_checks_its_operands(
    arrays: list[str], attributes: dict[str, object], complaint: str
) -> None:
    kinds = {"f": F32, "d": np.float64, "i": np.int8}
    with pytest.raises(OpError, match=complaint):
        run(Quantize, *[np.array(1, kinds[kind]) for kind in arrays], **attributes)


@pytest.mark.parametrize(
    ("attributes", "complaint"),
    [
        ({"lo": -200}, r"\[-200, 127\] is no range of i8"),
        ({"lo": 5, "hi": 4}, r"\[5, 4\] is no range of i8"),
        ({"dtype": DType.F32}, "dtype must be an integer type"),
        ({"axis": 7}, "does not fit axis 7 of x"),
    ],
)
def test_requantize_checks_its_attributes(attributes: dict[str, object], complaint: str) -> None:
    with pytest.raises(OpError, match=complaint):
        run(Requantize, np.zeros((1, 2), np.int32), np.ones(2, F32), **attributes)
