"""Depthwise convolutions of bytes: four taps of a window in one dot product.

A dot product (VNNI, ARM) adds four products of neighbouring bytes to a lane. In a depthwise
convolution what is summed is a window's taps, which lie apart, each a run of channels. So the runs
of four taps are interleaved byte by byte: unpacking low and high halves of each 16 bytes twice, as
processors do in one instruction, gives for each lane its four taps. Within 16 bytes that keeps the
order of the channels; across them, the sums are put in order at the end.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcc.ir import Array

from ..tail import Node
from ..tir import Buffer, Expr, Index, Writer, constant, index_sum, intrinsic, shuffle
from .border import Border
from .loops import PARALLEL_WORK, Loop, fused_loops, nested_loops
from .positions import store_sums
from .products import Dots

Y, X, W = 0, 1, 2
"""Positions of the arrays in the strides of a loop; the tail's operands follow."""

_TAPS = 4
"""Of one dot product."""
_PART = 16
"""Bytes within which instructions interleave."""
LEAST_CHANNELS = 2 * _PART
"""Fewer leave the vectors so short that widening the bytes is as fast."""


@dataclass(frozen=True)
class Run:
    """Blocks of channels of one size, side by side."""

    first: int
    count: int
    lanes: int
    """Of a vector of sums; a block has four of them."""

    @property
    def channels(self) -> int:
        return _TAPS * self.lanes


