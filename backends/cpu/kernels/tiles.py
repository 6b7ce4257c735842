"""The contraction in tile registers (Intel AMX): 16 x 16 results of 64 bytes of depth at a time.

The same sums as `contract.py` computes, for products of bytes (or of bfloat16 pairs): up to two
tiles of positions by two tiles of results are accumulated, stored to scratch memory, and the tail
is computed from there. A tile register holds at most 16 rows of 64 bytes; a row of x is a position,
a row of the weights the four bytes of one 32-bit lane for 16 results. Intel 64 and IA-32
Architectures Optimization Reference Manual, chapter on AMX.
"""

import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ..registry import contiguous
from ..tail import Node
from ..tir import Buffer, Expr, Index, Writer, constant, index_sum, smaller_index
from .border import Border
from .loops import PARALLEL_MOVES, PARALLEL_WORK, Loop, fused_loops, nested_loops
from .positions import W, X, Y
from .tile_blocking import LANES, ROW_BYTES, ROWS, SUMS, WS, XS, TileBlocking, TileProduct
from .tile_store import TileStore

_SMALL_WEIGHTS = 24 * 1024
"""Bytes of weights that may be read again for every block, from the first-level cache."""
_NEAR_WEIGHTS = 512 * 1024
"""Bytes of weights that may be read again for every piece, from the second-level cache."""
_PIECES = 8
"""Of the positions at most, where threads share them."""
_LEAST_BLOCKS = 4
"""Floats of a block wait to be stored during the next, where a task has so many blocks. Integers
do not: with their longer tails it gained nothing, or lost a few per cent."""
_TASKS = 16
"""Parallel tasks that are enough to keep a few threads equally busy."""


