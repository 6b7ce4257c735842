"""The contraction kernel: y[lead, tile, vec] = tail(sum over reduce of x * w), held in registers.

Convolutions, matrix products, depthwise convolutions, pools and reductions are all this kernel with
other strides. A block of `tile` positions times a few vectors along `vec` stays in registers while
the reduction runs; then the tail (bias, residual, clamp, whatever was fused) is computed on it and
stored. Recipe: register-blocked direct convolution, as in Georganas et al., "Anatomy of
High-Performance Deep Learning Convolutions on SIMD Architectures" (2018).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..machine import Machine
from ..tail import Node, Point, compute
from ..tir import Buffer, Expr, Index, Writer, constant, index_sum
from .loops import PARALLEL_WORK, Loop, collapse, fused_loops, nested_loops, widths
from .products import Product
from .shape import Border

Y, X, W = 0, 1, 2
"""Positions of the arrays in the strides of a loop; the tail's operands follow."""


_SMALL_WEIGHTS = 24 * 1024
"""Bytes of weights that may be read again for every tile, from the first-level cache."""


@dataclass(frozen=True)
class Blocking:
    """The part of the result computed in registers: `tile` positions by `vectors` vectors."""

    tile: int
    vectors: int


def choose_blocking(tile: int, vec: int, product: Product, machine: Machine) -> Blocking:
    """The blocking with least overhead: loads, unused latency, remainders."""
    return _cheapest(tile, vec, product, machine)[0]


def contraction_cycles(
    tile: int, vec: int, steps: int, product: Product, machine: Machine
) -> float:
    """Cycles of `steps` steps of the reduction for `tile` positions of `vec` results."""
    return _cheapest(tile, vec, product, machine)[1] * steps / 2


def _cheapest(tile: int, vec: int, product: Product, machine: Machine) -> tuple[Blocking, float]:
    """The best blocking, and its half cycles for one step of the reduction."""
    best, least = Blocking(1, 1), math.inf
    most_vectors = min(8, len(product.vectors(vec)))
    for vectors in range(1, most_vectors + 1):
        # Beside the block: a vector of weights for each column, and two for x and what is computed.
        # One too many, and LLVM keeps the whole block on the stack.
        most_rows = (machine.registers - vectors - 2) // vectors
        for size in range(1, min(tile, most_rows) + 1):
            cost = sum(
                count * _block_cost(rows, columns)
                for rows, count in _parts(tile, size)
                for columns, count_ in _columns(vec, vectors, product)
                for count in (count * count_,)
            )
            if cost < least:
                best, least = Blocking(size, vectors), cost
    return best, least


