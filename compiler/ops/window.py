"""Sliding windows: the geometry that convolution and pooling share."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from mcc.ir import Array, DType, OpError

Layout = Literal["nchw", "nhwc"]
"""Where the channels stand: second (`nchw`, whatever the rank) or last (`nhwc`)."""


def channel_axis(layout: str, rank: int) -> int:
    return 1 if layout == "nchw" else rank - 1


def spatial_axes(layout: str, rank: int) -> tuple[int, ...]:
    first = 2 if layout == "nchw" else 1
    return tuple(range(first, first + rank - 2))


def output_extent(
    size: int, kernel: int, stride: int, before: int, after: int, dilation: int, ceil: bool = False
) -> int:
    """Windows along one axis (ONNX operator specification, MaxPool).

    With `ceil`, a last window may hang over the end; one that starts in the end padding is dropped.
    """
    span = dilation * (kernel - 1) + 1
    room = size + before + after - span
    if room < 0:
        raise OpError(f"a window of {span} does not fit into {size}+{before}+{after}")
    steps = -(-room // stride) if ceil else room // stride
    if ceil and steps * stride >= size + before:
        steps -= 1
    return steps + 1


def defaults(
    rank: int, strides: Sequence[int], pads: Sequence[int], dilations: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Empty lists mean stride 1, no padding, dilation 1; the spatial rank gives the lengths."""
    filled = (
        tuple(strides) or (1,) * rank,
        tuple(pads) or (0,) * (2 * rank),
        tuple(dilations) or (1,) * rank,
    )
    rules = (("strides", rank, 1), ("pads", 2 * rank, 0), ("dilations", rank, 1))
    for (name, length, least), value in zip(rules, filled, strict=True):
        if len(value) != length:
            raise OpError(f"{name} has {len(value)} numbers, {length} are needed", name)
        if min(value, default=least) < least:
            raise OpError(f"{name} {list(value)} must not be below {least}", name)
    return filled


def windows(
    x: Array,
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    out: Sequence[int],
    fill: float,
) -> Array:
    """A view [N, C, *out, *kernel] of the windows of x [N, C, *spatial], padded with `fill`."""
    rank = len(kernel)
    needed = [(out[i] - 1) * strides[i] + dilations[i] * (kernel[i] - 1) + 1 for i in range(rank)]
    after = [max(0, needed[i] - x.shape[2 + i] - pads[i]) for i in range(rank)]
    if any(pads[:rank]) or any(after):
        widths = [(0, 0), (0, 0), *((pads[i], after[i]) for i in range(rank))]
        x = np.pad(x, widths, constant_values=np.asarray(fill).astype(x.dtype))
    step = x.strides
    along_out = tuple(step[2 + i] * strides[i] for i in range(rank))
    along_kernel = tuple(step[2 + i] * dilations[i] for i in range(rank))
    return np.lib.stride_tricks.as_strided(
        x,
        (*x.shape[:2], *out, *kernel),
        (*step[:2], *along_out, *along_kernel),
        writeable=False,
    )


def to_nchw(x: Array, layout: str) -> Array:
    """A view with the channels second."""
    return x if layout == "nchw" else np.moveaxis(x, -1, 1)


def from_nchw(y: Array, layout: str) -> Array:
    """The inverse of `to_nchw`."""
    return y if layout == "nchw" else np.moveaxis(y, 1, -1)


def lowest(dtype: DType) -> float:
    """The value that no maximum prefers."""
    return float("-inf") if dtype.is_float else dtype.limits[0]
