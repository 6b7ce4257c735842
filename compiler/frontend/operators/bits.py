"""Operators on the bits of integers."""
# ruff: noqa: N802, N803  (names are ONNX's)

import mcc.ops as ops
from mcc.ir import Value

from ..registry import UnsupportedError, operator
from .common import scalar_like


@operator(since=18)
def BitwiseAnd(A: Value, B: Value) -> Value:
    return ops.And(A, B).result


@operator(since=18)
def BitwiseOr(A: Value, B: Value) -> Value:
    return ops.Or(A, B).result


@operator(since=18)
def BitwiseXor(A: Value, B: Value) -> Value:
    """The bits of either less the bits of both."""
    return ops.Sub(ops.Or(A, B).result, ops.And(A, B).result).result


@operator(since=18)
def BitwiseNot(X: Value) -> Value:
    """All bits set, less those of X."""
    dtype = X.tensor.dtype
    return ops.Sub(scalar_like(dtype.limits[1] if dtype.is_unsigned else -1, X), X).result


@operator(since=11)
def BitShift(X: Value, Y: Value, *, direction: str) -> Value:
    """By powers of two, of which those beyond the type are 0, as is a division by them."""
    power = ops.Pow(scalar_like(2, X), Y).result
    if direction == "LEFT":
        return ops.Mul(X, power).result
    if direction != "RIGHT":
        raise UnsupportedError(f"its direction is {direction!r}; ONNX knows LEFT and RIGHT")
    if X.tensor.dtype.is_unsigned:
        return ops.Div(X, power).result
    # An arithmetic shift rounds down: what is negative goes the way of its complement.
    negative = ops.Less(X, scalar_like(0, X)).result
    size = ops.Where(negative, BitwiseNot(X), X).result
    shifted = ops.Div(size, power).result
    return ops.Where(negative, BitwiseNot(shifted), shifted).result
