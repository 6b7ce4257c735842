"""Weights that a block needs later, read into the cache while it computes."""

import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from ..registry import contiguous
from ..tir import Buffer, Expr, Index, Writer, constant, index_sum, select
from .loops import Loop, nested_loops
from .passes import Part


@dataclass(frozen=True)
class Ahead:
    """How weights are fetched before they are needed; numbers of elements."""

    block: int
    """From one block to the next."""
    part: int
    """From the part of the reduction in hand to the next; 0 for the last."""
    every: int
    """Steps of the reduction for each line."""
    line: int
    slice: int
    """What one tile of positions fetches."""

    @classmethod
    def of(
        cls, part: Part, passes: int, positions: Sequence[int], block: int, line: int
    ) -> Self | None:
        """How each block fetches its part of the next block's weights into the cache.

        Only the first tile of positions would wait for cold weights; all of them fetch. None where
        they are too few for it.

        Args:
            part: The part of the reduction in hand.
            passes: How many parts there are.
            positions: Extents of the loops over tiles that share weights.
            block: Elements of weights from one block to the next.
            line: Elements in a line of the cache.
        """
        needed = -(-block // line) / passes / math.prod(positions)
        *outer, inner = (loop.extent for loop in part.reduce)
        steps = math.prod(outer) * inner
        if needed > steps:
            return None
        divisors = [n for n in range(1, inner + 1) if inner % n == 0 and steps // n >= needed]
        every = divisors[-1]
        return cls(block, part.step, every, line, steps // every * line)

    def distance(self, number: Index, first: Expr, last: Expr) -> Index:
        """From weights in use by a block to what is needed next: behind the last, a new part.

        `first` and `last` are the blocks that the task computes.
        """
        if not self.part:
            return self.block
        back = (first - last) * self.block + self.part
        place = constant(number, "int32") if isinstance(number, int) else number
        return select(place < last, self.block, back)

    @contextmanager
    def steps(
        self,
        writer: Writer,
        weights: Buffer,
        reduce: Sequence[Loop],
        starts: tuple[Index, Index],
        slice_: Index,
    ) -> Generator[tuple[Index, Index]]:
        """The reduction; every few steps it fetches a line of the next block's weights.

        `starts` are places in x and w, `slice_` is from the latter to the first line.
        """
        x, w = starts
        *outer, inner = reduce
        loops = [*outer, inner.scaled(self.every, inner.extent // self.every)]
        numbers = contiguous(tuple(loop.extent for loop in loops))
        fetching = [
            loop.with_array(number * self.line) for loop, number in zip(loops, numbers, strict=True)
        ]
        next_ = index_sum((w, 1), (slice_, 1))
        with nested_loops(writer, fetching, (0, x, w, next_)) as (_, x_at, w_at, line_at):
            writer.prefetch(weights, line_at)
            few = Loop(self.every, inner.strides)
            with nested_loops(writer, [few], (0, x_at, w_at)) as (_, x_in, w_in):
                yield x_in, w_in
