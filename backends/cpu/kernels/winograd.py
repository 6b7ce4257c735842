"""The Winograd kernel: a 3 x 3 convolution by F(m x m, 3 x 3), tile by tile.

A strip of tiles of x is transformed; for each of the (m + 2)^2 numbers of a tile the channels are a
matrix product with the transformed weights, a block of it in registers; the products of a few
vectors of results are transformed back and go through the tail (Lavin and Gray 2016). The arrays in
between hold one strip, so that they stay in the second-level cache.

An infinity, NaN or overflow in a tile makes results infinite or NaN that depend on other elements
alone. No sum or product turns such a number into a finite one: a tile whose results are all finite
is right, any other is computed once more, directly.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from ..tail import Node, Point, compute
from ..tir import Buffer, Expr, Index, Writer, constant, index_sum, intrinsic
from .border import Border
from .loops import Loop
from .positions import W, X, Y, pieces
from .toom_cook import TAPS
from .winograd_tiles import Tile, Tiles


@dataclass(frozen=True)
class Winograd:
    """The kernel that multiplies and transforms back.

    It reads x, the weights as they are and transformed, where not `fused` the transformed tiles,
    then the tail's operands. Weights: [block of vectors, tap or number, channel, result].
    """

    tiles: Tiles
    vec: Loop
    """The channels of y: a multiple of the lanes."""
    vectors: int
    """Of results, held in registers for all tiles of a strip."""
    fused: bool
    """Whether each strip is transformed here, just before it is multiplied."""
    parallel: bool
    root: Node
    origin: int
    border: Border | None

    def __call__(self, writer: Writer, inputs: tuple[Buffer, ...], out: Buffer) -> None:
        if self.border is not None:
            self.border.write(writer, out)
        if self.fused:
            self._strip_by_strip(writer, inputs, out)
        else:
            self._block_by_block(writer, inputs, out)

    @property
    def _blocks(self) -> list[tuple[int, int, int]]:
        """Vectors of results, as (first, count, vectors of each block)."""
        return pieces(self.vec.extent // self.tiles.lanes, self.vectors)

    def _strip_by_strip(self, writer: Writer, inputs: tuple[Buffer, ...], out: Buffer) -> None:
        """Each strip is transformed, and meets all weights."""
        tiles = self.tiles
        x, w, u, *operands = inputs
        for strips in tiles.strips():
            with writer.loop(strips.count, parallel=self.parallel) as strip:
                v = writer.scratch("float32", strips.size * tiles.numbers * tiles.channels)
                arrays = _Arrays(x, w, u, v, tuple(operands), out)
                tile = writer.bind_index(index_sum((strips.first, 1), (strip, strips.size)))
                with writer.loop(strips.size) as i:
                    number, start = index_sum((tile, 1), (i, 1)), index_sum((i, tiles.lanes))
                    tiles.transform(writer, x, number, v, start, strips.size)
                for first, count, vectors in self._blocks:
                    with writer.loop(count) as block:
                        vector = writer.bind_index(index_sum((first, 1), (block, vectors)))
                        self._part(writer, arrays, _Part(tile, strips.size, 0, vector, vectors))

    def _block_by_block(self, writer: Writer, inputs: tuple[Buffer, ...], out: Buffer) -> None:
        """Each block of weights meets all strips, so that it is read once."""
        tiles = self.tiles
        x, w, u, v, *operands = inputs
        arrays = _Arrays(x, w, u, v, tuple(operands), out)
        for first, count, vectors in self._blocks:
            for strips in tiles.strips():
                with writer.loop(count * strips.count, parallel=self.parallel) as step:
                    block = writer.bind_index(step // strips.count)
                    strip = index_sum((step, 1), (block, -strips.count))
                    vector = writer.bind_index(index_sum((first, 1), (block, vectors)))
                    tile = writer.bind_index(index_sum((strips.first, 1), (strip, strips.size)))
                    start = writer.bind_index(index_sum((tile, tiles.numbers * tiles.channels)))
                    self._part(writer, arrays, _Part(tile, strips.size, start, vector, vectors))

    def _part(self, writer: Writer, arrays: "_Arrays", part: "_Part") -> None:
        """Some vectors of results of the tiles of a strip."""
        tiles, width = self.tiles, part.vectors * self.tiles.lanes
        sums = writer.scratch("float32", part.size * tiles.numbers * width)
        slice_ = tiles.channels * width
        weights = index_sum((part.vector, tiles.numbers * tiles.channels * tiles.lanes))
        with writer.loop(tiles.numbers) as number:
            u = writer.bind_index(index_sum((weights, 1), (number, slice_)))
            v = writer.bind_index(index_sum((part.start, 1), (number, tiles.channels * part.size)))
            self._multiply(writer, arrays, part, (u, v), sums, index_sum((number, width)))
        with writer.loop(part.size) as i:
            self._finish_tile(writer, arrays, part, sums, i)

    def _multiply(
        self,
        writer: Writer,
        arrays: "_Arrays",
        part: "_Part",
        places: tuple[Index, Index],
        out: Buffer,
        to: Index,
    ) -> None:
        """One number of all tiles, summed over the channels of x, into [tile, number, result]."""
        lanes, width = self.tiles.lanes, part.vectors * self.tiles.lanes
        sums = [
            [writer.scratch("float32", lanes) for _ in range(part.vectors)]
            for _ in range(part.size)
        ]
        _clear(writer, sums)
        u, v = places
        blocks = Loop(self.tiles.channels // lanes, (lanes * width, part.size * lanes))
        with writer.loop(blocks.extent) as block, writer.loop(lanes) as lane:
            w_at = writer.bind_index(index_sum((u, 1), (block, blocks.strides[0]), (lane, width)))
            x_at = writer.bind_index(index_sum((v, 1), (block, blocks.strides[1]), (lane, 1)))
            for i in range(part.vectors):
                # The weights of the next number, which may not be in the cache.
                ahead = self.tiles.channels * width + i * lanes
                writer.prefetch(arrays.u, index_sum((w_at, 1), (ahead, 1)))
            x = [index_sum((x_at, 1), (i * lanes, 1)) for i in range(part.size)]
            _multiply_add(writer, arrays.u, w_at, arrays.v, x, sums)
        for i, row in enumerate(sums):
            for j, buffer in enumerate(row):
                at = index_sum((to, 1), (i * self.tiles.numbers * width + j * lanes, 1))
                writer.store(out, at, writer.bind(buffer.load(0, lanes)))

    def _finish_tile(
        self, writer: Writer, arrays: "_Arrays", part: "_Part", sums: Buffer, i: Index
    ) -> None:
        """From products of a tile to what is stored."""
        filtering, lanes = self.tiles.filtering, self.tiles.lanes
        n, m, width = filtering.size, filtering.results, part.vectors * lanes
        tile = self.tiles.tile(writer, index_sum((part.tile, 1), (i, 1)))
        results = writer.scratch("float32", m * m * width)
        spoiled = writer.scratch("float32", lanes)
        writer.store(spoiled, 0, constant(0.0, "float32", lanes))
        with writer.loop(part.vectors) as vector:
            at = writer.bind_index(index_sum((i, n * n * width), (vector, lanes)))
            columns = [
                filtering.results_of(
                    writer,
                    [
                        writer.bind(sums.load(index_sum((at, 1), ((r * n + c) * width, 1)), lanes))
                        for r in range(n)
                    ],
                )
                for c in range(n)
            ]
            for r in range(m):
                row = filtering.results_of(writer, [column[r] for column in columns])
                for c, value in enumerate(row):
                    writer.store(
                        results, index_sum(((r * m + c) * width, 1), (vector, lanes)), value
                    )
                    # Zero, or NaN where the result is not finite.
                    writer.store(spoiled, 0, writer.bind(spoiled.load(0, lanes) + value * 0.0))
        bits = spoiled.load(0, lanes).bits("int32")
        any_ = intrinsic(f"llvm.vector.reduce.or.v{lanes}i32", bits, dtype="int32", lanes=1)
        with writer.branch(any_.differs(0)):
            self._directly(writer, arrays, part, tile, results)
        self._store_tile(writer, arrays, part, tile, results)

    def _store_tile(
        self, writer: Writer, arrays: "_Arrays", part: "_Part", tile: Tile, results: Buffer
    ) -> None:
        """The tail of those results that no other tile has stored."""
        m, lanes = self.tiles.filtering.results, self.tiles.lanes
        width = part.vectors * lanes
        with (
            _rest(writer, tile.rows_done, m) as r,
            _rest(writer, tile.columns_done, m) as c,
        ):
            strides = zip(
                tile.places,
                self.tiles.rows.strides,
                self.tiles.columns.strides,
                self.vec.strides,
                strict=True,
            )
            places = [
                writer.bind_index(
                    index_sum((place, 1), (r, row), (c, column), (part.vector, lanes * v))
                )
                for place, row, column, v in strides
            ]
            place = writer.bind_index(index_sum((r, m * width), (c, width)))
            for vector in range(part.vectors):
                at = [
                    index_sum((start, 1), (vector * lanes, v))
                    for start, v in zip(places, self.vec.strides, strict=True)
                ]
                point = Point(tuple(at[W + 1 :]), self.vec.strides[W + 1 :], lanes)
                raw = writer.bind(results.load(index_sum((place, 1), (vector * lanes, 1)), lanes))
                value = writer.bind(compute(self.root, writer, arrays.operands, point, raw))
                to = index_sum((at[Y], 1), (self.origin, 1))
                writer.store(arrays.out, to, value, self.vec.strides[Y])

    def _directly(
        self, writer: Writer, arrays: "_Arrays", part: "_Part", tile: Tile, results: Buffer
    ) -> None:
        """All results of a tile, by the definition of the convolution."""
        m, lanes = self.tiles.filtering.results, self.tiles.lanes
        channels, width = self.tiles.channels, part.vectors * lanes
        row, column = self.tiles.rows.strides[X], self.tiles.columns.strides[X]
        with writer.loop(m) as r:
            sums = [
                [writer.scratch("float32", lanes) for _ in range(part.vectors)] for _ in range(m)
            ]
            _clear(writer, sums)
            with (
                writer.loop(TAPS) as i,
                writer.loop(TAPS) as j,
                writer.loop(channels) as channel,
            ):
                w_at = writer.bind_index(
                    index_sum(
                        (part.vector, TAPS * TAPS * channels * lanes),
                        (i, TAPS * channels * width),
                        (j, channels * width),
                        (channel, width),
                    )
                )
                x_at = writer.bind_index(
                    index_sum((tile.places[X], 1), (r, row), (i, row), (j, column), (channel, 1))
                )
                x = [index_sum((x_at, 1), (c * column, 1)) for c in range(m)]
                _multiply_add(writer, arrays.w, w_at, arrays.x, x, sums)
            for c, row_ in enumerate(sums):
                for vector, buffer in enumerate(row_):
                    at = index_sum((r, m * width), (c * width + vector * lanes, 1))
                    writer.store(results, at, writer.bind(buffer.load(0, lanes)))


@dataclass(frozen=True)
class _Arrays:
    """What the kernel works with."""

    x: Buffer
    w: Buffer
    u: Buffer
    """Transformed weights."""
    v: Buffer
    """Transformed tiles."""
    operands: tuple[Buffer, ...]
    out: Buffer


@dataclass(frozen=True)
class _Part:
    """Some vectors of the results of a strip."""

    tile: Index
    """The strip's first."""
    size: int
    """Tiles."""
    start: Index
    """Of the transformed strip."""
    vector: Index
    """The first."""
    vectors: int


