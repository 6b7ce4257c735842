"""Copies that exchange two axes: blocks are loaded, turned in registers and stored."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from ..machine import Machine
from ..tail import Leaf
from ..tir import Buffer, Expr, Index, Writer, index_sum, shuffle
from .loops import PARALLEL_MOVES, Loop, fused_loops
from .map import Map

TO, FROM = 0, 1
"""Positions of the arrays in the strides of a loop."""
_WIDEST = 16
"""Rows of a block: as many registers hold it, and as many again what it becomes."""
_MOST_ROWS = 4
"""That take turns: each vector of the result is put together from all of them."""


@dataclass(frozen=True)
class Transposition:
    """Elements side by side along `across` in the source and along `along` in the result."""

    outer: tuple[Loop, ...]
    across: Loop
    along: Loop
    starts: tuple[int, int]
    size: int
    """Elements of a side of a block."""

    @classmethod
    def of(
        cls, loops: Sequence[Loop], starts: tuple[int, int], dtype: str, machine: Machine
    ) -> Self | None:
        """The kernel for a copy with these loops, merged; None where nothing is to be turned."""
        *others, along = loops
        size = min(_WIDEST, machine.lanes(dtype))
        if along.strides[TO] != 1 or along.strides[FROM] == 1 or along.extent < size:
            return None
        for position, across in enumerate(others):
            if across.strides[FROM] == 1 and across.extent >= size:
                outer = (*others[:position], *others[position + 1 :])
                return cls(outer, across, along, starts, size)
        return None

    def __call__(self, writer: Writer, inputs: tuple[Buffer, ...], out: Buffer) -> None:
        across, along, size = self.across, self.along, self.size
        tall, wide = across.extent // size, along.extent // size
        total = across.extent * along.extent
        for loop in self.outer:
            total *= loop.extent
        blocks = [*self.outer, across.scaled(size, tall), along.scaled(size, wide)]
        parallel = total >= PARALLEL_MOVES
        with fused_loops(writer, blocks, self.starts, parallel=parallel) as (to, source):
            self._block(writer, inputs[0], out, to, source)
        # What is left at the right, then below, element by element.
        done = wide * size
        right = across, _behind(along, done)
        above = tall * size
        below = _behind(across, above), Loop(done, along.strides)
        for (down, aside), skipped in ((right, (0, done)), (below, (above, 0))):
            first, second = skipped
            starts = tuple(
                start + first * across.strides[array] + second * along.strides[array]
                for array, start in enumerate(self.starts)
            )
            _copy(writer, inputs, out, (*self.outer, down, aside), starts)

    def _block(self, writer: Writer, source: Buffer, out: Buffer, to: Index, place: Index) -> None:
        step = self.along.strides[FROM]
        rows = [
            writer.bind(source.load(index_sum((place, 1), (i, step)), self.size))
            for i in range(self.size)
        ]
        for i, row in enumerate(turned(writer, rows)):
            writer.store(out, index_sum((to, 1), (i, self.across.strides[TO])), row)


@dataclass(frozen=True)
class Interleaving:
    """A few rows of the source, whose elements take turns in the result: pixels of channels."""

    outer: tuple[Loop, ...]
    across: Loop
    """Along a row of the source."""
    along: Loop
    """From row to row."""
    starts: tuple[int, int]
    lanes: int

    @classmethod
    def of(
        cls, loops: Sequence[Loop], starts: tuple[int, int], dtype: str, machine: Machine
    ) -> Self | None:
        """The kernel for a copy with these loops, merged; None where it is of another kind."""
        *others, along = loops
        lanes = machine.lanes(dtype)
        if lanes < 2 or along.strides[TO] != 1 or not 2 <= along.extent <= _MOST_ROWS:
            return None
        for position, across in enumerate(others):
            if across.strides == (along.extent, 1) and across.extent >= lanes:
                outer = (*others[:position], *others[position + 1 :])
                return cls(outer, across, along, starts, lanes)
        return None

    def __call__(self, writer: Writer, inputs: tuple[Buffer, ...], out: Buffer) -> None:
        across, along, lanes = self.across, self.along, self.lanes
        blocks = [*self.outer, across.scaled(lanes, across.extent // lanes)]
        parallel = math.prod(loop.extent for loop in blocks) * lanes >= PARALLEL_MOVES
        with fused_loops(writer, blocks, self.starts, parallel=parallel) as (to, source):
            places = [index_sum((source, 1), (n, along.strides[FROM])) for n in range(along.extent)]
            rows = [writer.bind(inputs[0].load(place, lanes)) for place in places]
            for number, vector in enumerate(interleaved(writer, rows)):
                writer.store(out, index_sum((to, 1), (number, lanes)), vector)
        done = across.extent // lanes * lanes
        starts = tuple(
            start + done * stride for start, stride in zip(self.starts, across.strides, strict=True)
        )
        _copy(writer, inputs, out, (*self.outer, _behind(across, done), along), starts)


def _behind(loop: Loop, done: int) -> Loop:
    """What is left of a loop when so many steps are done."""
    return Loop(loop.extent - done, loop.strides)


def _copy(
    writer: Writer,
    inputs: tuple[Buffer, ...],
    out: Buffer,
    loops: tuple[Loop, ...],
    starts: tuple[int, ...],
) -> None:
    """Element by element."""
    if all(loop.extent for loop in loops):
        Map(loops, starts, Leaf(0), 1).write(writer, inputs, out)


def interleaved(writer: Writer, rows: Sequence[Expr]) -> list[Expr]:
    """The first elements of all rows, then the second ones, and so on: as many vectors."""
    lanes, count = rows[0].lanes, len(rows)
    found: list[Expr] = []
    for number in range(count):
        places = [divmod(number * lanes + lane, count) for lane in range(lanes)]
        total = rows[0]
        for row in range(1, count):
            # The first time elements move to their lanes, later they stay.
            taken = [
                lanes + place if turn == row else (place if row == 1 and not turn else lane)
                for lane, (place, turn) in enumerate(places)
            ]
            total = writer.bind(shuffle(total, rows[row], taken))
        found.append(total)
    return found


def turned(writer: Writer, rows: list[Expr]) -> list[Expr]:
    """A square of elements with rows and columns exchanged; a power of two on each side.

    Blocks of half the side change places, then blocks of a quarter within each, and so on.
    """
    size = len(rows)
    step = size // 2
    while step:
        for i in range(size):
            if i & step:
                continue
            upper, lower = rows[i], rows[i + step]
            first = [n if not n & step else size + n - step for n in range(size)]
            second = [n + step if not n & step else size + n for n in range(size)]
            rows[i] = writer.bind(shuffle(upper, lower, first))
            rows[i + step] = writer.bind(shuffle(upper, lower, second))
        step //= 2
    return rows
