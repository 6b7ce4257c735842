"""The attention kernel: scores of a block of queries and keys at a time, never all of them.

For each block of queries the keys go by in blocks. Their scores become weights relative to the
largest score so far; where a later block has a larger one, what was summed up to there is scaled
down (T. Dao et al., «FlashAttention», 2022, algorithm 1). Scores, sums and the state of each row
stay in the caches of the core that works on the block.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..blocking import Blocking
from ..tail import Node, Point, compute
from ..tir import Buffer, Expr, Index, Writer, constant, index_sum, lowest, select
from . import maths
from .loops import PARALLEL_WORK, Loop, fused_loops, widths
from .positions import pieces

Y, Q, K, V, MASK = range(5)
"""Positions of the arrays in the strides of a loop; the tail's operands follow."""

_EXP_COST = 20
"""What a power costs, in multiply-adds."""


@dataclass(frozen=True)
class AttentionBlocking:
    """How many queries and keys a block has, and what of each product is in registers."""

    queries: int
    keys: int
    scores: Blocking
    sums: Blocking


@dataclass(frozen=True)
class Attend:
    """One kernel; it reads q, k, v, the mask if there is one, then the tail's operands.

    A loop's strides: y, q, k, v, the mask, the tail's operands. Keys lie side by side (the stride
    of `keys` in k is 1), and so do the columns of v and y.
    """

    lead: tuple[Loop, ...]
    queries: Loop
    keys: Loop
    depth: Loop
    columns: Loop
    starts: tuple[int, ...]
    """Where q, k and v begin."""
    scale: float
    masked: bool
    fill: float
    """What a mask of bytes puts in place of a score."""
    lanes: int
    blocking: AttentionBlocking
    root: Node

    def __call__(self, writer: Writer, inputs: tuple[Buffer, ...], out: Buffer) -> None:
        lead = math.prod(loop.extent for loop in self.lead)
        scores = lead * self.queries.extent * self.keys.extent
        parallel = scores * (self.depth.extent + self.columns.extent + _EXP_COST) >= PARALLEL_WORK
        for first, count, rows in pieces(self.queries.extent, self.blocking.queries):
            block = self.queries.scaled(rows, count)
            begin: list[Index] = [first * stride for stride in self.queries.strides]
            for array, start in zip((Q, K, V), self.starts, strict=True):
                begin[array] = index_sum((begin[array], 1), (start, 1))
            with fused_loops(writer, [*self.lead, block], begin, parallel=parallel) as at:
                _Block(self, writer, inputs, out, rows).write(at)

    def padded(self, keys: int) -> int:
        """So many keys in whole vectors."""
        return -(-keys // self.lanes) * self.lanes


class _Block:
    """The code for one block of queries, and the memory that it works in."""

    def __init__(
        self,
        kernel: Attend,
        writer: Writer,
        inputs: tuple[Buffer, ...],
        out: Buffer,
        rows: int,
    ) -> None:
        self.kernel, self.writer, self.rows, self.out = kernel, writer, rows, out
        self.q, self.k, self.v, *rest = inputs
        self.mask = rest.pop(0) if kernel.masked else None
        self.operands = tuple(rest)
        self.columns = kernel.columns.extent
        self.span = kernel.padded(min(kernel.blocking.keys, kernel.keys.extent))
        self.scores = writer.scratch("float32", rows * self.span)
        self.sums = writer.scratch("float32", rows * self.columns)
        self.peaks = writer.scratch("float32", rows)
        """The largest score of each row so far."""
        self.totals = writer.scratch("float32", rows)
        """The sum of each row's weights so far."""
        self.factors = writer.scratch("float32", rows)
        """What sums up to now are to be multiplied by."""

    def write(self, at: Sequence[Index]) -> None:
        writer, keys = self.writer, self.kernel.keys
        with writer.loop(self.rows) as row:
            writer.store(self.peaks, row, constant(-math.inf, "float32"))
            writer.store(self.totals, row, constant(0.0, "float32"))
        with writer.loop(self.rows * self.columns) as place:
            writer.store(self.sums, place, constant(0.0, "float32"))
        for first, count, extent in pieces(keys.extent, self.kernel.blocking.keys):
            with writer.loop(count) as number:
                key = index_sum((number, extent), (first, 1))
                here = [
                    writer.bind_index(index_sum((place, 1), (key, stride)))
                    for place, stride in zip(at, keys.strides, strict=True)
                ]
                self._score(here, extent)
                with writer.loop(self.rows) as row:
                    self._weigh(row, self.kernel.padded(extent))
                self._add(here, extent)
        self._finish(at)

    def _score(self, at: Sequence[Index], keys: int) -> None:
        """The scores of a block of keys, scaled and masked."""
        kernel, writer = self.kernel, self.writer
        strides = (kernel.queries.strides, kernel.keys.strides)
        steps = Loop(kernel.depth.extent, (kernel.depth.strides[Q], kernel.depth.strides[K]))
        for rows, columns in _tiles(self.rows, keys, kernel.lanes, kernel.blocking.scores):
            first_row, count_rows, height = rows
            first_key, count_keys, width = columns
            with writer.loop(count_keys) as column, writer.loop(count_rows) as row:
                key = index_sum((column, width), (first_key, 1))
                query = index_sum((row, height), (first_row, 1))
                here = [
                    writer.bind_index(
                        index_sum((place, 1), (query, strides[0][array]), (key, strides[1][array]))
                    )
                    for array, place in enumerate(at)
                ]
                starts = [
                    (self.q, index_sum((here[Q], 1), (i, strides[0][Q]))) for i in range(height)
                ]
                sums = self._product(starts, (self.k, here[K]), steps, widths(width, kernel.lanes))
                to = writer.bind_index(index_sum((query, self.span), (key, 1)))
                for i, vectors in enumerate(sums):
                    done = 0
                    for buffer in vectors:
                        place = index_sum(
                            (here[MASK], 1), (i, strides[0][MASK]), (done, strides[1][MASK])
                        )
                        score = self._masked(writer.bind(buffer.load(0, buffer.size)), place)
                        writer.store(
                            self.scores, index_sum((to, 1), (i * self.span + done, 1)), score
                        )
                        done += buffer.size
        for place in range(keys, kernel.padded(keys)):
            with writer.loop(self.rows) as row:
                beyond = constant(-math.inf, "float32")
                writer.store(self.scores, index_sum((row, self.span), (place, 1)), beyond)

    def _masked(self, score: Expr, place: Index) -> Expr:
        kernel = self.kernel
        if kernel.scale != 1:
            score = score * kernel.scale
        if self.mask is None:
            return score
        mask = self.mask.load(place, score.lanes, kernel.keys.strides[MASK])
        if self.mask.dtype == "float32":
            return score + mask
        return select(mask.differs(0), score, kernel.fill)

    def _weigh(self, row: Index, keys: int) -> None:
        """Scores of a row become weights relative to the largest score so far.

        A NaN need not become the largest: it makes the sum of the weights NaN by itself.
        """
        writer, lanes = self.writer, self.kernel.lanes
        start = writer.bind_index(index_sum((row, self.span)))
        highest = writer.scratch("float32", lanes)
        writer.store(highest, 0, constant(lowest("float32"), "float32", lanes))
        with writer.loop(keys // lanes) as step:
            place = index_sum((start, 1), (step, lanes))
            score = writer.bind(self.scores.load(place, lanes))
            writer.store(highest, 0, _larger(writer, score, highest.load(0, lanes)))
        before = writer.bind(self.peaks.load(row))
        peak = maths.across(writer, writer.bind(highest.load(0, lanes)), _larger)
        peak = writer.bind(_larger(writer, peak, before))
        writer.store(self.peaks, row, peak)
        # Where all scores are -inf so far, all weights are 0.
        level = writer.bind(select(peak > -math.inf, peak, 0.0))
        factor = writer.bind(maths.decay(writer, writer.bind(before - level)))
        writer.store(self.factors, row, factor)
        total = writer.scratch("float32", lanes)
        writer.store(total, 0, constant(0.0, "float32", lanes))
        with writer.loop(keys // lanes) as step:
            place = index_sum((start, 1), (step, lanes))
            shifted = writer.bind(self.scores.load(place, lanes) - level)
            weight = writer.bind(maths.decay(writer, shifted))
            writer.store(self.scores, place, weight)
            writer.store(total, 0, total.load(0, lanes) + weight)
        added = maths.across(writer, writer.bind(total.load(0, lanes)), _plus)
        writer.store(self.totals, row, self.totals.load(row) * factor + added)

    def _add(self, at: Sequence[Index], keys: int) -> None:
        """Sums of the values by their weights."""
        kernel, writer = self.kernel, self.writer
        steps = Loop(keys, (1, kernel.keys.strides[V]))
        for rows, columns in _tiles(self.rows, self.columns, kernel.lanes, kernel.blocking.sums):
            first_row, count_rows, height = rows
            first_column, count_columns, width = columns
            with writer.loop(count_columns) as block, writer.loop(count_rows) as tile:
                column = index_sum((block, width), (first_column, 1))
                row = writer.bind_index(index_sum((tile, height), (first_row, 1)))
                to = writer.bind_index(index_sum((row, self.columns), (column, 1)))
                factors = [self.factors.load(index_sum((row, 1), (i, 1))) for i in range(height)]
                before = (to, factors)
                starts = [
                    (self.scores, index_sum((row, self.span), (i, self.span)))
                    for i in range(height)
                ]
                values = index_sum((at[V], 1), (column, kernel.columns.strides[V]))
                sums = self._product(
                    starts, (self.v, values), steps, widths(width, kernel.lanes), before
                )
                for i, vectors in enumerate(sums):
                    done = i * self.columns
                    for buffer in vectors:
                        total = buffer.load(0, buffer.size)
                        writer.store(self.sums, index_sum((to, 1), (done, 1)), total)
                        done += buffer.size

    def _product(
        self,
        rows: Sequence[tuple[Buffer, Index]],
        matrix: tuple[Buffer, Index],
        steps: Loop,
        columns: Sequence[int],
        before: tuple[Index, Sequence[Expr]] | None = None,
    ) -> list[list[Buffer]]:
        """A few rows times a matrix of a few vectors, in registers.

        Args:
            rows: Where each row begins.
            matrix: Where its first vector begins.
            steps: Down the matrix; strides in the rows and in the matrix.
            columns: The lanes of each vector.
            before: Where sums begin that are to be multiplied by a factor a row, and added to.
        """
        writer = self.writer
        sums = [[writer.scratch("float32", lanes) for lanes in columns] for _ in rows]
        for i, vectors in enumerate(sums):
            done = i * self.columns
            for buffer in vectors:
                start = constant(0.0, "float32", buffer.size)
                if before is not None:
                    old = self.sums.load(index_sum((before[0], 1), (done, 1)), buffer.size)
                    start = old * before[1][i]
                writer.store(buffer, 0, start)
                done += buffer.size
        data, place = matrix
        with writer.loop(steps.extent) as step:
            at = writer.bind_index(index_sum((place, 1), (step, steps.strides[1])))
            held: list[Expr] = []
            done = 0
            for lanes in columns:
                held.append(writer.bind(data.load(index_sum((at, 1), (done, 1)), lanes)))
                done += lanes
            for (source, first), totals in zip(rows, sums, strict=True):
                element = writer.bind(source.load(index_sum((first, 1), (step, steps.strides[0]))))
                for buffer, vector in zip(totals, held, strict=True):
                    total = buffer.load(0, buffer.size) + element * vector
                    writer.store(buffer, 0, total)
        return sums

    def _finish(self, at: Sequence[Index]) -> None:
        """Divide the sums by the sum of the weights; a row without any is NaN."""
        kernel, writer = self.kernel, self.writer
        strides = kernel.columns.strides
        with writer.loop(self.rows) as row:
            here = [
                writer.bind_index(index_sum((place, 1), (row, stride)))
                for place, stride in zip(at, kernel.queries.strides, strict=True)
            ]
            share = writer.bind(1.0 / self.totals.load(row))
            for first, count, width in pieces(self.columns, kernel.lanes):
                for lanes in widths(width, kernel.lanes):
                    with writer.loop(count) as step:
                        column = index_sum((step, width), (first, 1))
                        places = [
                            index_sum((place, 1), (column, stride))
                            for place, stride in zip(here, strides, strict=True)
                        ]
                        point = Point(tuple(places[MASK + 1 :]), strides[MASK + 1 :], lanes)
                        total = self.sums.load(index_sum((row, self.columns), (column, 1)), lanes)
                        value = compute(
                            kernel.root, writer, self.operands, point, writer.bind(total * share)
                        )
                        writer.store(self.out, places[Y], value, strides[Y])
                    first += lanes


def _tiles(
    rows: int, columns: int, lanes: int, blocking: Blocking
) -> list[tuple[tuple[int, int, int], tuple[int, int, int]]]:
    """Blocks of a result as (first, count, size) of rows and of columns."""
    return [
        (high, wide)
        for wide in pieces(columns, blocking.vectors * lanes)
        for high in pieces(rows, blocking.tile)
    ]


def _larger(writer: Writer, a: Expr, b: Expr) -> Expr:
    """The processor's own maximum: b where one of both is NaN."""
    return select(a > b, a, b)


def _plus(writer: Writer, a: Expr, b: Expr) -> Expr:
    return a + b
