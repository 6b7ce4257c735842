"""The contraction kernel: y[lead, tile, vec] = tail(sum over reduce of x * w), held in registers.

Convolutions, matrix products, depthwise convolutions, pools and reductions are all this kernel with
other strides. A block of `tile` positions times a few vectors along `vec` stays in registers while
the reduction runs; then the tail (bias, residual, clamp, whatever was fused) is computed on it and
stored. Recipe: register-blocked direct convolution, as in Georganas et al., "Anatomy of
High-Performance Deep Learning Convolutions on SIMD Architectures" (2018).
"""

import itertools
import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import numpy as np

from ..blocking import Blocking
from ..registry import contiguous
from ..tail import Anchor, Node, Point, compute
from ..tir import Buffer, Expr, Index, Writer, constant, index_sum, select
from .loops import PARALLEL_WORK, Loop, collapse, fused_loops, nested_loops, widths
from .products import Product
from .shape import Border

Y, X, W = 0, 1, 2
"""Positions of the arrays in the strides of a loop; the tail's operands follow."""

_SMALL_WEIGHTS = 80 * 1024
"""Bytes of weights that may be read again for every tile; results then lie side by side."""
_PREFETCHED_WEIGHTS = 128 * 1024
"""Bytes of weights from which on they will not lie in the second-level cache yet."""
_LINE = 64
"""Bytes of a cache line."""


