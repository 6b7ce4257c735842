"""Sliding windows over a flat array: where they start, and the padding they need."""

from dataclasses import dataclass

from mcc.ops import Conv, Pool, channel_axis, spatial_axes

from ..plan import Planner
from ..registry import Strides, contiguous
from ..storage import Slot
from ..tail import Operand
from .elementwise import transposed
from .loops import Loop
from .shape import padded


@dataclass(frozen=True)
class Windows:
    """The padded input of a sliding window, and the axes of input and result by role."""

    slot: Slot
    batch: int
    """Stride from one sample to the next, in the padded input."""
    spatial: tuple[int, ...]
    """Strides along the spatial axes."""
    channel: int
    """Stride from one channel to the next."""
    channels: int
    """With padding, which a product of several channels at once may need."""
    y: Strides
    channel_axis: int
    """Of the result."""
    spatial_axes: tuple[int, ...]
    shape: tuple[int, ...]
    """Of the result."""
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    kernel: tuple[int, ...]

    def batch_loop(self, operands: list[Operand]) -> Loop:
        outside = (operand.strides[0] for operand in operands)
        return Loop(self.shape[0], (self.y[0], self.batch, 0, *outside))

    def spatial_loops(self, operands: list[Operand]) -> list[Loop]:
        """One loop for each spatial axis of the result."""
        return [
            Loop(
                self.shape[axis],
                (
                    self.y[axis],
                    self.strides[i] * self.spatial[i],
                    0,
                    *(operand.strides[axis] for operand in operands),
                ),
            )
            for i, axis in enumerate(self.spatial_axes)
        ]

    def channel_loop(
        self, extent: int, x: int, w: int, operands: list[Operand], step: int = 1
    ) -> Loop:
        """A loop over channels of the result, `step` at a time."""
        axis = self.channel_axis
        outside = (operand.strides[axis] * step for operand in operands)
        return Loop(extent, (self.y[axis] * step, x, w, *outside))

    def tap_loops(self, w_strides: Strides) -> list[Loop]:
        """The reduction over the window's taps."""
        rows = zip(self.kernel, self.dilations, self.spatial, w_strides, strict=True)
        return [
            Loop(taps, (0, dilation * stride, w_stride))
            for taps, dilation, stride, w_stride in rows
        ]

    def channel_strides(self) -> Strides:
        """The strides of a vector along the result's channels."""
        return tuple(int(axis == self.channel_axis) for axis in range(len(self.shape)))


def windows_of(
    planner: Planner,
    op: Conv | Pool,
    kernel: tuple[int, ...],
    fill: float | int,
    *,
    channels_last: bool,
    channel_multiple: int = 1,
) -> Windows:
    """The input of `op`: channels last if asked for, padded as far as windows reach."""
    strides, pads, dilations = op.geometry
    dims = op.x.tensor.dims
    rank = len(dims)
    layout = op.layout
    if layout == "nchw" and channels_last:
        slot = transposed(planner, op.x, (0, *range(2, rank), 1))
        dims = (dims[0], *dims[2:], dims[1])
        read = "nhwc"
    else:
        slot, read = planner.slot(op.x), layout
    before, after = [0] * rank, [0] * rank
    result = op.result.tensor.dims
    axes = spatial_axes(read, rank)
    for i, axis in enumerate(axes):
        out = result[spatial_axes(layout, rank)[i]]
        needed = (out - 1) * strides[i] + dilations[i] * (kernel[i] - 1) + 1
        before[axis] = pads[i]
        after[axis] = max(0, needed - dims[axis] - pads[i])
    channel = channel_axis(read, rank)
    after[channel] = -dims[channel] % channel_multiple
    slot = padded(planner, slot, dims, before, after, fill)
    extents = tuple(d + b + a for d, b, a in zip(dims, before, after, strict=True))
    x = contiguous(extents)
    return Windows(
        slot=slot,
        batch=x[0],
        spatial=tuple(x[axis] for axis in axes),
        channel=x[channel],
        channels=extents[channel],
        y=contiguous(result),
        channel_axis=channel_axis(layout, rank),
        spatial_axes=spatial_axes(layout, rank),
        shape=result,
        strides=strides,
        dilations=dilations,
        kernel=kernel,
    )
