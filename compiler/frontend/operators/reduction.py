"""Reductions over axes."""
# ruff: noqa: N802  (names are ONNX's)

import math

import numpy as np

import mcc.ops as ops
from mcc.ir import DType, Value, constant

from ..registry import Ints, operator
from .common import axes_of, axis_of, scalar_like
from .movement import reshaped


def _axes(x: Value, axes: Ints | None, noop_with_empty_axes: int) -> tuple[int, ...]:
    """The axes to fold: without any, all or none of them."""
    if axes:
        return axes_of(axes, x.tensor.rank)
    return () if noop_with_empty_axes else tuple(range(x.tensor.rank))


@operator(since=18)
def ReduceMean(
    data: Value, axes: Ints | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Value:
    found = _axes(data, axes, noop_with_empty_axes)
    return ops.ReduceMean(data, found, keepdims=bool(keepdims)).result if found else data


@operator(since=1)
def ReduceMean_1(data: Value, *, axes: Ints = (), keepdims: int = 1) -> Value:
    return ReduceMean(data, axes, keepdims=keepdims)


@operator(since=13)
def ReduceSum(
    data: Value, axes: Ints | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Value:
    found = _axes(data, axes, noop_with_empty_axes)
    return ops.ReduceSum(data, found, keepdims=bool(keepdims)).result if found else data


@operator(since=1)
def ReduceSum_1(data: Value, *, axes: Ints = (), keepdims: int = 1) -> Value:
    return ReduceSum(data, axes, keepdims=keepdims)


@operator(since=18)
def ReduceMax(
    data: Value, axes: Ints | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Value:
    found = _axes(data, axes, noop_with_empty_axes)
    return ops.ReduceMax(data, found, keepdims=bool(keepdims)).result if found else data


@operator(since=1)
def ReduceMax_1(data: Value, *, axes: Ints = (), keepdims: int = 1) -> Value:
    return ReduceMax(data, axes, keepdims=keepdims)


@operator(since=18)
def ReduceMin(
    data: Value, axes: Ints | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Value:
    found = _axes(data, axes, noop_with_empty_axes)
    if not found:
        return data
    largest = ops.ReduceMax(ops.Neg(data).result, found, keepdims=bool(keepdims))
    return ops.Neg(largest.result).result


@operator(since=1)
def ReduceMin_1(data: Value, *, axes: Ints = (), keepdims: int = 1) -> Value:
    return ReduceMin(data, axes, keepdims=keepdims)


@operator(since=18)
def ReduceProd(
    data: Value, axes: Ints | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0
) -> Value:
    """Halves of the axes are multiplied until one number is left."""
    found = _axes(data, axes, noop_with_empty_axes)
    if not found:
        return data
    rank, dims = data.tensor.rank, data.tensor.dims
    kept = tuple(axis for axis in range(rank) if axis not in found)
    size = math.prod(dims[axis] for axis in found)
    left = tuple(dims[axis] for axis in kept)
    x = reshaped(ops.Transpose(data, (*kept, *found)).result, (*left, size))
    length = 1 << max(size - 1, 0).bit_length()
    zeros = (0,) * len(left)
    x = ops.Pad(x, (*zeros, 0, *zeros, length - size), 1.0).result
    while length > 1:
        length //= 2
        front = ops.Slice(x, (*zeros, 0), (*left, length)).result
        back = ops.Slice(x, (*zeros, length), (*left, 2 * length)).result
        x = ops.Mul(front, back).result
    ones = tuple(1 if axis in found else dims[axis] for axis in range(rank))
    return reshaped(x, ones if keepdims else left)


@operator(since=1)
def ReduceProd_1(data: Value, *, axes: Ints = (), keepdims: int = 1) -> Value:
    return ReduceProd(data, axes, keepdims=keepdims)


@operator(since=1)
def ArgMax(data: Value, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Value:
    """The largest number, or the negative of the largest negated one, of a place with the maximum.

    NaN has no place in ONNX's order.
    """
    along = axis_of(axis, data.tensor.rank)
    size = data.tensor.dims[along]
    column = (-1, *(1,) * (data.tensor.rank - along - 1))
    most = ops.ReduceMax(data, (along,), keepdims=True).result
    found = ops.Equal(data, most).result
    places = np.arange(size, dtype=np.int64).reshape(column)
    numbers = constant(places if select_last_index else -places).result
    candidates = ops.Where(found, numbers, scalar_like(-size, numbers)).result
    best = ops.ReduceMax(candidates, (along,), keepdims=bool(keepdims)).result
    return best if select_last_index else ops.Neg(best).result


@operator(since=1)
def ArgMin(data: Value, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Value:
    # The smallest integer of a type, and unsigned ones, have no negative there.
    wide = ops.Cast(data, DType.I64).result if data.tensor.dtype.is_integer else data
    negated = ops.Neg(wide).result
    return ArgMax(negated, axis=axis, keepdims=keepdims, select_last_index=select_last_index)


@operator(since=13)
def Hardmax(input: Value, *, axis: int = -1) -> Value:
    """1 at the first place of the maximum, 0 elsewhere."""
    along = axis_of(axis, input.tensor.rank)
    size = input.tensor.dims[along]
    column = (-1, *(1,) * (input.tensor.rank - along - 1))
    places = constant(np.arange(size, dtype=np.int64).reshape(column)).result
    hot = ops.Equal(places, ArgMax(input, axis=along)).result
    return ops.Cast(hot, input.tensor.dtype).result


@operator(since=1)
def Hardmax_1(input: Value, *, axis: int = 1) -> Value:
    """Until opset 12 the axes from `axis` on were flattened into one."""
    dims = input.tensor.dims
    first = axis_of(axis, len(dims))
    flat = reshaped(input, (math.prod(dims[:first]), math.prod(dims[first:])))
    return reshaped(Hardmax(flat, axis=1), dims)
