"""Tiles of an image that Winograd's algorithm transforms, and the kernel that does just that."""

from dataclasses import dataclass

from ..tir import Buffer, Index, Writer, index_sum, smaller_index
from .loops import Loop
from .positions import X, pieces
from .toom_cook import Filtering


@dataclass(frozen=True)
class Tiles:
    """The tiles of an image, in strips. The last of a row or column may lie over its neighbour.

    A loop's strides: y, x, nothing, the tail's operands.
    """

    filtering: Filtering
    batch: Loop
    rows: Loop
    columns: Loop
    channels: int
    """Of x: a multiple of `lanes`."""
    lanes: int
    strip: int
    """Tiles of a strip; what is left makes a shorter one."""

    @property
    def down(self) -> int:
        return -(-self.rows.extent // self.filtering.results)

    @property
    def across(self) -> int:
        return -(-self.columns.extent // self.filtering.results)

    @property
    def count(self) -> int:
        return self.batch.extent * self.down * self.across

    @property
    def numbers(self) -> int:
        """Of each channel of a transformed tile."""
        return self.filtering.size**2

    def strips(self) -> "list[Strips]":
        return [Strips(*piece) for piece in pieces(self.count, self.strip)]

    def tile(self, writer: Writer, number: Index) -> "Tile":
        """Where a tile is."""
        across = writer.bind_index(number % self.across) if self.across > 1 else 0
        rest = writer.bind_index(number // self.across)
        down = writer.bind_index(rest % self.down) if self.down > 1 else 0
        image = writer.bind_index(rest // self.down) if self.batch.extent > 1 else 0
        row, row_done = self._begin(down, self.rows.extent)
        column, column_done = self._begin(across, self.columns.extent)
        strides = zip(self.batch.strides, self.rows.strides, self.columns.strides, strict=True)
        places = tuple(
            writer.bind_index(index_sum((image, b), (row, r), (column, c))) for b, r, c in strides
        )
        return Tile(places, row_done, column_done)

    def _begin(self, number: Index, extent: int) -> tuple[Index, Index]:
        """The first result of a tile along an axis, and how many the tile before has computed."""
        m = self.filtering.results
        plain = index_sum((number, m))
        if extent % m == 0:
            return plain, 0
        begin = smaller_index(plain, extent - m)
        return begin, index_sum((plain, 1), (begin, -1))

    def transform(
        self, writer: Writer, x: Buffer, number: Index, out: Buffer, start: Index, size: int
    ) -> None:
        """Tile `number` of x into [number, channels / lanes, size, lanes], from `start` on."""
        tile, lanes = self.tile(writer, number), self.lanes
        n, row, column = self.filtering.size, self.rows.strides[X], self.columns.strides[X]
        blocks = self.channels // lanes
        with writer.loop(blocks) as block:
            at = writer.bind_index(index_sum((tile.places[X], 1), (block, lanes)))
            to = writer.bind_index(index_sum((start, 1), (block, size * lanes)))
            columns = [
                self.filtering.transform(
                    writer,
                    [
                        writer.bind(x.load(index_sum((at, 1), (i * row + j * column, 1)), lanes))
                        for i in range(n)
                    ],
                )
                for j in range(n)
            ]
            for i in range(n):
                done = self.filtering.transform(writer, [column[i] for column in columns])
                for j, value in enumerate(done):
                    step = (i * n + j) * blocks * size * lanes
                    writer.store(out, index_sum((to, 1), (step, 1)), value)


@dataclass(frozen=True)
class Strips:
    """Strips of one length."""

    first: int
    """Tiles before them."""
    count: int
    size: int
    """Tiles of each."""


@dataclass(frozen=True)
class Tile:
    places: tuple[Index, ...]
    """Of the first result in y, x, nothing and the tail's operands."""
    rows_done: Index
    """Rows of results that are another tile's."""
    columns_done: Index


@dataclass(frozen=True)
class TransformTiles:
    """The kernel that transforms all tiles of x, strip after strip."""

    tiles: Tiles
    parallel: bool

    def __call__(self, writer: Writer, inputs: tuple[Buffer, ...], out: Buffer) -> None:
        unit = self.tiles.numbers * self.tiles.channels
        lanes = self.tiles.lanes
        for strips in self.tiles.strips():
            with writer.loop(strips.count * strips.size, parallel=self.parallel) as step:
                strip = writer.bind_index(step // strips.size) if strips.count > 1 else 0
                place = index_sum((step, 1), (strip, -strips.size))
                start = index_sum(
                    (strips.first * unit, 1), (strip, strips.size * unit), (place, lanes)
                )
                number = index_sum((strips.first, 1), (step, 1))
                self.tiles.transform(writer, inputs[0], number, out, start, strips.size)
