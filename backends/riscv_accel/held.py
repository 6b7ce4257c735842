"""Activations that stay in the scratchpad between layers: which ones, and where."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mcc.backends import Lifetime, place
from mcc.ir import Value
from mcc.runtime import Frame, Target

from .layers import Product
from .patches import taps_of
from .structure import Layer


@dataclass(frozen=True)
class Held:
    """An activation in the scratchpad."""

    frame: Frame
    blocks: int
    """Of `dim` channels."""
    pad: int
    """What fills the padding."""
    first: int
    last: int
    """The layers that make it and that read it last, by number."""
    top: int = 0
    """Of a frame for some rows of an image only: the row that it begins with."""

    @property
    def rows(self) -> int:
        return self.frame.block_rows * self.blocks

    @property
    def start(self) -> int:
        """Its first row."""
        return self.frame.first + self.top // self.frame.rows_apart * self.frame.pitch

    @property
    def stop(self) -> int:
        """The row behind it."""
        return self.start + self.rows

    def from_row(self, top: int) -> "Held":
        """The same place for other rows of the image, from a multiple of the stride on."""
        frame = self.frame
        first = self.start - top // frame.rows_apart * frame.pitch
        return replace(self, frame=replace(frame, first=first), top=top)

    def padding(self, rows: range | None = None) -> "np.ndarray":
        """Which rows of a block are no pixels, or no pixels of some rows of the image."""
        frame = self.frame
        mask = np.ones(frame.block_rows, np.bool_)
        for row in rows or range(frame.height):
            for col in range(frame.width):
                mask[frame.row(row - self.top, col)] = False
        return mask


def holds_frames(target: Target) -> bool:
    """Whether sums can move into a frame: a pool of 1 x 1 windows picks the pixels of a plane."""
    return target.has("move_out_scratchpad") and target.has("pool")


def hold(
    layers: Sequence[Layer],
    senders: Mapping[Layer, Product],
    readers: Mapping[Layer, Product],
    others: Collection[Layer],
    banned: Collection[Value],
    target: Target,
) -> dict[Value, Held]:
    """What stays on the chip, placed by lifetime in all of the scratchpad's banks but one.

    Small tensors come first: they gain most by the row.

    Args:
        layers: A run.
        senders: Those that can store into the scratchpad.
        readers: Those that can read all their operands there.
        others: Those that take the whole scratchpad.
        banned: Results that must not stay.
        target: The machine.
    """
    if not holds_frames(target):
        return {}
    number = {layer: index for index, layer in enumerate(layers)}
    memory = target.machine.scratchpad
    limit = (memory.banks - 1) * memory.rows
    wanted: dict[Value, Held] = {}
    for layer in senders:
        if layer.result not in banned:
            candidate = _candidate(layer, senders[layer], readers, number, target.machine.dim)
            if candidate is not None:
                wanted[layer.result] = candidate
    load = np.array([limit if layer in others else 0 for layer in layers], np.int64)
    chosen: list[Value] = []
    for value, held in sorted(wanted.items(), key=lambda item: item[1].rows):
        during = slice(held.first, held.last + 1)
        if load[during].max() + held.rows <= limit:
            load[during] += held.rows
            chosen.append(value)
    while True:
        spans = [Lifetime(wanted[v].rows, wanted[v].first, wanted[v].last) for v in chosen]
        placed = place(spans, 0)
        if placed.peak <= limit:
            break
        chosen.pop()  # the largest
    return {
        value: replace(wanted[value], frame=replace(wanted[value].frame, first=row))
        for value, row in zip(chosen, placed.offsets, strict=True)
    }


def _candidate(
    layer: Layer,
    product: Product,
    readers: Mapping[Layer, Product],
    number: Mapping[Layer, int],
    dim: int,
) -> Held | None:
    """A layer's result as all that read it want it; None where one of them cannot."""
    if not layer.result.uses:
        return None
    height, width = product.exit.pooled if product.exit.pool else (product.height, product.width)
    last = number[layer]
    windows: list[Product] = []
    sums = 0
    strides: set[tuple[int, int]] = set()
    for user in layer.result.uses:
        if not isinstance(user, Layer) or user not in readers or user not in number:
            return None
        reader = readers[user]
        last = max(last, number[user])
        if reader.w is not None:  # the sum of all pixels, which are its weights
            if (reader.w.width, reader.w.channels) != (height * width, product.channels):
                return None
            sums += 1
            continue
        for image in (reader.x, reader.residual):
            if image is None or user.xs[image.operand] is not layer.result:
                continue
            shape = (image.batch, image.height, image.width, image.channels)
            if shape != (1, height, width, product.channels):
                return None
            strides.add(reader.window.stride if image is reader.x else (1, 1))
            if image is reader.x:
                windows.append(reader)
    blocks = -(-product.channels // dim)
    if sums and not strides:
        # Its pieces of `dim` rows follow each other, also from block to block.
        rows = -(-height * width // dim) * dim
        frame = Frame(0, height, width, 1, 1, 0, 0, width, rows)
        return Held(frame, blocks, 0, number[layer], last)
    if sums or len(strides) != 1:
        return None
    stride = strides.pop()
    if product.exit.pool is not None and stride != (1, 1):
        return None
    made = framed(height, width, stride, windows)
    if made is None:
        return None
    frame, pad = made
    return Held(frame, blocks, pad, number[layer], last)


def framed(
    height: int, width: int, stride: tuple[int, int], readers: Sequence[Product]
) -> tuple[Frame, int] | None:
    """An image with the padding that its readers need; None where they want different bytes."""
    extents = (-(-height // stride[0]), -(-width // stride[1]))
    before, behind, least = [0, 0], [0, 0], 1
    pads: set[int] = set()
    for reader in readers:
        least = max(least, reader.width)
        for axis, (taps, size, extent) in enumerate(
            zip(
                taps_of(reader.window),
                (reader.height, reader.width),
                (height, width),
                strict=True,
            )
        ):
            shifts = [shift for _, shift in taps.places]
            before[axis] = max(before[axis], -min(shifts))
            behind[axis] = max(behind[axis], size + max(shifts) - extents[axis])
            offsets = [shift * taps.stride + plane for plane, shift in taps.places]
            reach = (size - 1) * taps.stride + max(offsets)
            if min(offsets) < 0 or reach >= extent:
                pads.add(reader.pad_value)
    if len(pads) > 1:
        return None
    pitch = max(least, extents[1] + max(before[1], behind[1]))
    rows = before[0] + extents[0] + behind[0]
    plane = rows * pitch + before[1]
    frame = Frame(0, height, width, *stride, before[0], before[1], pitch, plane)
    return frame, pads.pop() if pads else 0
