"""Reductions over axes."""
# ruff: noqa: N802  (names are ONNX's)

import mcc.ops as ops
from mcc.ir import Value

from ..registry import Ints, operator
from .common import axes_of


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