@dataclass(frozen=True)
class TileContraction:
    """One kernel; it reads x, packed weights, the configuration, then the tail's operands.

    A loop's strides: y, x, w, the tail's operands; a tap's: (0, x, w).
    """

    lead: tuple[Loop, ...]
    tile: Loop
    vec: Loop
    taps: tuple[Loop, ...]
    run: int
    """Units of the reduction that lie side by side in x."""
    product: TileProduct
    blocking: TileBlocking
    block_stride: int
    """From one block of results to the next in w."""
    root: Node
    origin: int = 0
    """Where y begins."""
    border: Border | None = None
    """What is written around y."""

    def __call__(self, writer: Writer, inputs: tuple[Buffer, ...], out: Buffer) -> None:
        results = math.prod(loop.extent for loop in (*self.lead, self.tile, self.vec))
        if not results:
            return
        if self.border is not None:
            self.border.write(writer, out)
        steps = math.prod(tap.extent for tap in self.taps) * self.run * self.product.unit
        # A tile register does the work of sixteen vectors. Many weights are waited for.
        parallel = steps * results >= 8 * PARALLEL_WORK or inputs[1].size >= 4 * PARALLEL_MOVES
        # By every task that takes part: the configuration is its thread's own.
        writer.effect("llvm.x86.ldtilecfg", inputs[2].address(0))
        width = self.blocking.columns * LANES
        whole, rest = divmod(self.vec.extent, width)
        for first, blocks, valid in ((0, whole, width), (whole, 1, rest)):
            if blocks and valid:
                self._region(writer, inputs, out, _Region(first, blocks, valid), parallel=parallel)
        writer.effect("llvm.x86.tilerelease")

    def _region(
        self,
        writer: Writer,
        inputs: tuple[Buffer, ...],
        out: Buffer,
        region: "_Region",
        *,
        parallel: bool,
    ) -> None:
        block = self.vec.scaled(self.blocking.columns * LANES, region.blocks)
        block = Loop(block.extent, (*block.strides[:W], self.block_stride, *block.strides[W + 1 :]))
        starts: list[Index] = [region.first_block * stride for stride in block.strides]
        starts[Y] = index_sum((starts[Y], 1), (self.origin, 1))
        with_w = [loop for loop in self.lead if loop.strides[W]]
        without_w = [loop for loop in self.lead if not loop.strides[W]]
        cover = self._cover(without_w)
        if cover.of_lead:
            without_w.pop()
        piece: list[Loop] = []
        if parallel and self._shares_positions(inputs):
            piece, without_w, cover = _cut(without_w, cover)
        order = [*with_w, *piece, block, *without_w]
        if inputs[1].size * self.product.itemsize <= _SMALL_WEIGHTS:
            # All weights stay in the cache; what is read of x then serves every block.
            order = [*with_w, *piece, *without_w]
        loops, fetched = self._fetching(inputs, order, block, cover, region.blocks)
        cut = len(loops)
        while parallel and cut and math.prod(loop.extent for loop in loops[: cut - 1]) >= _TASKS:
            cut -= 1
        outer, inner = (loops[:cut], loops[cut:]) if parallel else ([], loops)
        with fused_loops(writer, outer, [*starts, 0], parallel=parallel) as task:
            sums = tuple(
                tuple(
                    writer.scratch(self.product.dtype, ROWS * LANES) for _ in range(region.columns)
                )
                for _ in range(self.blocking.tiles)
            )
            blocks = cover.count * math.prod(loop.extent for loop in inner)
            if block not in order:
                blocks *= block.extent
            waits = blocks >= _LEAST_BLOCKS and self.product.dtype == "float32"
            store = TileStore(
                tile=self.tile,
                vec=self.vec,
                root=self.root,
                operands=inputs[3:],
                out=out,
                second=cover.second,
                rows=self.blocking.rows,
                valid=region.valid,
                sums=sums,
                state=TileStore.state_for(writer, len(self.vec.strides)) if waits else None,
            )
            with (
                nested_loops(writer, inner, task) as row,
                cover.blocks(writer, row, fetched * ROW_BYTES // self.product.itemsize) as position,
                nested_loops(
                    writer, [] if block in order else [block.with_array(0)], position
                ) as places,
            ):
                *held, slice_ = (writer.bind_index(place) for place in places)
                fetch = _Fetch(index_sum((slice_, 1), (self.block_stride, 1)), fetched)
                self._accumulate(writer, inputs, held, store, fetch)
                store.block(writer, held)
            store.rest(writer)

    def _shares_positions(self, inputs: tuple[Buffer, ...]) -> bool:
        """Whether threads better share positions than results.

        Each then reads all weights, but of x only what it has written itself most likely.
        """
        weights = inputs[1].size * self.product.itemsize
        read = inputs[0].size * self.product.itemsize
        return weights <= _NEAR_WEIGHTS and weights < read

    def _fetching(
        self,
        inputs: tuple[Buffer, ...],
        order: Sequence[Loop],
        block: Loop,
        cover: "_Cover",
        blocks: int,
    ) -> tuple[list[Loop], int]:
        """The loops with one more array, and how many lines each multiplication fetches.

        All positions together fetch the next block's weights into the cache, for only the first
        would wait for them: that of number n, the nth part of each tile of weights. The array is
        where that part begins.
        """
        if block not in order or blocks == 1:
            return [loop.with_array(0) for loop in order], 0
        place = order.index(block)
        inside = [loop.extent for loop in order[place + 1 :]]
        b = self.blocking
        tile_lines = b.columns * b.units
        lines = -(-tile_lines // (math.prod(inside) * cover.count))
        part = lines * ROW_BYTES // self.product.itemsize
        counts = contiguous((*inside, cover.count))[:-1]
        strides = [0] * (place + 1) + [count * part for count in counts]
        return [loop.with_array(n) for loop, n in zip(order, strides, strict=True)], lines

    def _cover(self, without_w: Sequence[Loop]) -> "_Cover":
        b = self.blocking
        if self.tile.extent > ROWS or b.tiles == 1 or not without_w:
            size = min(b.tiles * b.rows, self.tile.extent)
            second = tuple((size - b.rows) * stride for stride in self.tile.strides)
            return _Cover(self.tile, size, second, of_lead=False)
        last = without_w[-1]
        return _Cover(last, min(2, last.extent), last.strides, of_lead=True)

    def _accumulate(
        self,
        writer: Writer,
        inputs: tuple[Buffer, ...],
        places: Sequence[Index],
        store: TileStore,
        fetch: "_Fetch",
    ) -> None:
        """A block's sums into memory, while the block before is stored from there."""
        b, item, sums = self.blocking, self.product.itemsize, store.sums
        tiles, columns = range(len(sums)), range(len(sums[0]))
        width = b.columns * LANES * self.product.unit
        for tile in tiles:
            for column in columns:
                writer.effect("llvm.x86.tilezero", register(SUMS + 2 * tile + column))

        def step(x_at: Index, w_at: Index, row: Index) -> None:
            for line in range(fetch.lines):
                ahead = index_sum((w_at, 1), (fetch.distance, 1), (line, ROW_BYTES // item))
                writer.prefetch(inputs[1], ahead)
            for tile in tiles:
                place = index_sum((x_at, 1), (tile, store.second[X]))
                load_tile(writer, XS + tile, inputs[0], place, self.tile.strides[X] * item)
                for column in columns:
                    if not tile:
                        at = index_sum((w_at, 1), (column, LANES * self.product.unit))
                        load_tile(writer, WS + column, inputs[1], at, width * item)
                    numbers = (SUMS + 2 * tile + column, XS + tile, WS + column)
                    writer.effect(self.product.instruction, *map(register, numbers))

            store.some(writer, row, each)

        whole, rest = divmod(self.run, b.units)
        x_step, w_step = b.units * self.product.unit, b.units * width
        counts = contiguous(tuple(tap.extent for tap in self.taps))
        steps = whole + bool(rest)
        # Rows of each tile to store in a step of the reduction, so that none is left behind.
        each = -(-b.rows // (steps * math.prod(tap.extent for tap in self.taps)))
        taps = [
            tap.with_array(count * steps * each)
            for tap, count in zip(self.taps, counts, strict=True)
        ]
        with nested_loops(writer, taps, (0, places[X], places[W], 0)) as (_, *starts):
            x_at, w_at, row = (writer.bind_index(start) for start in starts)
            with nested_loops(
                writer, [Loop(whole, (x_step, w_step, each))], (x_at, w_at, row)
            ) as at:
                step(*(writer.bind_index(place) for place in at))
            if rest:
                early = (self.run - b.units) * self.product.unit
                last = index_sum((row, 1), (whole, each))
                step(index_sum((x_at, 1), (early, 1)), index_sum((w_at, 1), (whole, w_step)), last)
        for tile in tiles:
            for column in columns:
                store_tile(writer, SUMS + 2 * tile + column, sums[tile][column])


@dataclass(frozen=True)
class _Region:
    """Blocks of results of one shape, `valid` of each."""

    first_block: int
    blocks: int
    valid: int

    @property
    def columns(self) -> int:
        return -(-self.valid // LANES)


@dataclass(frozen=True)
class _Fetch:
    """What each multiplication fetches of weights that come later."""

    distance: Index
    """In elements, from the weights in use."""
    lines: int


@dataclass(frozen=True)
class _Cover:
    """A loop in blocks of `size`; the last begins early rather than be smaller."""

    loop: Loop
    size: int
    second: tuple[int, ...]
    """From the first tile of a block to the second, in each array."""
    of_lead: bool
    """Whether the loop is one of the rows' and each tile a whole row."""

    @property
    def count(self) -> int:
        return -(-self.loop.extent // self.size)

    @contextmanager
    def blocks(self, writer: Writer, starts: Sequence[Index], step: int) -> Generator[list[Index]]:
        """Where each array stands at each block; a last one moves by `step` a block."""
        extent = self.loop.extent
        *starts, last = starts
        with writer.loop(self.count) as number:
            first = index_sum((number, self.size))
            if extent % self.size:
                first = writer.bind_index(smaller_index(first, extent - self.size))
            yield [
                *(
                    writer.bind_index(index_sum((start, 1), (first, stride)))
                    for start, stride in zip(starts, self.loop.strides, strict=True)
                ),
                index_sum((last, 1), (number, step)),
            ]


def _cut(rows: list[Loop], cover: _Cover) -> tuple[list[Loop], list[Loop], _Cover]:
    """All positions in equal pieces: the loop over them, if any, then rows and blocks of one."""
    first, unit = (rows[0], 1) if rows else (cover.loop, cover.size)

    def blocks(pieces: int) -> int:
        return pieces * -(-first.extent // (pieces * unit))

    most = min(_PIECES, first.extent // unit)
    counts = [n for n in range(most, 1, -1) if first.extent % n == 0]
    pieces = min(counts, key=blocks, default=1)
    if pieces == 1 or blocks(pieces) > 1.1 * blocks(1):
        return [], rows, cover
    inner = Loop(first.extent // pieces, first.strides)
    outer = first.scaled(inner.extent, pieces)
    if rows:
        return [outer], [inner, *rows[1:]], cover
    return [outer], [], replace(cover, loop=inner)


def register(number: int) -> Expr:
    """The operand that names a tile register."""
    return constant(number, "uint8")


def load_tile(writer: Writer, number: int, source: Buffer, at: Index, row_bytes: int) -> None:
    """Load a register from an element on; `row_bytes` from row to row."""
    address, stride = source.address(at), constant(row_bytes, "int64")
    writer.effect("llvm.x86.tileloadd64", register(number), address, stride)


def store_tile(writer: Writer, number: int, target: Buffer, at: int = 0) -> None:
    """Store a register of sums from an element on, one row behind the other."""
    address, stride = target.address(at), constant(ROW_BYTES, "int64")
    writer.effect("llvm.x86.tilestored64", register(number), address, stride)
