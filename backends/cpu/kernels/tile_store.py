"""Results of the contraction in tile registers: the tail is computed on sums that lie in memory.

While tile registers multiply a block, the vector units have little to do: they store the rows of
the block before.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..tail import Node, Point, compute
from ..tir import Buffer, Index, Writer, constant, index_sum, select
from .loops import Loop, widths
from .panel import as_expr
from .positions import W, Y
from .tile_blocking import LANES


@dataclass(frozen=True)
class TileStore:
    """Stores blocks of one width, now or while the next is multiplied."""

    tile: Loop
    vec: Loop
    root: Node
    operands: tuple[Buffer, ...]
    out: Buffer
    second: tuple[int, ...]
    """From the first tile of a block to the second, in each array."""
    rows: int
    """Positions of a tile."""
    valid: int
    """Results of a block."""
    sums: tuple[tuple[Buffer, ...], ...]
    """By tile and 16 results: a row for each position."""
    state: Buffer | None
    """How many rows of each tile wait, and where each array begins; None: blocks do not wait."""

    @staticmethod
    def state_for(writer: Writer, arrays: int) -> Buffer:
        """Memory for a block that waits; none does yet."""
        state = writer.scratch("int32", 1 + arrays)
        writer.store(state, 0, constant(0, "int32"))
        return state

    def block(self, writer: Writer, places: Sequence[Index]) -> None:
        """A block is in `sums`: its results are stored, at the latest by `rest`."""
        if self.state is None:
            with writer.loop(self.rows) as row:
                self._row(writer, places, row)
            return
        for number, index in enumerate((self.rows, *places)):
            writer.store(self.state, number, as_expr(index))

    def some(self, writer: Writer, first: Index, count: int) -> None:
        """So many rows of each tile, from a number on, of the block that waits."""
        if self.state is None:
            return
        waiting = writer.bind(self.state.load(0))
        begin = as_expr(writer.bind_index(first))
        if count == 1:
            with writer.branch(begin < waiting):
                self._row(writer, self._places(writer), begin)
            return
        after = begin + count
        end = writer.bind(select(after < waiting, after, waiting))
        with writer.span(begin, end) as row:
            self._row(writer, self._places(writer), row)

    def rest(self, writer: Writer) -> None:
        """The last block, if it waits."""
        if self.state is None:
            return
        with writer.span(constant(0, "int32"), writer.bind(self.state.load(0))) as row:
            self._row(writer, self._places(writer), row)
        writer.store(self.state, 0, constant(0, "int32"))

    def _places(self, writer: Writer) -> list[Index]:
        assert self.state is not None
        return [writer.bind(self.state.load(number)) for number in range(1, self.state.size)]

    def _row(self, writer: Writer, places: Sequence[Index], row: Index) -> None:
        """The results at one position of each tile."""
        inside = writer.bind_index(index_sum((row, LANES)))
        for number, columns in enumerate(self.sums):
            here = [
                writer.bind_index(index_sum((place, 1), (number, second), (row, stride)))
                for place, second, stride in zip(
                    places, self.second, self.tile.strides, strict=True
                )
            ]
            done = 0
            for lanes in widths(self.valid, LANES):
                at = [
                    index_sum((place, 1), (done, stride))
                    for place, stride in zip(here, self.vec.strides, strict=True)
                ]
                point = Point(tuple(at[W + 1 :]), self.vec.strides[W + 1 :], lanes)
                column, offset = divmod(done, LANES)
                raw = columns[column].load(index_sum((inside, 1), (offset, 1)), lanes)
                value = compute(self.root, writer, self.operands, point, writer.bind(raw))
                writer.store(self.out, at[Y], writer.bind(value), self.vec.strides[Y])
                done += lanes
