"""Operators that pick elements by their indices: gathers from the tensor as one row."""
# ruff: noqa: N802  (names are ONNX's)

import math

import numpy as np

import mcc.ops as ops
from mcc.ir import DType, Value, constant

from ..registry import Ints, UnsupportedError, operator
from .common import axis_of, scalar_like
from .movement import reshaped


@operator(since=11)
def GatherElements(data: Value, indices: Value, *, axis: int = 0) -> Value:
    dims, shape = data.tensor.dims, indices.tensor.dims
    along = axis_of(axis, len(dims))
    strides = _strides(dims)
    # Where the element lies by its other coordinates, which are those of its index.
    others = np.zeros(shape, np.int64)
    for number, coordinates in enumerate(np.indices(shape, sparse=True)):
        if number != along:
            others = others + coordinates * strides[number]
    rest = constant(others.astype(indices.tensor.dtype.numpy)).result
    size = math.prod(dims)
    place = _inside(indices, dims[along], strides[along], size)
    return ops.Gather(reshaped(data, (size,)), ops.Add(place, rest).result).result


@operator(since=11)
def GatherND(data: Value, indices: Value, *, batch_dims: int = 0) -> Value:
    dims, (*outer, count) = data.tensor.dims, indices.tensor.dims
    picked = dims[: batch_dims + count]
    size = math.prod(picked)
    strides = _strides(picked)[batch_dims:]
    batch = np.arange(math.prod(picked[:batch_dims])) * math.prod(picked[batch_dims:])
    shape = (*picked[:batch_dims], *(1 for _ in outer[batch_dims:]))
    place = constant(batch.reshape(shape).astype(indices.tensor.dtype.numpy)).result
    starts = (0,) * len(outer)
    for number, stride in enumerate(strides):
        column = ops.Slice(indices, (*starts, number), (*outer, number + 1)).result
        here = _inside(reshaped(column, tuple(outer)), picked[batch_dims + number], stride, size)
        place = ops.Add(place, here).result
    return ops.Gather(reshaped(data, (size, *dims[len(picked) :])), place).result


@operator(since=9)
def OneHot(indices: Value, depth: Ints, values: Value, *, axis: int = -1) -> Value:
    """An index outside of the depth is hot nowhere."""
    if len(depth) != 1:
        raise UnsupportedError(f"its depth has {len(depth)} numbers; one is needed")
    shape, along = indices.tensor.dims, axis_of(axis, indices.tensor.rank + 1)
    index = _from_front(ops.Cast(indices, DType.I64).result, depth[0])
    index = reshaped(index, (*shape[:along], 1, *shape[along:]))
    numbers = np.arange(depth[0]).reshape((-1,) + (1,) * (len(shape) - along))
    hot = ops.Equal(index, constant(numbers).result).result
    off, on = (reshaped(ops.Slice(values, (i,), (i + 1,)).result, ()) for i in (0, 1))
    return ops.Where(hot, on, off).result


def _inside(index: Value, size: int, stride: int, total: int) -> Value:
    """The place of an index, counted from the end where negative; outside is outside of all."""
    index = _from_front(index, size)
    low = ops.Less(index, scalar_like(0, index)).result
    high = ops.Greater(index, scalar_like(size - 1, index)).result
    place = ops.Mul(index, scalar_like(stride, index)).result
    return ops.Where(ops.Or(low, high).result, scalar_like(total, index), place).result


def _from_front(index: Value, size: int) -> Value:
    behind = ops.Less(index, scalar_like(0, index)).result
    return ops.Where(behind, ops.Add(index, scalar_like(size, index)).result, index).result


def _strides(dims: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(dims[number + 1 :]) for number in range(len(dims)))
