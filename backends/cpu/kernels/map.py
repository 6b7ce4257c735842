"""The map kernel: one expression at every point of a space."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..tail import Node, Point, compute, steps
from ..tir import Buffer, Index, Writer
from .loops import PARALLEL_MOVES, Loop, collapse, fused_loops

_CHUNK = 8192
"""Elements that one thread takes at a time of a space without outer loops."""


@dataclass(frozen=True)
class Map:
    """What is stored at each point; a loop's strides: the result's, then the operands'."""

    loops: tuple[Loop, ...]
    starts: tuple[int, ...]
    root: Node
    lanes: int

    def write_at(
        self,
        writer: Writer,
        operands: tuple[Buffer, ...],
        out: Buffer,
        starts: tuple[Index, ...],
    ) -> None:
        """One row (a space of one loop), from places that the surrounding loops set."""
        (row,) = self.loops
        self._row(writer, row, starts, operands, out)

    def write(self, writer: Writer, operands: tuple[Buffer, ...], out: Buffer) -> None:
        """The loops; outermost in parallel when there is enough to do."""
        *outer, last = collapse(self.loops, len(self.starts))
        work = last.extent * steps(self.root)
        for loop in outer:
            work *= loop.extent
        parallel = work >= PARALLEL_MOVES
        rest = 0
        if not outer and last.extent >= 2 * _CHUNK:
            rest = last.extent % _CHUNK
            outer = [last.scaled(_CHUNK, last.extent // _CHUNK)]
            last = Loop(_CHUNK, last.strides)
        with fused_loops(writer, outer, self.starts, parallel=parallel) as places:
            self._row(writer, last, places, operands, out)
        if rest:
            done = outer[0].extent
            moved = [
                start + done * stride
                for start, stride in zip(self.starts, outer[0].strides, strict=True)
            ]
            with writer.once():
                self._row(writer, Loop(rest, last.strides), moved, operands, out)

    def _row(
        self,
        writer: Writer,
        row: Loop,
        places: Sequence[Index],
        operands: tuple[Buffer, ...],
        out: Buffer,
    ) -> None:
        done = 0
        for lanes in (self.lanes, 1):
            count = (row.extent - done) // lanes
            if not count:
                continue
            moved = [
                place + done * stride for place, stride in zip(places, row.strides, strict=True)
            ]
            with fused_loops(writer, [row.scaled(lanes, count)], moved, parallel=False) as at:
                point = Point(tuple(at[1:]), row.strides[1:], lanes)
                value = writer.bind(compute(self.root, writer, operands, point, None))
                writer.store(out, at[0], value, row.strides[0])
            done += count * lanes
