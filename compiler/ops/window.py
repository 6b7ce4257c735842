"""Sliding windows: the geometry that convolution and pooling share."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from mcc.ir import Array, OpError

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
    """Windows along one axis (ONNX operator specification, MaxPool): a window that starts in the end padding is dropped."""
    room = size + before + after - (dilation * (kernel - 1) + 1)
    if room < 0:
        raise OpError(
            f"a window of {dilation * (kernel - 1) + 1} does not fit into {size}+{before}+{after}"
        )
    steps = -(-room // stride) if ceil else room // stride
    if ceil and steps * stride >= size + before:
        steps -= 1
    return steps + 1


def defaults(
    rank: int, strides: Sequence[int], pads: Sequence[int], dilations: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Empty lists mean stride 1, no padding, dilation 1; lengths are checked against the spatial rank."""
    filled = (
        tuple(strides) or (1,) * rank,
        tuple(pads) or (0,) * (2 * rank),
        tuple(dilations) or (1,) * rank,
    )
    for name, value, wanted in zip(
        ("strides", "pads", "dilations"), filled, (rank, 2 * rank, rank), strict=True
    ):
        if len(value) != wanted:
            raise OpError(f"{name} has {len(value)} numbers, {wanted} are needed", name)
    return filled


def windows(
    x: Array,
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    out: Sequence[int],
    fill: object,
) -> Array:
    """A view [N, C, *out, *kernel] of the windows of x [N, C, *spatial], padded with `fill`."""
    rank = len(kernel)
    needed = [(out[i] - 1) * strides[i] + dilations[i] * (kernel[i] - 1) + 1 for i in range(rank)]
    after = [max(0, needed[i] - x.shape[2 + i] - pads[i]) for i in range(rank)]
    if any(pads[:rank]) or any(after):
        widths = [(0, 0), (0, 0), *((pads[i], after[i]) for i in range(rank))]
        x = np.pad(x, widths, constant_values=fill)  # type: ignore[call-overload]
    step = x.strides
    shape = (*x.shape[:2], *out, *kernel)
    byte_steps = (
        *step[:2],
        *(step[2 + i] * strides[i] for i in range(rank)),
        *(step[2 + i] * dilations[i] for i in range(rank)),
    )
    return np.lib.stride_tricks.as_strided(x, shape, byte_steps, writeable=False)


def to_nchw(x: Array, layout: str) -> Array:
    """A view with the channels second."""
    return x if layout == "nchw" else np.moveaxis(x, -1, 1)


def from_nchw(y: Array, layout: str) -> Array:
    """The inverse of `to_nchw`."""
    return y if layout == "nchw" else np.moveaxis(y, 1, -1)
