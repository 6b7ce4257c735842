"""Convolutions that follow one another, a strip of rows at a time, in one kernel.

A depthwise convolution does little with what it reads. Before it, the convolution that makes its
input computes a few rows into memory that stays in the cache; behind it, a convolution of single
positions takes the rows that are done. Rows that two strips share are kept, not computed again,
unless the strips are in different tasks. Fused-layer evaluation: Alwani et al., "Fused-Layer CNN
Accelerators" (2016).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mcc.ir import Array

from ..tir import Buffer, Expr, Index, Writer, constant, index_sum, select, smaller_index
from .border import Border
from .contract import Contraction
from .loops import PARALLEL_WORK, Loop, digits, widths
from .panel import as_expr
from .positions import X, Y

_NONE = -2
"""No strip is the one before strip 0 of a task."""


@dataclass(frozen=True)
class Stage:
    """A convolution over part of its rows."""

    contraction: Contraction
    """Of one row of the first stage, and of a strip of the others."""
    weights: Array
    """In the order of use."""
    batch: Loop
    row: Loop
    """Samples and rows of the whole result: where each array then begins."""
    origin: int = 0
    """Where the whole result begins."""

    @property
    def arrays(self) -> int:
        """Buffers that it reads beside x: weights, and the tail's operands."""
        return len(self.row.strides) - 2

    def starts(
        self, sample: Index, row: Index, *, x: Index | None = None, y: Index | None = None
    ) -> list[Index]:
        """Where the arrays begin for a row; `x` and `y` where these are not whole arrays."""
        found = [
            index_sum((sample, b), (row, r))
            for b, r in zip(self.batch.strides, self.row.strides, strict=True)
        ]
        found[X] = found[X] if x is None else x
        found[Y] = index_sum((found[Y], 1), (self.origin, 1)) if y is None else y
        return found


@dataclass(frozen=True)
class Rows:
    """What a depthwise convolution reads for one strip, in memory of the kernel's own."""

    height: int
    """Rows of the whole input."""
    count: int
    """Rows that a strip needs, at most."""
    step: int
    """Rows from a strip's first to the next one's."""
    stride: int
    """Of the convolution."""
    before: int
    """Rows of padding above the input."""
    left: int
    """Columns of padding, before those of the input."""
    width: int
    """Columns of the input."""
    columns: int
    """Columns with padding."""
    channels: int
    fill: float

    @property
    def row(self) -> int:
        """Elements of a row."""
        return self.columns * self.channels

    @property
    def kept(self) -> int:
        """Rows that a strip has in common with the next."""
        return max(0, self.count - self.step)