@dataclass(frozen=True)
class Contraction:
    """One kernel. A loop's strides: y, x, w, the tail's operands; a reduction's: (0, x, w)."""

    lead: tuple[Loop, ...]
    tile: Loop
    vec: Loop
    reduce: tuple[Loop, ...]
    product: Product
    blocking: Blocking
    block_stride: int
    """From one block of vectors to the next in w."""
    root: Node
    origin: int = 0
    """Where y begins."""
    border: Border | None = None
    """What is written around y."""

    @property
    def in_place(self) -> bool:
        """Whether operands of the tail may lie where y goes: no sums wait there."""
        return self.blocking.passes == 1

    def __call__(self, writer: Writer, inputs: tuple[Buffer, ...], out: Buffer) -> None:
        steps = math.prod(loop.extent for loop in self.reduce)
        results = math.prod(loop.extent for loop in (*self.lead, self.tile, self.vec))
        if not results:
            return
        if self.border is not None:
            self.border.write(writer, out)
        parallel = steps * results >= PARALLEL_WORK
        for part in self._parts_of_reduction():
            for region in self._regions():
                self._region(writer, inputs, out, region, part, parallel=parallel)

    def _parts_of_reduction(self) -> "Iterator[_Part]":
        passes = self.blocking.passes
        if passes == 1:
            yield _Part(self.reduce, (0, 0, 0), 0, first=True, last=True)
            return
        outer, *rest = self.reduce
        whole = min(passes, outer.extent)
        loops = [outer.scaled(outer.extent // whole, whole)]
        left = [Loop(outer.extent // whole, outer.strides), *rest]
        if passes > whole:
            # Each step of the outermost loop by itself, and the next loop in parts.
            first, *rest = rest
            each = passes // whole
            loops.append(first.scaled(first.extent // each, each))
            left = [Loop(first.extent // each, first.strides), *rest]
        starts = [
            tuple(
                sum(i * loop.strides[array] for i, loop in zip(indices, loops, strict=True))
                for array in (Y, X, W)
            )
            for indices in itertools.product(*(range(loop.extent) for loop in loops))
        ]
        for number, (start, after) in enumerate(zip(starts, [*starts[1:], None], strict=True)):
            step = 0 if after is None else after[W] - start[W]
            yield _Part(tuple(left), start, step, first=number == 0, last=after is None)

    def _regions(self) -> Iterator["_Region"]:
        """All blocks of one shape after the other."""
        width = self.blocking.vectors * self.product.lanes
        whole, rest = divmod(self.vec.extent, width)
        row = self._row
        for first_row, rows, high in pieces(row.extent, self.blocking.rows):
            for first, tiles, across in pieces(self.tile.extent, self.blocking.tile):
                for first_block, blocks, valid in ((0, whole, width), (whole, 1, rest)):
                    if blocks and valid:
                        yield _Region(
                            (first_block, blocks),
                            tuple(self.product.vectors(valid)),
                            (first, tiles, across),
                            (first_row, rows, high),
                        )

    @property
    def _row(self) -> Loop:
        """The loop of which a block takes several rows."""
        if self.blocking.rows > 1:
            return self.lead[-1]
        return Loop(1, (0,) * len(self.tile.strides))

    def _region(
        self,
        writer: Writer,
        inputs: tuple[Buffer, ...],
        out: Buffer,
        region: "_Region",
        part: "_Part",
        *,
        parallel: bool,
    ) -> None:
        """All blocks of one shape, each a task of the parallel loop."""
        width = self.blocking.vectors * self.product.lanes
        first_block, blocks = region.blocks
        first, tiles, across = region.tiles
        first_row, rows, high = region.rows
        block = self.vec.scaled(width, blocks).with_stride(W, self.block_stride)
        tile, row = self.tile.scaled(across, tiles), self._row.scaled(high, rows)
        starts: list[Index] = [
            first_block * b + first * t + first_row * r
            for b, t, r in zip(block.strides, self.tile.strides, self._row.strides, strict=True)
        ]
        starts[Y] = index_sum((starts[Y], 1), (self.origin, 1))
        starts[X], starts[W] = (
            index_sum((starts[array], 1), (part.starts[array], 1)) for array in (X, W)
        )
        # Whatever needs other weights goes outermost, so that the ones in the cache serve longest.
        lead = self.lead[:-1] if self.blocking.rows > 1 else self.lead
        with_w = [loop for loop in lead if loop.strides[W]]
        without_w = [*(loop for loop in lead if not loop.strides[W]), row, tile]
        order = [*with_w, block, *without_w]
        if inputs[1:] and self._weight_bytes(inputs) <= _SMALL_WEIGHTS:
            # All weights stay in the cache; what is read of x then serves every block.
            order = [*with_w, *without_w, block]
        offsets = [
            tuple(i * r + j * t for r, t in zip(self._row.strides, self.tile.strides, strict=True))
            for i in range(high)
            for j in range(across)
        ]
        ahead = self._ahead(inputs, part, [loop.extent for loop in without_w], blocks)
        # Two more arrays: what this block fetches for the next, and the number of the block.
        counted = [loop.with_array(0) for loop in order]
        if ahead is not None:
            counts = contiguous(tuple(loop.extent for loop in without_w))
            tail = zip(without_w, counts, strict=True)
            counted[len(with_w) + 1 :] = [loop.with_array(n * ahead.slice) for loop, n in tail]
        numbered = [
            loop.with_array(int(now is block)) for loop, now in zip(counted, order, strict=True)
        ]
        with fused_loops(writer, numbered, [*starts, 0, 0], parallel=parallel) as at:
            *places, slice_, number = at
            sums = [
                [writer.scratch(self.product.dtype, lanes) for lanes, _ in region.columns]
                for _ in offsets
            ]
            if part.first:
                self._clear(writer, sums)
            else:
                self._resume(writer, out, places, offsets, sums)
            if ahead is not None:
                slice_ = index_sum((slice_, 1), (ahead.distance(number), 1))
            steps = self._steps(writer, inputs, (places[X], places[W]), part.reduce, ahead, slice_)
            self._accumulate(writer, inputs, steps, offsets, region, sums)
            root = self.root if part.last else Anchor()
            operands = inputs[2:] if self.product.has_weights else inputs[1:]
            columns = region.columns
            store_sums(writer, sums, columns, places, offsets, self.vec, root, operands, out)

    def _ahead(
        self,
        inputs: tuple[Buffer, ...],
        part: "_Part",
        positions: Sequence[int],
        blocks: int,
    ) -> "_Ahead | None":
        """How each block fetches its part of the next block's weights into the cache.

        Only the first tile of positions would wait for cold weights; all of them fetch.
        """
        if blocks == 1 or not inputs[1:] or self._weight_bytes(inputs) < _PREFETCHED_WEIGHTS:
            return None
        line = _LINE // np.dtype(inputs[1].dtype).itemsize
        lines = -(-self.block_stride // line) / self.blocking.passes
        needed = lines / math.prod(positions)
        *outer, inner = (loop.extent for loop in part.reduce)
        steps = math.prod(outer) * inner
        if needed > steps:
            return None
        divisors = [n for n in range(1, inner + 1) if inner % n == 0 and steps // n >= needed]
        every = divisors[-1]
        return _Ahead(blocks, self.block_stride, part.step, every, line, steps // every * line)

    def _weight_bytes(self, inputs: tuple[Buffer, ...]) -> int:
        if not self.product.has_weights:
            return 0
        return inputs[1].size * np.dtype(inputs[1].dtype).itemsize

    def _clear(self, writer: Writer, sums: Sequence[Sequence[Buffer]]) -> None:
        product = self.product
        for row in sums:
            for buffer in row:
                writer.store(buffer, 0, constant(product.start, product.dtype, buffer.size))

    def _resume(
        self,
        writer: Writer,
        out: Buffer,
        places: Sequence[Index],
        offsets: Sequence[tuple[int, ...]],
        sums: Sequence[Sequence[Buffer]],
    ) -> None:
        """The sums of an earlier part of the reduction, from where the result will be."""
        stride = self.vec.strides[Y]
        for row, moved in zip(sums, offsets, strict=True):
            done = 0
            for buffer in row:
                at = index_sum((places[Y], 1), (moved[Y], 1), (done, stride))
                writer.store(buffer, 0, writer.bind(out.load(at, buffer.size, stride)))
                done += buffer.size

    def _accumulate(
        self,
        writer: Writer,
        inputs: tuple[Buffer, ...],
        steps: AbstractContextManager[tuple[Index, Index]],
        offsets: Sequence[tuple[int, ...]],
        region: "_Region",
        sums: list[list[Buffer]],
    ) -> None:
        product = self.product
        with steps as (x_at, w_at):
            x_at, w_at = writer.bind_index(x_at), writer.bind_index(w_at)
            weights = self._weights(writer, inputs, w_at, region)
            for row, offset in zip(sums, offsets, strict=True):
                place = index_sum((x_at, 1), (offset[X], 1))
                done = 0
                shared: Expr | None = None
                for column, buffer in enumerate(row):
                    lanes = buffer.size
                    stride = self.vec.strides[X]
                    x = product.x(inputs[0], index_sum((place, 1), (done, stride)), lanes, stride)
                    if stride == 0 and shared is not None and shared.lanes == lanes:
                        x = shared
                    x = writer.bind(x)
                    shared = x
                    old = buffer.load(0, lanes)
                    w = weights[column] if weights else None
                    writer.store(buffer, 0, product.combine(writer, writer.bind(old), x, w))
                    done += lanes

    @contextmanager
    def _steps(
        self,
        writer: Writer,
        inputs: tuple[Buffer, ...],
        starts: tuple[Index, Index],
        reduce: tuple[Loop, ...],
        ahead: "_Ahead | None",
        slice_: Index,
    ) -> Generator[tuple[Index, Index]]:
        """The reduction; every few steps it fetches a line of the next block's weights."""
        x, w = starts
        if ahead is None:
            with nested_loops(writer, reduce, (0, x, w)) as (_, x_at, w_at):
                yield x_at, w_at
            return
        *outer, inner = reduce
        loops = [*outer, inner.scaled(ahead.every, inner.extent // ahead.every)]
        numbers = contiguous(tuple(loop.extent for loop in loops))
        fetching = [
            loop.with_array(number * ahead.line)
            for loop, number in zip(loops, numbers, strict=True)
        ]
        next_ = index_sum((w, 1), (slice_, 1))
        with nested_loops(writer, fetching, (0, x, w, next_)) as (_, x_at, w_at, line_at):
            writer.prefetch(inputs[1], line_at)
            few = Loop(ahead.every, inner.strides)
            with nested_loops(writer, [few], (0, x_at, w_at)) as (_, x_in, w_in):
                yield x_in, w_in

    def _weights(
        self, writer: Writer, inputs: tuple[Buffer, ...], place: Index, region: "_Region"
    ) -> list[Expr]:
        product = self.product
        if not product.has_weights:
            return []
        found: list[Expr] = []
        done = 0
        for lanes, _ in region.columns:
            stride = self.vec.strides[W]
            at = index_sum((place, 1), (done, product.step * stride))
            found.append(writer.bind(product.w(inputs[1], at, lanes, stride)))
            done += lanes
        return found


@dataclass(frozen=True)
class _Region:
    """Blocks of one shape; positions and blocks as (first, how many, size of each)."""

    blocks: tuple[int, int]
    columns: tuple[tuple[int, int], ...]
    """Vectors of a block: lanes, and how many of them count."""
    tiles: tuple[int, int, int]
    rows: tuple[int, int, int]


@dataclass(frozen=True)
class _Part:
    """A part of the reduction: its loops, and where it begins in each array."""

    reduce: tuple[Loop, ...]
    starts: tuple[int, ...]
    step: int
    """To the next part, in w."""
    first: bool
    last: bool


@dataclass(frozen=True)
class _Ahead:
    """How weights are fetched before they are needed; numbers of elements."""

    blocks: int
    block: int
    """From one block to the next."""
    part: int
    """From the part of the reduction in hand to the next; 0 for the last."""
    every: int
    """Steps of the reduction for each line."""
    line: int
    slice: int
    """What one tile of positions fetches."""

    def distance(self, number: Index) -> Index:
        """From weights in use by a block to what is needed next: behind the last, a new part."""
        if not self.part:
            return self.block
        back = self.part - (self.blocks - 1) * self.block
        if isinstance(number, int):
            return self.block if number < self.blocks - 1 else back
        block, first = (constant(n, "int32") for n in (self.block, back))
        return select(number < self.blocks - 1, block, first)


def pieces(extent: int, size: int) -> list[tuple[int, int, int]]:
    """An extent as (first, count, size): as many of `size` as fit, and what is left."""
    whole = extent // size
    pieces = [(0, whole, size), (whole * size, 1, extent - whole * size)]
    return [piece for piece in pieces if piece[1] and piece[2]]


def store_sums(
    writer: Writer,
    sums: Sequence[Sequence[Buffer]],
    columns: Sequence[tuple[int, int]],
    places: Sequence[Index],
    offsets: Sequence[tuple[int, ...]],
    vec: Loop,
    root: Node,
    operands: tuple[Buffer, ...],
    out: Buffer,
) -> None:
    """Compute a tail on a block of sums, and store it.

    Args:
        writer: Of the kernel.
        sums: A row of vectors for each position.
        columns: Of each vector, the lanes and how many of them count.
        places: Where the block begins in y, x, w and the operands.
        offsets: Of each position, from there.
        vec: The loop along the vectors.
        root: The tail.
        operands: What it reads.
        out: Where y goes.
    """
    for row, moved in zip(sums, offsets, strict=True):
        done = 0
        for (lanes, valid), buffer in zip(columns, row, strict=True):
            offset = 0
            for size in widths(valid, lanes):
                at = [
                    index_sum((place, 1), (step, 1), (done + offset, v))
                    for place, step, v in zip(places, moved, vec.strides, strict=True)
                ]
                point = Point(tuple(at[W + 1 :]), vec.strides[W + 1 :], size)
                raw = writer.bind(buffer.load(offset, size))
                value = writer.bind(compute(root, writer, operands, point, raw))
                writer.store(out, at[Y], value, vec.strides[Y])
                offset += size
            done += valid


def rows_together(lead: Sequence[Loop]) -> int:
    """How many rows a block may take, given the loops around a tile."""
    return lead[-1].extent if lead and not lead[-1].strides[W] else 1


def merged_positions(lead: Sequence[Loop], tile: Loop) -> tuple[list[Loop], Loop]:
    """Leading loops and the tile, with as many as possible merged into the tile."""
    *outer, last = collapse((*lead, tile), len(tile.strides))
    if last.strides[W]:
        # All positions of a tile share their weights.
        return [*outer, last], Loop(1, (0,) * len(tile.strides))
    return outer, last
