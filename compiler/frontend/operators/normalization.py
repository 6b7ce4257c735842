"""Normalizations and softmax."""
# ruff: noqa: N802, N803  (names are ONNX's)

import math

import mcc.ops as ops
from mcc.ir import DType, OpError, Value

from ..registry import OutputCount, UnsupportedError, operator
from .common import axis_of, scalar_like


@operator(since=7)
def BatchNormalization(
    X: Value,
    scale: Value,
    B: Value,
    input_mean: Value,
    input_var: Value,
    *,
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    training_mode: int = 0,
    spatial: int = 1,
) -> Value:
    if training_mode:
        raise UnsupportedError("it is in training mode")
    if not spatial:
        raise UnsupportedError("it normalizes each element by itself (spatial=0)")
    return ops.BatchNorm(X, scale, B, input_mean, input_var, epsilon=epsilon).result


@operator(since=17)
def LayerNormalization(
    X: Value,
    Scale: Value,
    B: Value | None = None,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
    outputs: OutputCount,
) -> tuple[Value, ...]:
    """The mean and the inverse deviation are computed again where they are outputs, too."""
    first = axis_of(axis, X.tensor.rank)
    found = ops.LayerNorm(X, Scale, bias=B, axis=first, epsilon=epsilon).result
    if outputs == 1:
        return (found,)
    x = ops.Cast(X, DType.F32).result if stash_type else X
    axes = tuple(range(first, X.tensor.rank))
    mean, _, deviation = _moments(x, axes, epsilon)
    return (found, mean, ops.Reciprocal(deviation).result)


@operator(since=1)
def LpNormalization(input: Value, *, axis: int = -1, p: int = 2) -> Value:
    """An element over the norm of its axis; 0 where that is 0."""
    if p not in (1, 2):
        raise UnsupportedError(f"its p is {p}; ONNX knows 1 and 2")
    axes = (axis_of(axis, input.tensor.rank),)
    size = ops.Abs(input).result if p == 1 else ops.Mul(input, input).result
    norm = ops.ReduceSum(size, axes, keepdims=True).result
    if p == 2:
        norm = ops.Sqrt(norm).result
    zero = scalar_like(0, input)
    return ops.Where(ops.Equal(norm, zero).result, zero, ops.Div(input, norm).result).result


@operator(since=1)
def LRN(
    X: Value, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0
) -> Value:
    """An element over a power of the mean square of `size` neighbouring channels.

    The channels are pooled as the rows of an image are; those beyond the edge count as zeros.
    """
    if size < 1:
        raise OpError(f"size {size} must be a positive number")
    if X.tensor.rank < 2:
        raise OpError(f"X is {X.tensor}, it needs a batch and channels")
    batch, channels, *spatial = dims = X.tensor.dims
    image = (batch, 1, channels, math.prod(spatial))
    squares = ops.Reshape(ops.Mul(X, X).result, image).result
    before = (size - 1) // 2
    pads = (before, 0, size - 1 - before, 0)
    mean = ops.AvgPool(squares, (size, 1), pads=pads, include_pad=True).result
    scaled = ops.Mul(ops.Reshape(mean, dims).result, scalar_like(alpha, X)).result
    base = ops.Add(scaled, scalar_like(bias, X)).result
    return ops.Div(X, ops.Pow(base, scalar_like(beta, X)).result).result


@operator(since=6)
def InstanceNormalization(input: Value, scale: Value, B: Value, *, epsilon: float = 1e-5) -> Value:
    rank = input.tensor.rank
    axes = tuple(range(2, rank))
    column = (*scale.tensor.dims, *(1,) * (rank - 2))
    _, centred, deviation = _moments(input, axes, epsilon)
    scaled = ops.Mul(ops.Div(centred, deviation).result, ops.Reshape(scale, column).result).result
    return ops.Add(scaled, ops.Reshape(B, column).result).result


@operator(since=13)
def Softmax(input: Value, *, axis: int = -1) -> Value:
    return ops.Softmax(input, axis_of(axis, input.tensor.rank)).result


@operator(since=1)
def Softmax_1(input: Value, *, axis: int = 1) -> Value:
    """Until opset 12 the axes from `axis` on were flattened into one."""
    dims = input.tensor.dims
    first = axis_of(axis, len(dims))
    flat = ops.Reshape(input, (math.prod(dims[:first]), math.prod(dims[first:]))).result
    return ops.Reshape(ops.Softmax(flat, 1).result, dims).result


def _moments(x: Value, axes: tuple[int, ...], epsilon: float) -> tuple[Value, Value, Value]:
    """The mean over axes, the differences from it, and their root mean square with epsilon."""
    mean = ops.ReduceMean(x, axes, keepdims=True).result
    centred = ops.Sub(x, mean).result
    variance = ops.ReduceMean(ops.Mul(centred, centred).result, axes, keepdims=True).result
    deviation = ops.Sqrt(ops.Add(variance, scalar_like(epsilon, x)).result).result
    return mean, centred, deviation
