"""Sliding windows over a flat array: where they start, and the padding they need."""

from dataclasses import dataclass

from mcc.ir import Module, Value
from mcc.ops import Conv, MaxPool, Pool, channel_axis, spatial_axes
from mcc.passes import is_rounded

from ..plan import Halo, Part, Planner, Write
from ..registry import Strides, contiguous
from ..storage import Slot, stored
from ..tail import Operand, Tail
from ..tir import lowest
from .border import Border, padded
from .elementwise import strided_copy, transposed
from .loops import Loop
from .positions import merged_positions

Inputs = tuple[Slot, ...]


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
    origin: int
    """Where the first element of the result goes."""
    border: Border | None
    """What is written around the result."""
    part: Part | None
    """The concatenation into which the result is written."""

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

    def positions(
        self, groups: int, per_group: int, outputs: int, operands: list[Operand]
    ) -> tuple[list[Loop], Loop]:
        """The loops over samples, groups and positions, as many as possible merged.

        Args:
            groups: How many there are.
            per_group: Channels of x in each.
            outputs: Channels of the result in each.
            operands: What the tail reads.
        """
        lead = [
            self.batch_loop(operands),
            self.channel_loop(groups, per_group * self.channel, 1, operands, step=outputs),
        ]
        *rows, tile = self.spatial_loops(operands)
        return merged_positions([*lead, *rows], tile)

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


def halos_of(module: Module) -> dict[Value, Halo]:
    """The borders that the only reader of a value wants around it."""
    found: dict[Value, Halo] = {}
    for op in module.body:
        if not isinstance(op, Conv | MaxPool) or op.x.uses != {op: 1}:
            continue
        source = op.x
        if isinstance(op, Conv) and op.x.op is not None and is_rounded(op.x):
            source = op.x.op.operands[0]
            if source.uses != {op.x.op: 1}:
                continue
        fill: float | int
        if isinstance(op, Conv):
            kernel, fill = op.w.tensor.dims[2:], op.pad_value
            per_group = op.w.tensor.dims[1]
            if not op.x.tensor.dtype.is_float and per_group > 1 and per_group % 4:
                continue  # products of four channels at once may want more channels
        else:
            kernel, fill = op.kernel, lowest(stored(op.x.tensor.dtype))
        if op.layout == "nchw" or not op.x.tensor.size:
            continue
        before, after = _reach(op, kernel, op.x.tensor.dims, op.layout)
        # Crops are left to the reader.
        if any((*before, *after)) and min(*before, *after) >= 0:
            found[source] = Halo(tuple(before), tuple(after), fill)
    return found


def _reach(
    op: Conv | Pool, kernel: tuple[int, ...], dims: tuple[int, ...], read: str
) -> tuple[list[int], list[int]]:
    """How far windows reach beyond an input, before and after it along each axis."""
    strides, pads, dilations = op.geometry
    rank = len(dims)
    before, after = [0] * rank, [0] * rank
    result = op.result.tensor.dims
    for i, axis in enumerate(spatial_axes(read, rank)):
        out = result[spatial_axes(op.layout, rank)[i]]
        needed = (out - 1) * strides[i] + dilations[i] * (kernel[i] - 1) + 1
        before[axis] = pads[i]
        after[axis] = max(0, needed - dims[axis] - pads[i])
    return before, after


def finish_windows(
    planner: Planner,
    tail: Tail,
    name: str,
    kernel: Write,
    view: Windows,
    inputs: Inputs,
    *,
    in_place: bool = False,
) -> None:
    """The kernel that stores a tail's value, with the border that its reader wants.

    `in_place` as in `Planner.finish`.
    """
    if view.part is not None:
        _finish_part(planner, tail, name, kernel, view, view.part, inputs)
        return
    halo = planner.halos.get(tail.value)
    if halo is None or view.border is None:
        planner.finish(tail, name, kernel, inputs, in_place=in_place)
        return
    every = (*inputs, *(operand.slot for operand in tail.operands))
    dtype = stored(tail.value.tensor.dtype)
    slot = planner.call(name, kernel, every, dtype, view.border.size)
    planner.bordered[tail.value] = (halo, slot)
    # Only who observes the value calls this copy.
    cropped = strided_copy(planner, slot, tail.shape, view.y, view.origin, "crop")
    planner.define(tail.value, cropped)


