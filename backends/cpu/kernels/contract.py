"""The contraction kernel: y[lead, tile, vec] = tail(sum over reduce of x * w), held in registers.

Convolutions, matrix products, depthwise convolutions, pools and reductions are all this kernel with
other strides. A block of `tile` positions times a few vectors along `vec` stays in registers while
the reduction runs; then the tail (bias, residual, clamp, whatever was fused) is computed on it and
stored. Recipe: register-blocked direct convolution, as in Georganas et al., "Anatomy of
High-Performance Deep Learning Convolutions on SIMD Architectures" (2018).
"""

import math
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import numpy as np

from ..blocking import Blocking
from ..registry import contiguous
from ..tail import Anchor, Node
from ..tir import Buffer, Expr, Index, Writer, constant, index_sum
from .border import Border
from .fetching import Ahead
from .loops import PARALLEL_MOVES, PARALLEL_WORK, Loop, fused_loops, nested_loops
from .passes import Part, parts_of_reduction
from .positions import W, X, Y, pieces, store_sums
from .products import Product

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
    near: bool = False
    """Whether x lies in the second-level cache and no block reads another's elements of it."""

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
        # Where no operand is used twice, reading them takes longer than the arithmetic.
        reused = self.product.has_weights and not self.vec.strides[X] and results > self.vec.extent
        parallel = steps * results >= (PARALLEL_WORK if reused else 4 * PARALLEL_MOVES)
        starts = (self.origin, *(0,) * (len(self.vec.strides) - 1))
        self.write_at(writer, inputs, out, starts, parallel=parallel)

    def write_at(
        self,
        writer: Writer,
        inputs: tuple[Buffer, ...],
        out: Buffer,
        starts: Sequence[Index],
        *,
        parallel: bool = False,
    ) -> None:
        """The results alone; `starts` says where y, x, w and the tail's operands begin."""
        for part in parts_of_reduction(self.reduce, self.blocking.passes):
            for region in self._regions():
                self._region(writer, inputs, out, starts, region, part, parallel=parallel)

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
        begin: Sequence[Index],
        region: "_Region",
        part: Part,
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
        starts = [
            index_sum((at, 1), (first_block, b), (first, t), (first_row, r))
            for at, b, t, r in zip(
                begin, block.strides, self.tile.strides, self._row.strides, strict=True
            )
        ]
        starts[X], starts[W] = (
            index_sum((starts[array], 1), (part.starts[array], 1)) for array in (X, W)
        )
        # Whatever needs other weights goes outermost, so that the ones in the cache serve longest.
        lead = self.lead[:-1] if self.blocking.rows > 1 else self.lead
        with_w = [loop for loop in lead if loop.strides[W]]
        without_w = [*(loop for loop in lead if not loop.strides[W]), row, tile]
        order = [*with_w, block, *without_w]
        small = inputs[1:] and self._weight_bytes(inputs) <= _SMALL_WEIGHTS
        if small and not self.near:
            # All weights stay in the cache; what is read of x then serves every block.
            order = [*with_w, *without_w, block]
        offsets = [
            tuple(i * r + j * t for r, t in zip(self._row.strides, self.tile.strides, strict=True))
            for i in range(high)
            for j in range(across)
        ]
        ahead, mine = None, (constant(0, "int32"), constant(blocks - 1, "int32"))
        if blocks > 1 and inputs[1:] and self._weight_bytes(inputs) >= _PREFETCHED_WEIGHTS:
            line = _LINE // np.dtype(inputs[1].dtype).itemsize
            counts = [loop.extent for loop in without_w]
            stride, passes = self.block_stride, self.blocking.passes
            ahead = Ahead.of(part, passes, counts, stride, line)
            if parallel and not with_w:
                positions = math.prod(counts)
                share, end = writer.share(blocks * positions)
                mine = (share // positions, (end - 1) // positions)
        # Two more arrays: what this block fetches for the next, and the number of the block.
        counted = [loop.with_array(0) for loop in order]
        if ahead is not None:
            steps_ = contiguous(tuple(loop.extent for loop in without_w))
            tail = zip(without_w, steps_, strict=True)
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
            if ahead is None:
                steps = _plain_steps(writer, part.reduce, (places[X], places[W]))
            else:
                slice_ = index_sum((slice_, 1), (ahead.distance(number, *mine), 1))
                held = places[X], places[W]
                steps = ahead.steps(writer, inputs[1], part.reduce, held, slice_)
            self._accumulate(writer, inputs, steps, offsets, region, sums)
            root = self.root if part.last else Anchor()
            operands = inputs[2:] if self.product.has_weights else inputs[1:]
            columns = region.columns
            store_sums(writer, sums, columns, places, offsets, self.vec, root, operands, out)

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


@contextmanager
def _plain_steps(
    writer: Writer, reduce: Sequence[Loop], starts: tuple[Index, Index]
) -> Generator[tuple[Index, Index]]:
    """The reduction: where x and w stand at each step."""
    with nested_loops(writer, reduce, (0, *starts)) as (_, x_at, w_at):
        yield x_at, w_at
