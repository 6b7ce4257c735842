"""The rules of `canonicalize` for ops that only move elements."""

from mcc.ir import Rule, Value
from mcc.ops import (
    AvgPool,
    Concat,
    Expand,
    MaxPool,
    Pad,
    Reduce,
    Reshape,
    Slice,
    Transpose,
)


def same_shape(op: Reshape | Expand) -> Value | None:
    """reshape(x, x's shape) -> x, expand(x, x's shape) -> x."""
    return op.x if op.x.type == op.result.type else None


def reshape_once(op: Reshape) -> Value | None:
    """reshape(reshape(x)) -> reshape(x)."""
    inner = op.x.op
    return Reshape(inner.x, op.shape).result if isinstance(inner, Reshape) else None


def no_transpose(op: Transpose) -> Value | None:
    """transpose(x, 0 1 2 …) -> x."""
    return op.x if op.perm == tuple(range(len(op.perm))) else None


def transpose_once(op: Transpose) -> Value | None:
    """transpose(transpose(x)) -> transpose(x)."""
    inner = op.x.op
    if not isinstance(inner, Transpose):
        return None
    return Transpose(inner.x, tuple(inner.perm[axis] for axis in op.perm)).result


def no_pad(op: Pad) -> Value | None:
    """pad(x, 0 0 …) -> x."""
    return op.x if not any(op.pads) else None


def pad_once(op: Pad) -> Value | None:
    """pad(pad(x)) -> pad(x), both with the same constant and none cropping."""
    inner = op.x.op
    if not isinstance(inner, Pad) or (op.mode, inner.mode) != ("constant", "constant"):
        return None
    if repr(op.value) != repr(inner.value) or min(*op.pads, *inner.pads) < 0:
        return None
    pads = tuple(a + b for a, b in zip(op.pads, inner.pads, strict=True))
    return Pad(inner.x, pads, op.value).result


def whole_slice(op: Slice) -> Value | None:
    """x[:] -> x."""
    forward = all(step == 1 for step in op.steps)
    return op.x if forward and op.x.type == op.result.type else None


def concat_of_one(op: Concat) -> Value | None:
    """concat(x) -> x."""
    return op.xs[0] if len(op.xs) == 1 else None


def reduce_nothing(op: Reduce) -> Value | None:
    """reduce(x, axes of none) -> x."""
    return op.x if not op.axes else None


def pool_of_one(op: MaxPool | AvgPool) -> Value | None:
    """max_pool(x, 1x1, stride 1) -> x."""
    strides, pads, _ = op.geometry
    trivial = all(size == 1 for size in (*op.kernel, *strides)) and not any(pads)
    return op.x if trivial else None


SHAPE_RULES: tuple[Rule, ...] = (
    same_shape,
    reshape_once,
    no_transpose,
    transpose_once,
    no_pad,
    pad_once,
    whole_slice,
    concat_of_one,
    reduce_nothing,
    pool_of_one,
)