def _parts(extent: int, size: int) -> list[tuple[int, int]]:
    """Blocks of `size` and the remainder, each with its count."""
    parts = [(size, extent // size), (extent % size, 1)]
    return [(part, count) for part, count in parts if part and count]


def _columns(vec: int, vectors: int, product: Product) -> list[tuple[int, int]]:
    width = vectors * product.lanes
    rest = len(product.vectors(vec % width))
    return [(n, count) for n, count in ((vectors, vec // width), (rest, 1)) if n and count]


def _block_cost(rows: int, columns: int) -> float:
    """Half cycles of one step of the reduction: two operations a cycle, four cycles latency."""
    return max(8.0, rows * columns + columns + 0.5 * rows)


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

    def __call__(self, writer: Writer, inputs: tuple[Buffer, ...], out: Buffer) -> None:
        width = self.blocking.vectors * self.product.lanes
        whole = self.vec.extent // width
        rest = self.vec.extent % width
        steps = math.prod(loop.extent for loop in self.reduce)
        results = math.prod(loop.extent for loop in (*self.lead, self.tile, self.vec))
        if not results:
            return
        if self.border is not None:
            self.border.write(writer, out)
        parallel = steps * results >= PARALLEL_WORK
        for first, blocks, columns in (
            (0, whole, self.product.vectors(width)),
            (whole, 1, self.product.vectors(rest)),
        ):
            if not blocks or not columns:
                continue
            size = self.blocking.tile
            for start, tiles, rows in (
                (0, self.tile.extent // size, size),
                (self.tile.extent // size * size, 1, self.tile.extent % size),
            ):
                if tiles and rows:
                    region = _Region(first, blocks, tuple(columns), start, tiles, rows)
                    self._region(writer, inputs, out, region, parallel=parallel)

    def _region(
        self,
        writer: Writer,
        inputs: tuple[Buffer, ...],
        out: Buffer,
        region: "_Region",
        *,
        parallel: bool,
    ) -> None:
        """All blocks of one shape, each a task of the parallel loop."""
        width = self.blocking.vectors * self.product.lanes
        block = self.vec.scaled(width, region.blocks)
        block = Loop(block.extent, (*block.strides[:W], self.block_stride, *block.strides[W + 1 :]))
        tile = self.tile.scaled(region.rows, region.tiles)
        starts: list[Index] = [
            region.first_block * b + region.first_row * t
            for b, t in zip(block.strides, self.tile.strides, strict=True)
        ]
        starts[Y] = index_sum((starts[Y], 1), (self.origin, 1))
        # Whatever needs other weights goes outermost, so that the ones in the cache serve longest.
        with_w = [loop for loop in self.lead if loop.strides[W]]
        without_w = [loop for loop in self.lead if not loop.strides[W]]
        order = [*with_w, block, *without_w, tile]
        if inputs[1:] and inputs[1].size * self._weight_bytes(inputs) <= _SMALL_WEIGHTS:
            # All weights stay in the cache; what is read of x then serves every block.
            order = [*with_w, *without_w, tile, block]
        with fused_loops(writer, order, starts, parallel=parallel) as places:
            sums = self._accumulate(writer, inputs, places, region)
            self._store(writer, inputs, out, places, region, sums)

    def _weight_bytes(self, inputs: tuple[Buffer, ...]) -> int:
        return np.dtype(inputs[1].dtype).itemsize if self.product.has_weights else 0

    def _accumulate(
        self,
        writer: Writer,
        inputs: tuple[Buffer, ...],
        places: Sequence[Index],
        region: "_Region",
    ) -> list[list[Buffer]]:
        product = self.product
        sums = [
            [writer.scratch(product.dtype, lanes) for lanes, _ in region.columns]
            for _ in range(region.rows)
        ]
        for row in sums:
            for buffer in row:
                writer.store(buffer, 0, constant(product.start, product.dtype, buffer.size))
        with nested_loops(writer, self.reduce, (0, places[X], places[W])) as (_, x_at, w_at):
            x_at, w_at = writer.bind_index(x_at), writer.bind_index(w_at)
            weights = self._weights(writer, inputs, w_at, region)
            for number, row in enumerate(sums):
                place = index_sum((x_at, 1), (number, self.tile.strides[X]))
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
        return sums

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

    def _store(
        self,
        writer: Writer,
        inputs: tuple[Buffer, ...],
        out: Buffer,
        places: Sequence[Index],
        region: "_Region",
        sums: list[list[Buffer]],
    ) -> None:
        operands = inputs[2:] if self.product.has_weights else inputs[1:]
        for number, row in enumerate(sums):
            done = 0
            for (lanes, valid), buffer in zip(region.columns, row, strict=True):
                offset = 0
                for size in widths(valid, lanes):
                    at = [
                        index_sum((place, 1), (number, t), (done + offset, v))
                        for place, t, v in zip(
                            places, self.tile.strides, self.vec.strides, strict=True
                        )
                    ]
                    point = Point(tuple(at[W + 1 :]), self.vec.strides[W + 1 :], size)
                    raw = writer.bind(buffer.load(offset, size))
                    value = writer.bind(compute(self.root, writer, operands, point, raw))
                    writer.store(out, at[Y], value, self.vec.strides[Y])
                    offset += size
                done += valid


@dataclass(frozen=True)
class _Region:
    """Blocks of one shape: vectors (lanes, how many count) by rows."""

    first_block: int
    blocks: int
    columns: tuple[tuple[int, int], ...]
    first_row: int
    tiles: int
    rows: int


def merged_positions(lead: Sequence[Loop], tile: Loop) -> tuple[list[Loop], Loop]:
    """Leading loops and the tile, with as many as possible merged into the tile."""
    *outer, last = collapse((*lead, tile), len(tile.strides))
    if last.strides[W]:
        # All positions of a tile share their weights.
        return [*outer, last], Loop(1, (0,) * len(tile.strides))
    return outer, last