@dataclass(frozen=True)
class Strips:
    """The kernel. It reads x, then for each stage the weights and what its tail reads."""

    head: Stage | None
    """What makes the depthwise convolution's input, row by row."""
    rows: Rows | None
    """With a head."""
    depthwise: Stage
    last: Stage | None
    """A convolution of single positions."""
    samples: int
    height: int
    """Rows of the result."""
    strip: int
    """Rows of it in a strip."""
    between: int
    """Elements of the depthwise convolution's result for a strip, where another stage follows."""
    work: int
    """Multiplications of all stages."""
    border: Border | None
    lanes: int

    def __call__(self, writer: Writer, inputs: tuple[Buffer, ...], out: Buffer) -> None:
        if self.border is not None:
            self.border.write(writer, out)
        x, *rest = inputs
        stages = [stage for stage in (self.head, self.depthwise, self.last) if stage is not None]
        taken = [tuple(rest.pop(0) for _ in range(stage.arrays)) for stage in stages]
        source = middle = out
        if self.rows is not None:
            source = writer.lines("float32", self.rows.count * self.rows.row)
            self._margins(writer, source, self.rows)
        if self.last is not None:
            middle = writer.lines("float32", self.between)
        held = writer.scratch("int32", 1)
        writer.store(held, 0, constant(_NONE, "int32"))
        strips = self._strips
        with writer.loop(self.samples * strips, parallel=self.work >= PARALLEL_WORK) as step:
            *_, sample, strip = digits(writer, step, [self.samples, strips])
            first = self._first_row(writer, strip)
            operands = iter(taken)
            read: tuple[Buffer, Index | None] = x, None
            if self.head is not None and self.rows is not None:
                kept = writer.bind(self._kept(held, step, strip, self.rows))
                self._fill(writer, (x, *next(operands)), source, sample, first, kept)
                writer.store(held, 0, as_expr(step))
                read = source, 0
            at = None if self.last is None else 0
            starts = _bound(writer, self.depthwise.starts(sample, first, x=read[1], y=at))
            depthwise = self.depthwise.contraction
            depthwise.write_at(writer, (read[0], *next(operands)), middle, starts)
            if self.last is not None:
                starts = _bound(writer, self.last.starts(sample, first, x=0))
                self.last.contraction.write_at(writer, (middle, *next(operands)), out, starts)

    @property
    def _strips(self) -> int:
        """Of a sample; the last one begins early where it would be short."""
        return -(-self.height // self.strip)

    def _first_row(self, writer: Writer, strip: Index) -> Index:
        first = index_sum((strip, self.strip))
        return writer.bind_index(smaller_index(first, self.height - self.strip))

    def _kept(self, held: Buffer, step: Index, strip: Index, rows: "Rows") -> Expr:
        """How many rows are there already: those of the strip before, if that was done here."""
        kept, none = constant(rows.kept, "int32"), constant(0, "int32")
        found = select((held.load(0) + 1).equals(as_expr(step)), kept, none)
        found = select(as_expr(strip).equals(0), none, found)
        if self.height % self.strip:
            found = select(as_expr(strip).equals(self._strips - 1), none, found)
        return found

    def _fill(
        self,
        writer: Writer,
        inputs: tuple[Buffer, ...],
        to: Buffer,
        sample: Index,
        first: Index,
        kept: Expr,
    ) -> None:
        """The rows that a strip reads, behind those that it kept."""
        rows, head = self.rows, self.head
        assert rows is not None
        assert head is not None
        if rows.kept:
            moved = (rows.count - rows.kept) * rows.row
            with writer.branch(kept.differs(0)):
                for at, lanes in _vectors(writer, rows.kept * rows.row, self.lanes):
                    writer.store(to, at, to.load(index_sum((at, 1), (moved, 1)), lanes))
        top = as_expr(writer.bind_index(index_sum((first, rows.stride), (-rows.before, 1))))
        count = constant(rows.count, "int32")
        begin = _within(writer, 0 - top, kept, count)
        end = _within(writer, rows.height - top, begin, count)
        for span in ((kept, begin), (end, count)):
            with writer.span(*span) as row:
                self._blank(writer, to, writer.bind_index(row * rows.row), rows.row, rows.fill)
        with writer.span(begin, end) as row:
            y = index_sum((row, rows.row), (rows.left * rows.channels, 1))
            starts = _bound(writer, head.starts(sample, writer.bind_index(top + row), y=y))
            head.contraction.write_at(writer, inputs, to, starts)

    def _margins(self, writer: Writer, to: Buffer, rows: Rows) -> None:
        """What is left and right of the input."""
        end = rows.left + rows.width
        for begin, columns in ((0, rows.left), (end, rows.columns - end)):
            if columns:
                with writer.loop(rows.count) as row:
                    base = index_sum((row, rows.row), (begin * rows.channels, 1))
                    size = columns * rows.channels
                    self._blank(writer, to, writer.bind_index(base), size, rows.fill)

    def _blank(self, writer: Writer, to: Buffer, base: Index, size: int, fill: float) -> None:
        for at, lanes in _vectors(writer, size, self.lanes):
            writer.store(to, index_sum((base, 1), (at, 1)), constant(fill, "float32", lanes))


def _bound(writer: Writer, places: Sequence[Index]) -> list[Index]:
    return [writer.bind_index(place) for place in places]


def _within(writer: Writer, value: Expr, least: Expr, most: Expr) -> Expr:
    """A value, or the end of a span that it lies beyond."""
    lifted = select(value < least, least, value)
    return writer.bind(select(lifted < most, lifted, most))


def _vectors(writer: Writer, size: int, lanes: int) -> Iterator[tuple[Index, int]]:
    """Elements as vectors: where each begins, and its lanes; the body is a loop's."""
    whole = size // lanes
    if whole:
        with writer.loop(whole) as number:
            yield writer.bind_index(index_sum((number, lanes))), lanes
    done = whole * lanes
    for rest in widths(size - done, lanes):
        yield done, rest
        done += rest
