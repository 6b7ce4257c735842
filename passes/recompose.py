"""Finds a normalization in the arithmetic that an exporter wrote for it."""

import math

import numpy as np

from mcc.ir import Array, Because, Value, constant, constant_of
from mcc.ops import Add, Div, LayerNorm, Mul, Pow, ReduceMean, Sqrt, Sub

from .base import Pass
from .matching import rebuild, single_use, uniform


def normalize(op: Div) -> Value | Because | None:
    """(x - mean(x)) / sqrt(mean((x - mean(x))^2) + e) -> layer_norm(x) {epsilon=e}."""
    centred, root = op.a.op, op.b.op
    if not isinstance(centred, Sub) or not isinstance(root, Sqrt) or not isinstance(root.x.op, Add):
        return None
    total, mean = root.x.op, centred.b.op
    variance, epsilon = total.a.op, uniform(total.b)
    if not isinstance(mean, ReduceMean) or not isinstance(variance, ReduceMean):
        return None
    if mean.x is not centred.a or not _is_square(variance.x, op.a):
        return None
    x, rank = centred.a, centred.a.tensor.rank
    axis = rank - len(mean.axes)
    if mean.axes != variance.axes or mean.axes != tuple(range(axis, rank)):
        return Because("it normalizes over other axes than the last ones")
    if epsilon is None or not mean.keepdims or not variance.keepdims:
        return Because("its epsilon is no constant, or a mean loses its axes")
    if (total.lo, total.hi) != (-math.inf, math.inf) or x.type != op.result.type:
        return None
    ones = np.ones(x.tensor.dims[axis:], x.tensor.dtype.numpy)
    return LayerNorm(x, constant(ones).result, axis=axis, epsilon=epsilon).result


def scale(op: Mul) -> Value | None:
    """layer_norm(x) * c -> layer_norm(x, c), where it has no scale yet."""
    norm = op.a.op
    if not isinstance(norm, LayerNorm) or norm.bias is not None or uniform(norm.scale) != 1:
        return None
    factor = _trailing(op.b, norm)
    if factor is None or not single_use(op.a):
        return None
    return rebuild(norm, scale=constant(factor, op.b.name).result).result


def shift(op: Add) -> Value | None:
    """layer_norm(x, s) + c -> layer_norm(x, s, c), where it has no bias yet."""
    norm = op.a.op
    if not isinstance(norm, LayerNorm) or norm.bias is not None or not single_use(op.a):
        return None
    offset = _trailing(op.b, norm)
    if offset is None or (op.lo, op.hi) != (-math.inf, math.inf):
        return None
    return rebuild(norm, bias=constant(offset, op.b.name).result).result


def _is_square(value: Value, of: Value) -> bool:
    match value.op:
        case Mul() as op:
            return op.a is of and op.b is of
        case Pow() as op:
            return op.a is of and uniform(op.b) == 2
        case _:
            return False


def _trailing(value: Value, norm: LayerNorm) -> Array | None:
    """A constant over the normalized axes only, in their shape; else None."""
    array, dims = constant_of(value), norm.x.tensor.dims
    if array is None or array.ndim > len(dims):
        return None
    full = array.reshape((1,) * (len(dims) - array.ndim) + array.shape)
    if any(dim != 1 for dim in full.shape[: norm.axis]):
        return None
    return np.array(np.broadcast_to(full.reshape(full.shape[norm.axis :]), dims[norm.axis :]))


class Recompose(Pass, name="recompose"):
    """(x - mean(x)) / sqrt(mean((x - mean(x))^2) + e) * s + b -> layer_norm(x, s, b)."""

    rules = (normalize, scale, shift)