def _clear(writer: Writer, sums: list[list[Buffer]]) -> None:
    for row in sums:
        for buffer in row:
            writer.store(buffer, 0, constant(0.0, "float32", buffer.size))


def _multiply_add(
    writer: Writer, w: Buffer, w_at: Index, x: Buffer, x_at: list[Index], sums: list[list[Buffer]]
) -> None:
    """Add to each row of sums its element of x times the vectors of weights."""
    weights: list[Expr] = []
    for vector, buffer in enumerate(sums[0]):
        place = index_sum((w_at, 1), (vector * buffer.size, 1))
        weights.append(writer.bind(w.load(place, buffer.size)))
    for row, place in zip(sums, x_at, strict=True):
        element = writer.bind(x.load(place, row[0].size, 0))
        for buffer, factor in zip(row, weights, strict=True):
            old = writer.bind(buffer.load(0, buffer.size))
            writer.store(buffer, 0, old + element * factor)


@contextmanager
def _rest(writer: Writer, done: Index, extent: int) -> Generator[Index]:
    """A loop over what of `extent` is not done."""
    if isinstance(done, int):
        with writer.loop(extent - done) as step:
            yield index_sum((step, 1), (done, 1))
        return
    with writer.span(done, constant(extent, "int32")) as step:
        yield step
