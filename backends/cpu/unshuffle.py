"""Convolutions over pixels that were first dealt out among channels."""

import numpy as np

from mcc.ir import Because, DType, Value, constant, constant_of
from mcc.ops import Concat, Conv, Slice
from mcc.passes import Pass, rebuild, single_use


def fold_unshuffle(op: Conv) -> Value | Because | None:
    """conv(concat(x[::2, ::2], x[1::2, ::2], ...), w) -> conv(x, w dealt out) {strides=[2, 2]}.

    The same products: tap (i, j) of the channels that hold pixels (r, s) of each block is tap
    (2 i + r, 2 j + s) over x. Detectors of the YOLO family begin so («focus»).
    """
    concat = op.x.op
    if not isinstance(concat, Concat) or op.layout != "nchw" or concat.axis != 1:
        return None
    first, _, steps = _origin(concat.xs[0])
    rank = first.tensor.rank
    if min(steps[2:], default=1) < 2 or first.tensor.dtype is not DType.F32:
        return None
    weights = constant_of(op.w)
    strides, pads, dilations = op.geometry
    if weights is None or op.groups > 1 or max(dilations) > 1 or not single_use(op.x):
        return Because(
            "weights are computed, grouped or dilated, or the channels have more readers"
        )
    batch, channels, *sizes = first.tensor.dims
    block = steps[2:]
    if any(size % step for size, step in zip(sizes, block, strict=True)):
        return Because("the last blocks of pixels are not whole")
    part = (batch, channels, *(size // step for size, step in zip(sizes, block, strict=True)))

    taps = [size * step for size, step in zip(weights.shape[2:], block, strict=True)]
    dealt = np.zeros((weights.shape[0], channels, *taps), weights.dtype)
    seen: set[tuple[int, ...]] = set()
    for number, value in enumerate(concat.xs):
        x, starts, its = _origin(value)
        phase = starts[2:]
        if x is not first or its != (1, 1, *block) or value.tensor.dims != part:
            return Because("channels are other than pixels of blocks of one image")
        if any(start >= step for start, step in zip(phase, block, strict=True)) or phase in seen:
            return Because("channels do not hold each pixel of a block once")
        seen.add(phase)
        where = tuple(slice(start, None, step) for start, step in zip(phase, block, strict=True))
        dealt[:, :, *where] = weights[:, number * channels : (number + 1) * channels]
    return rebuild(
        op,
        x=first,
        w=constant(dealt, op.w.name).result,
        strides=tuple(stride * step for stride, step in zip(strides, block, strict=True)),
        pads=tuple(pad * block[i % (rank - 2)] for i, pad in enumerate(pads)),
    ).result


def _origin(value: Value) -> tuple[Value, tuple[int, ...], tuple[int, ...]]:
    """What a value is a slice of, through forward slices of slices, with its starts and steps."""
    starts, steps = [0] * value.tensor.rank, [1] * value.tensor.rank
    while isinstance(value.op, Slice) and min(value.op.steps, default=1) > 0:
        op = value.op
        for axis, step in enumerate(op.steps or (1,) * len(steps)):
            starts[axis] = op.starts[axis] + starts[axis] * step
            steps[axis] *= step
        value = op.x
    return value, tuple(starts), tuple(steps)


class FoldUnshuffle(Pass, name="fold-unshuffle"):
    """conv(concat(x[::2, ::2], x[1::2, ::2], ...), w) -> conv(x, w dealt out) {strides=[2, 2]}.

    What deals out the pixels (slices, their concatenation) would move the image three times.
    """

    rules = (fold_unshuffle,)
