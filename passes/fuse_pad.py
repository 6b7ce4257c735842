"""Padding as an op of its own moves into the window op that reads it."""

import math

from mcc.ir import Because, Value
from mcc.ops import (
    Add,
    AvgPool,
    Clip,
    Conv,
    Matmul,
    MaxPool,
    Pad,
    Relu,
    Requantize,
    Reshape,
    Sigmoid,
    Softmax,
    SumPool,
    Transpose,
    spatial_axes,
)

from .base import Pass
from .matching import rebuild

Window = Conv | MaxPool | AvgPool | SumPool


def fuse(op: Conv | MaxPool | AvgPool | SumPool) -> Value | Because | None:
    """conv(pad(x)) -> conv(x) {pads}, likewise pools, where what they pad with allows it."""
    pad = op.x.op
    if not isinstance(pad, Pad):
        return None
    rank = pad.x.tensor.rank
    axes = spatial_axes(op.layout, rank)
    added = tuple(pad.pads[offset + axis] for offset in (0, rank) for axis in axes)
    if pad.mode != "constant":
        return Because(f"the border is filled by {pad.mode}")
    if min(pad.pads) < 0:
        return Because("the pad crops")
    if sum(added) != sum(pad.pads):
        return Because("the pad grows the batch or the channels")
    _, own, _ = op.geometry
    if (reason := _why_not(op, pad, own)) is not None:
        return Because(reason)
    total = tuple(a + b for a, b in zip(own, added, strict=True))
    if not isinstance(op, Conv) and any(
        n >= size for n, size in zip(total, op.kernel * 2, strict=True)
    ):
        return Because("the padding is as wide as the window")
    changes: dict[str, object] = {"x": pad.x, "pads": total}
    if isinstance(op, AvgPool):
        changes["include_pad"] = True
    if isinstance(op, Conv) and not op.result.tensor.dtype.is_float:
        changes["pad_value"] = int(pad.value)
    fused = rebuild(op, **changes)
    if fused.result.type != op.result.type:
        return Because("rounding up (`ceil`) counts the windows differently")
    return fused.result


def _why_not(op: Window, pad: Pad, own: tuple[int, ...]) -> str | None:
    """Why the op's own padding is not what the pad inserts, or None."""
    match op:
        case Conv() if op.result.tensor.dtype.is_float and pad.value != 0:
            return f"the border is {pad.value}, a convolution pads with 0"
        case Conv() if any(own) and op.pad_value != pad.value:
            return f"the border is {pad.value}, the convolution pads with {op.pad_value}"
        case MaxPool() if lower_bound(pad.x) < pad.value:
            return f"the border of {pad.value} may win, a max_pool's own padding never does"
        case AvgPool() if pad.value != 0:
            return f"the border is {pad.value}, an avg_pool pads with 0"
        case AvgPool() if any(own) and not op.include_pad:
            return "the avg_pool does not count its own padding, but the border"
        case SumPool() if op.zero != pad.value:
            return f"the border is {pad.value}, a sum_pool's padding counts as {op.zero}"
        case _:
            return None


def lower_bound(value: Value) -> float:
    """A number that no element of the value lies below; -inf where nothing is known."""
    for _ in range(16):  # far enough for any chain of reshapes that a model has
        match value.op:
            case Relu() | Sigmoid() | Softmax():
                return 0.0
            case Conv() | Matmul() | Add() | Clip() | Requantize() as op:
                return op.lo
            case Reshape() | Transpose() | MaxPool() as op:
                value = op.x
            case _:
                break
    dtype = value.tensor.dtype
    return float(dtype.limits[0]) if dtype.is_integer else -math.inf


class FusePad(Pass, name="fuse-pad"):
    """conv(pad(x)) -> conv(x) {pads}, likewise pools, where what they pad with allows it."""

    rules = (fuse,)
