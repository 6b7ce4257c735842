"""Sums that tile registers leave in memory become results: the tail is computed on them.

While tile registers multiply a block, the vector units have little to do: they store the rows of
the block before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from ..tail import Node, Point, compute
from ..tir import Buffer, Index, Writer, constant, index_sum, select, smaller_index
from .loops import Loop, widths
from .panel import Windows, as_expr
from .positions import W, Y
from .split_blocking import SplitBlocking
from .tile_blocking import LANES


@dataclass(frozen=True)
class Store:
    """Stores the results of blocks of one width."""

    windows: Windows
    vec: Loop
    root: Node
    operands: tuple[Buffer, ...]
    out: Buffer
    added: bool
    """Whether sums of earlier parts of the reduction wait where results go."""
    valid: int
    """Results of a block."""
    sums: tuple[Buffer, ...]
    """Of 16 results each: a row for each position of the block."""

    @classmethod
    def make(
        cls,
        writer: Writer,
        windows: Windows,
        vec: Loop,
        root: Node,
        operands: tuple[Buffer, ...],
        out: Buffer,
        valid: int,
        *,
        added: bool,
    ) -> Self:
        """With sums in scratch memory."""
        size = windows.blocking.block * LANES
        sums = tuple(writer.lines("float32", size) for _ in range(-(-valid // LANES)))
        return cls(windows, vec, root, operands, out, added, valid, sums)

    @property
    def _blocking(self) -> SplitBlocking:
        return self.windows.blocking

    def rows(self, writer: Writer, position: Index) -> Index:
        """How many positions there are from one on, at most those of a block."""
        block, count = self._blocking.block, self.windows.count
        if count % block == 0:
            return block
        left = index_sum((position, -1), (count, 1))
        return writer.bind_index(smaller_index(left, block))

    def block(self, writer: Writer, places: Sequence[Index], position: Index) -> None:
        """All rows of the block whose first position this is."""
        with writer.span(constant(0, "int32"), as_expr(self.rows(writer, position))) as row:
            self.row(writer, places, position, row)

    def row(self, writer: Writer, places: Sequence[Index], position: Index, row: Index) -> None:
        """The results at one position; `places` are where each array begins."""
        at = writer.bind_index(index_sum((position, 1), (row, 1)))
        start = [writer.bind_index(place) for place in self.windows.place(writer, places, at)]
        strides = self.vec.strides
        done = 0
        for lanes in widths(self.valid, LANES):
            here = [
                index_sum((place, 1), (done, stride))
                for place, stride in zip(start, strides, strict=True)
            ]
            point = Point(tuple(here[W + 1 :]), strides[W + 1 :], lanes)
            column, offset = divmod(done, LANES)
            raw = self.sums[column].load(index_sum((row, LANES), (offset, 1)), lanes)
            if self.added:
                raw = self.out.load(here[Y], lanes, strides[Y]) + raw
            value = compute(self.root, writer, self.operands, point, writer.bind(raw))
            writer.store(self.out, here[Y], writer.bind(value), strides[Y])
            done += lanes


@dataclass(frozen=True)
class Waiting:
    """A block whose sums wait to be stored while the next is multiplied."""

    store: Store
    state: Buffer
    """How many of its rows wait, its first position, and where each array begins."""

    @classmethod
    def make(cls, writer: Writer, store: Store) -> Self:
        """No block waits yet."""
        waiting = cls(store, writer.scratch("int32", 2 + len(store.vec.strides)))
        writer.store(waiting.state, 0, constant(0, "int32"))
        return waiting

    def put(self, writer: Writer, places: Sequence[Index], position: Index) -> None:
        """Let a block wait; none does."""
        rows = self.store.rows(writer, position)
        for number, index in enumerate((rows, position, *places)):
            writer.store(self.state, number, as_expr(index))

    def steps(self, steps: int) -> int:
        """Rows to store in each of so many steps of the reduction, to store all."""
        return -(-self.store.windows.blocking.block // steps)

    def some(self, writer: Writer, first: Index, count: int) -> None:
        """Store so many rows, from a number on, of those that wait."""
        waiting = writer.bind(self.state.load(0))
        begin = as_expr(writer.bind_index(first))
        if count == 1:
            with writer.branch(begin < waiting):
                self._row(writer, begin)
        elif count:
            after = begin + count
            end = writer.bind(select(after < waiting, after, waiting))
            with writer.span(begin, end) as row:
                self._row(writer, row)

    def rest(self, writer: Writer) -> None:
        """Store all that wait."""
        with writer.span(constant(0, "int32"), writer.bind(self.state.load(0))) as row:
            self._row(writer, row)
        writer.store(self.state, 0, constant(0, "int32"))

    def _row(self, writer: Writer, row: Index) -> None:
        position, *places = (
            writer.bind(self.state.load(1 + number))
            for number in range(1 + len(self.store.vec.strides))
        )
        self.store.row(writer, places, position, row)