def _finish_part(
    planner: Planner,
    tail: Tail,
    name: str,
    kernel: Write,
    view: Windows,
    part: Part,
    inputs: Inputs,
) -> None:
    every = (*inputs, *(operand.slot for operand in tail.operands))
    slot = planner.join(part.whole, name, kernel, every, stored(tail.value.tensor.dtype))
    planner.placed.add(tail.value)
    # Only who observes the value calls this copy.
    cropped = strided_copy(planner, slot, tail.shape, part.strides, part.origin, "crop")
    planner.define(tail.value, cropped)


def windows_of(
    planner: Planner,
    op: Conv | Pool,
    tail: Tail,
    kernel: tuple[int, ...],
    fill: float | int,
    *,
    channels_last: bool,
    channel_multiple: int = 1,
    source: Value | None = None,
) -> Windows:
    """The input of `op`: channels last if asked for, padded as far as windows reach.

    `source` holds the same numbers as `op.x`, in another type.
    """
    x_value = op.x if source is None else source
    dims = x_value.tensor.dims
    rank = len(dims)
    layout = op.layout
    if layout == "nchw" and channels_last:
        slot = transposed(planner, x_value, (0, *range(2, rank), 1))
        dims = (dims[0], *dims[2:], dims[1])
        read = "nhwc"
    else:
        slot, read = planner.slot(x_value), layout
    before, after = _reach(op, kernel, dims, read)
    channel = channel_axis(read, rank)
    after[channel] = -dims[channel] % channel_multiple
    halo, bordered = planner.bordered.get(x_value, (None, slot))
    if read == layout and halo == Halo(tuple(before), tuple(after), fill):
        slot = bordered
    else:
        slot = padded(planner, slot, dims, before, after, fill)
    extents = tuple(d + b + a for d, b, a in zip(dims, before, after, strict=True))
    return _windows(planner, op, tail, kernel, slot, extents, read)


def windows_in_strip(
    planner: Planner, op: Conv, tail: Tail, slot: Slot, rows: int, columns: int
) -> Windows:
    """The windows of a 2-D `op` over some rows of its padded input, channels last.

    `slot` stands for memory of the kernel's own that holds them.
    """
    extents = (1, rows, columns, op.x.tensor.dims[-1])
    return _windows(planner, op, tail, op.w.tensor.dims[2:], slot, extents, op.layout)


def _windows(
    planner: Planner,
    op: Conv | Pool,
    tail: Tail,
    kernel: tuple[int, ...],
    slot: Slot,
    extents: tuple[int, ...],
    read: str,
) -> Windows:
    """Windows over an input of these extents, whose axes are as `read` says."""
    rank = len(extents)
    axes, channel = spatial_axes(read, rank), channel_axis(read, rank)
    strides, _, dilations = op.geometry
    result, layout = op.result.tensor.dims, op.layout
    x = contiguous(extents)
    border = None
    if tail.value in planner.halos:
        border = Border.of(
            planner.halos[tail.value], result, planner.machine, stored(tail.value.tensor.dtype)
        )
    part = planner.parts.get(tail.value)
    y, origin = contiguous(result if border is None else border.result), 0
    if border is not None:
        origin = border.origin
    elif part is not None:
        y, origin = part.strides, part.origin
    return Windows(
        slot=slot,
        batch=x[0],
        spatial=tuple(x[axis] for axis in axes),
        channel=x[channel],
        channels=extents[channel],
        y=y,
        channel_axis=channel_axis(layout, rank),
        spatial_axes=spatial_axes(layout, rank),
        shape=result,
        strides=strides,
        dilations=dilations,
        kernel=kernel,
        origin=origin,
        border=border,
        part=part if border is None else None,
    )
