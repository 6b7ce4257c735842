"""Element-wise operators about whole numbers, signs and what is no number."""
# ruff: noqa: N802, N803  (names are ONNX's)

import math

import mcc.ops as ops
from mcc.ir import Value, constant_of

from ..registry import operator
from .common import scalar_like


@operator(since=1)
def Floor(X: Value) -> Value:
    return ops.Floor(X).result


@operator(since=1)
def Ceil(X: Value) -> Value:
    return ops.Neg(ops.Floor(ops.Neg(X).result).result).result


@operator(since=11)
def Round(X: Value) -> Value:
    return ops.Round(X).result


@operator(since=9)
def Sign(input: Value) -> Value:
    """NaN is neither above nor below 0, and stays."""
    zero = scalar_like(0, input)
    sign = input
    if not input.tensor.dtype.is_unsigned:
        below = ops.Less(input, zero).result
        sign = ops.Where(below, scalar_like(-1, input), input).result
    return ops.Where(ops.Greater(input, zero).result, scalar_like(1, input), sign).result


@operator(since=9)
def IsNaN(X: Value) -> Value:
    return ops.Not(ops.Equal(X, X).result).result


@operator(since=10)
def IsInf(X: Value, *, detect_negative: int = 1, detect_positive: int = 1) -> Value:
    if detect_negative and detect_positive:
        return ops.Equal(ops.Abs(X).result, scalar_like(math.inf, X)).result
    if detect_positive:
        return ops.Equal(X, scalar_like(math.inf, X)).result
    if detect_negative:
        return ops.Equal(X, scalar_like(-math.inf, X)).result
    return ops.And(IsNaN(X), ops.Equal(X, X).result).result


@operator(since=10)
def Mod(A: Value, B: Value, *, fmod: int = 0) -> Value:
    """Python's remainder, with the sign of B; C's where `fmod` says so."""
    found = ops.Remainder(A, B).result
    divisor = constant_of(B)
    unsigned = A.tensor.dtype.is_unsigned
    if fmod or unsigned:
        return found
    zero = scalar_like(0, A)
    if divisor is not None and (divisor > 0).all():
        wrong = ops.Less(found, zero).result
    else:
        # A product of the two might wrap or underflow.
        opposite = ops.Equal(ops.Less(found, zero).result, ops.Less(B, zero).result).result
        exact = ops.Equal(found, zero).result
        wrong = ops.Not(ops.Or(opposite, exact).result).result
    return ops.Where(wrong, ops.Add(found, B).result, found).result
