"""Copies that exchange two axes: square blocks are loaded, turned in registers and stored."""

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


@dataclass(frozen=True)
class Transposition:
    """Elements side by side along `across` in the source and along `along` in the result."""

    outer: tuple[Loop, ...]
    across: Loop
    along: Loop
    start: int
    size: int
    """Elements of a side of a block."""

    @classmethod
    def of(cls, loops: Sequence[Loop], start: int, dtype: str, machine: Machine) -> Self | None:
        """The kernel for a copy with these loops, merged; None where nothing is to be turned."""
        *others, along = loops
        size = min(_WIDEST, machine.lanes(dtype))
        if along.strides[TO] != 1 or along.strides[FROM] == 1 or along.extent < size:
            return None
        for position, across in enumerate(others):
            if across.strides[FROM] == 1 and across.extent >= size:
                outer = (*others[:position], *others[position + 1 :])
                return cls(outer, across, along, start, size)
        return None

    def __call__(self, writer: Writer, inputs: tuple[Buffer, ...], out: Buffer) -> None:
        across, along, size = self.across, self.along, self.size
        tall, wide = across.extent // size, along.extent // size
        total = across.extent * along.extent
        for loop in self.outer:
            total *= loop.extent
        blocks = [*self.outer, across.scaled(size, tall), along.scaled(size, wide)]
        parallel = total >= PARALLEL_MOVES
        with fused_loops(writer, blocks, (0, self.start), parallel=parallel) as (to, source):
            self._block(writer, inputs[0], out, to, source)
        # What is left at the right, then below, element by element.
        done = wide * size
        self._rest(writer, inputs, out, across, Loop(along.extent - done, along.strides), 0, done)
        above, kept = tall * size, Loop(done, along.strides)
        self._rest(writer, inputs, out, Loop(across.extent - above, across.strides), kept, above, 0)

    def _block(self, writer: Writer, source: Buffer, out: Buffer, to: Index, place: Index) -> None:
        step = self.along.strides[FROM]
        rows = [
            writer.bind(source.load(index_sum((place, 1), (i, step)), self.size))
            for i in range(self.size)
        ]
        for i, row in enumerate(turned(writer, rows)):
            writer.store(out, index_sum((to, 1), (i, self.across.strides[TO])), row)

    def _rest(
        self,
        writer: Writer,
        inputs: tuple[Buffer, ...],
        out: Buffer,
        across: Loop,
        along: Loop,
        first_across: int,
        first_along: int,
    ) -> None:
        if not across.extent or not along.extent:
            return
        to, source = (
            first_across * self.across.strides[array] + first_along * self.along.strides[array]
            for array in (TO, FROM)
        )
        rest = Map((*self.outer, across, along), (to, self.start + source), Leaf(0), 1)
        rest.write(writer, inputs, out)


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
