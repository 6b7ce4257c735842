"""X in three parts: a panel of rows for tile registers, as im2col would make it.

A panel holds some positions of a contraction: for each step of the reduction and each part, a row
of 64 bytes for each position. It lies on the stack and stays in the second-level cache.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..tir import Buffer, Expr, Index, Writer, constant, index_sum, select, smaller_index
from .loops import Loop, digits
from .parts import PARTS, cut_parts, upper_halves
from .positions import X
from .split_blocking import ROW, SplitBlocking
from .tile_blocking import LANES


@dataclass(frozen=True)
class Windows:
    """Where a contraction reads x."""

    positions: tuple[Loop, ...]
    """The outermost first."""
    taps: tuple[Loop, ...]
    run: int
    """Elements side by side, for each tap."""
    count: int
    """Positions."""
    blocking: SplitBlocking

    def place(self, writer: Writer, starts: Sequence[Index], position: Index) -> list[Index]:
        """Where each array stands at a position."""
        numbers = digits(writer, position, [loop.extent for loop in self.positions])
        return [
            index_sum(
                (start, 1),
                *((d, loop.strides[n]) for d, loop in zip(numbers, self.positions, strict=True)),
            )
            for n, start in enumerate(starts)
        ]

    def source(self, writer: Writer, step: Index) -> Index:
        """From where a position's window begins to what a step of the reduction reads."""
        b = self.blocking
        *taps, last = digits(writer, step, [*(tap.extent for tap in self.taps), b.steps])
        start = smaller_index(index_sum((last, b.depth)), self.run - b.depth)
        moved = [(number, tap.strides[X]) for number, tap in zip(taps, self.taps, strict=True)]
        return writer.bind_index(index_sum((start, 1), *moved))


@dataclass(frozen=True)
class Panel:
    """The parts of x at `blocking.padded` positions, and whether all of them are finite."""

    windows: Windows
    x: Buffer
    parts: Buffer
    """[step, part, position, element], in one copy or two."""
    special: Buffer
    """For each copy, not 0 if it has an infinity or NaN."""
    wrong: tuple[Buffer, Buffer]
    """Vectors of 0, or of NaN where x is not finite."""
    offsets: Buffer | None
    """Where the window of each position begins, unless that is a multiple of its number."""

    @classmethod
    def make(cls, writer: Writer, windows: Windows, x: Buffer) -> "Panel":
        """A panel in scratch memory; it holds nothing yet."""
        b = windows.blocking
        simple = len(windows.positions) == 1
        return cls(
            windows,
            x,
            writer.lines("uint16", b.panel_elements * b.copies),
            writer.scratch("int32", b.copies),
            (writer.scratch("float32", LANES), writer.scratch("float32", LANES)),
            None if simple else writer.scratch("int32", b.padded),
        )

    def begin(self, writer: Writer, first: Index) -> None:
        """Prepare to be filled with the positions from `first` on."""
        for total in self.wrong:
            writer.store(total, 0, constant(0.0, "float32", LANES))
        if self.offsets is not None:
            with writer.loop(self.windows.blocking.padded) as number:
                position = self._position(first, number)
                at = self.windows.place(writer, (0, 0), position)[X]
                writer.store(self.offsets, number, as_expr(at))

    def end(self, writer: Writer, copy: Index) -> None:
        """Note whether what was filled in was finite."""
        both = writer.scratch("float32", LANES)
        writer.store(both, 0, self.wrong[0].load(0, LANES) + self.wrong[1].load(0, LANES))
        total = writer.scratch("float32", 1)
        writer.store(total, 0, both.load(0))
        with writer.loop(LANES) as lane:
            writer.store(total, 0, total.load(0) + both.load(lane))
        finite = total.load(0).equals(0.0)
        none, some = (constant(n, "int32") for n in (0, 1))
        writer.store(self.special, copy, select(finite, none, some))

    def fill(self, writer: Writer, place: Index, first: Index, copy: Index, steps: range) -> None:
        """Everything for some steps of the reduction; `place` is where x begins."""
        self.begin(writer, first)
        with writer.loop(len(steps)) as number:
            source = self.windows.source(writer, index_sum((number, 1), (steps.start, 1)))
            source = writer.bind_index(index_sum((place, 1), (source, 1)))
            with writer.loop(self.windows.blocking.padded) as position:
                self.row(writer, source, first, position, self.step(copy, number))
        self.end(writer, copy)

    def step(self, copy: Index, number: Index) -> Index:
        """Where a step of the reduction begins in the panel."""
        b = self.windows.blocking
        return index_sum((copy, b.panel_elements), (number, PARTS * b.padded * ROW))

    def row(self, writer: Writer, source: Index, first: Index, number: Index, to: Index) -> None:
        """The parts of one position for one step of the reduction."""
        b = self.windows.blocking
        if self.offsets is None:
            position = writer.bind_index(self._position(first, number))
            at = index_sum((source, 1), (position, self.windows.positions[0].strides[X]))
        else:
            at = index_sum((source, 1), (writer.bind(self.offsets.load(number)), 1))
        at = writer.bind_index(at)
        lanes = [n if n < LANES else n + 2 * LANES - b.depth for n in range(b.depth)]
        lanes += [2 * LANES - 1] * (ROW - b.depth)
        vectors = [
            cut_parts(writer, writer.bind(self.x.load(index_sum((at, 1), (early, 1)), LANES)))
            for early in (0, b.depth - LANES)
        ]
        for total, (_, rest, _) in zip(self.wrong, vectors, strict=True):
            # What is left of infinity is NaN.
            writer.store(total, 0, total.load(0, LANES) + rest * 0.0)
        for part, pair in enumerate(zip(*vectors, strict=True)):
            place = index_sum((to, 1), (number, ROW), (part, b.padded * ROW))
            writer.store(self.parts, place, upper_halves(pair[0], pair[1], lanes))

    def _position(self, first: Index, number: Index) -> Index:
        """A position; behind the last one, that again."""
        return smaller_index(index_sum((first, 1), (number, 1)), self.windows.count - 1)


def as_expr(index: Index) -> Expr:
    """An index as an expression."""
    return constant(index, "int32") if isinstance(index, int) else index