def channel_runs(channels: int, lanes: int) -> list[Run]:
    """All channels (at least 16) in blocks, the largest first.

    The last block begins early where fewer than 16 channels are left: some are computed twice.
    """
    runs: list[Run] = []
    done = 0
    while channels - done >= _PART:
        count = (channels - done) // (_TAPS * lanes)
        if count:
            runs.append(Run(done, count, lanes))
        done += count * _TAPS * lanes
        lanes //= 2
    if done < channels:
        runs.append(Run(channels - _PART, 1, _PART // _TAPS))
    return runs


def pack_taps(weights: Array, runs: Sequence[Run]) -> Array:
    """Weights [channels, taps] as, for each block, [four taps, vector, lane, tap]."""
    channels, taps = weights.shape
    groups = -(-taps // _TAPS)
    full = np.zeros((channels, groups * _TAPS), weights.dtype)
    full[:, :taps] = weights
    blocks = [
        full[run.first + number * run.channels :][_order(run.lanes)]
        for run in runs
        for number in range(run.count)
    ]
    # [vector, lane, groups * taps] -> [groups, vector, lane, tap]
    split = [b.reshape(_TAPS, -1, groups, _TAPS).transpose(2, 0, 1, 3).reshape(-1) for b in blocks]
    return np.concatenate(split)


def _order(lanes: int) -> Array:
    """The channel, within a block, of each lane of the four vectors."""
    part, inside = np.divmod(np.arange(lanes), _PART // _TAPS)
    vector = np.arange(_TAPS)[:, None]
    return np.asarray(part * _PART + vector * (_PART // _TAPS) + inside)


@dataclass(frozen=True)
class TapDots:
    """One kernel; it reads x, packed weights, then the tail's operands.

    A loop's strides: y, x, w, the tail's operands. Channels lie side by side in x.
    """

    lead: tuple[Loop, ...]
    tile: Loop
    channels: Loop
    taps: tuple[int, ...]
    """Where each tap lies in x, from the first."""
    runs: tuple[Run, ...]
    product: Dots
    root: Node
    origin: int = 0
    """Where y begins."""
    border: Border | None = None
    """What is written around y."""

    @property
    def in_place(self) -> bool:
        """Whether operands of the tail may lie where y goes: no channel is computed twice."""
        return sum(run.count * run.channels for run in self.runs) == self.channels.extent

    def __call__(self, writer: Writer, inputs: tuple[Buffer, ...], out: Buffer) -> None:
        results = math.prod(loop.extent for loop in (*self.lead, self.tile, self.channels))
        if not results:
            return
        if self.border is not None:
            self.border.write(writer, out)
        parallel = results * len(self.taps) >= PARALLEL_WORK
        outer, inner = (self.lead, [self.tile]) if self.lead else ([self.tile], [])
        packed = 0
        for run in self.runs:
            block = self.channels.scaled(run.channels, run.count)
            block = block.with_stride(W, self._groups * run.channels * _TAPS)
            starts: list[Index] = [run.first * stride for stride in self.channels.strides]
            starts[Y] = index_sum((starts[Y], 1), (self.origin, 1))
            starts[W] = packed
            packed += run.count * block.strides[W]
            with (
                fused_loops(writer, outer, starts, parallel=parallel) as row,
                nested_loops(writer, [*inner, block], row) as at,
            ):
                places = [writer.bind_index(place) for place in at]
                sums = self._sums(writer, inputs, places, run.lanes)
                store_sums(
                    writer,
                    [sums],
                    [(run.lanes, run.lanes)] * _TAPS,
                    places,
                    [(0,) * len(places)],
                    self.channels,
                    self.root,
                    inputs[2:],
                    out,
                )

    @property
    def _groups(self) -> int:
        return -(-len(self.taps) // _TAPS)

    def _sums(
        self, writer: Writer, inputs: tuple[Buffer, ...], places: Sequence[Index], lanes: int
    ) -> list[Buffer]:
        """The sums of a block of channels at one position, in order."""
        width = _TAPS * lanes
        totals = [constant(0, "int32", lanes) for _ in range(_TAPS)]
        for group in range(self._groups):
            here = self.taps[group * _TAPS : (group + 1) * _TAPS]
            rows = [
                self._row(writer, inputs[0], index_sum((places[X], 1), (tap, 1)), width)
                for tap in here
            ]
            rows += [constant(0, "int8", width)] * (_TAPS - len(rows))
            for vector, four in enumerate(_interleaved(writer, rows)):
                at = index_sum((places[W], 1), ((group * _TAPS + vector) * width, 1))
                w = inputs[1].load(at, width)
                total = intrinsic(
                    self.product.instruction.format(bits=32 * lanes), totals[vector], four, w
                )
                totals[vector] = writer.bind(total)
        sums = [writer.scratch("int32", lanes) for _ in range(_TAPS)]
        for buffer, total in zip(sums, _in_order(writer, totals), strict=True):
            writer.store(buffer, 0, total)
        return sums

    def _row(self, writer: Writer, x: Buffer, place: Index, width: int) -> Expr:
        row = x.load(place, width).bits("int8")
        # Modulo 256, adding and subtracting 128 are the same.
        return writer.bind(row ^ -128 if self.product.shift else row)


def _interleaved(writer: Writer, rows: Sequence[Expr]) -> list[Expr]:
    """Four rows of bytes as four vectors in which those of each place lie side by side."""
    a, b, c, d = rows
    first = [_unpacked(writer, a, b, 1, high) for high in (False, True)]
    second = [_unpacked(writer, c, d, 1, high) for high in (False, True)]
    return [
        _unpacked(writer, left, right, 2, high)
        for left, right in zip(first, second, strict=True)
        for high in (False, True)
    ]


def _unpacked(writer: Writer, a: Expr, b: Expr, size: int, high: bool) -> Expr:
    """Elements of `size` bytes in turn, from the low or high half of each 16 bytes."""
    half = _PART // 2
    lanes = [
        side + part + half * high + element * size + byte
        for part in range(0, a.lanes, _PART)
        for element in range(half // size)
        for side in (0, a.lanes)
        for byte in range(size)
    ]
    return writer.bind(shuffle(a, b, lanes))


def _in_order(writer: Writer, sums: Sequence[Expr]) -> list[Expr]:
    """The sums of consecutive channels: part i of vector k goes to where 4 i + k is."""
    lanes, part = sums[0].lanes, _PART // _TAPS
    parts = lanes // part
    if parts == 1:
        return list(sums)

    def picked(a: Expr, b: Expr, numbers: Sequence[int]) -> Expr:
        order = [part * number + i for number in numbers for i in range(part)]
        return writer.bind(shuffle(a, b, order))

    a, b, c, d = sums
    if parts == 2:
        return [picked(x, y, (i, 2 + i)) for i in range(2) for x, y in ((a, b), (c, d))]
    # A square of four by four parts is turned in two steps, each within what one instruction picks.
    halves = [[picked(x, y, (i, i + 1, 4 + i, 5 + i)) for i in (0, 2)] for x, y in ((a, b), (c, d))]
    return [
        picked(left, right, (i, 2 + i, 4 + i, 6 + i))
        for left, right in zip(*halves, strict=True)
        for i in range(2)
    ]


def tap_offsets(loops: Sequence[Loop]) -> tuple[int, ...]:
    """Where each tap of a window lies in x."""
    return tuple(
        sum(i * loop.strides[X] for i, loop in zip(indices, loops, strict=True))
        for indices in itertools.product(*(range(loop.extent) for loop in loops))
    )
