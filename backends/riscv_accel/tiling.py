"""How a product is cut into pieces that fit the machine: a small search under a simple cost."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from mcc.ir import OpError
from mcc.runtime import Target

from .layers import Product
from .memory_map import Region
from .patches import Area, Geometry
from .weights import Tiles, most_factors


@dataclass(frozen=True)
class OutTile:
    """A rectangle of output pixels that is computed at once, and what leaves of it."""

    image: int
    area: Area
    pooled_row: int = 0
    pooled_rows: int = 0
    """With pooling on the way out: which rows of the pooled image these are."""


@dataclass(frozen=True)
class Tiling:
    """One way to cut a product. Blocks are of `dim` channels."""

    rows: int
    """Output rows of a tile; pooled rows where the layer pools on its way out."""
    cols: int
    group: int
    """Output blocks that are accumulated together."""
    chunk: int
    """Input blocks that are loaded together."""
    weights_outer: bool
    """Each group of weights passes over all tiles, instead of each tile over all weights."""
    input_slots: int = 1
    weight_slots: int = 1
    weights_row: int = 0
    """The first scratchpad row of the weights, in another bank than the input."""
    cost: float = 0.0
    """Estimated cycles."""


@dataclass(frozen=True)
class Layout:
    """Where a tiling's pieces lie in the scratchpad: the first rows of their slots."""

    inputs: tuple[int, ...]
    residuals: tuple[int, ...]
    weights: tuple[int, ...]
    diagonals: int


@dataclass(frozen=True)
class Cut:
    """A product with its weight tiles on a machine: all that a tiling's sizes depend on."""

    product: Product
    tiles: Tiles
    target: Target

    @property
    def dim(self) -> int:
        return self.target.machine.dim

    @cached_property
    def in_blocks(self) -> int:
        return -(-self.product.x.channels // self.dim)

    @cached_property
    def out_blocks(self) -> int:
        return -(-self.product.channels // self.dim)

    @cached_property
    def pooled(self) -> tuple[int, int]:
        """Rows and columns that leave."""
        exit = self.product.exit
        return exit.pooled if exit.pool else (self.product.height, self.product.width)

    def geometry(self, tiling: Tiling) -> Geometry:
        product, rows = self.product, tiling.rows
        if (pool := product.exit.pool) is not None:
            rows = min((rows - 1) * pool.stride[0] + pool.size[0], product.height)
        output = (product.height, product.width)
        return Geometry.of(product.x, product.window, output, (rows, tiling.cols))

    def out_tiles(self, tiling: Tiling) -> Iterator[OutTile]:
        product, pool = self.product, self.product.exit.pool
        for image in range(product.x.batch):
            for row in range(0, self.pooled[0], tiling.rows):
                rows = min(tiling.rows, self.pooled[0] - row)
                if pool is not None:
                    first = max(0, row * pool.stride[0] - pool.pad[0])
                    last = (row + rows - 1) * pool.stride[0] - pool.pad[0] + pool.size[0]
                    area = Area(first, 0, min(last, product.height) - first, product.width)
                    yield OutTile(image, area, row, rows)
                    continue
                for col in range(0, product.width, tiling.cols):
                    cols = min(tiling.cols, product.width - col)
                    yield OutTile(image, Area(row, col, rows, cols))

    def flat(self, geometry: Geometry) -> bool:
        """Whether pixels are computed 16 in a row across the gaps of the pitch, not row by row.

        Row by row there are no gaps in the accumulator; flat, no short pieces at the end of rows.
        """
        rows, cols, pitch = geometry.rows, geometry.cols, geometry.pitch
        if pitch == cols:
            return True
        pool = self.product.exit.pool
        if pool is not None:
            reach = (self.pooled[1] - 1) * pool.stride[1] - pool.pad[1] + pool.size[1]
            if reach > cols:
                return False  # windows that hang over would see the gaps
        across = -(-((rows - 1) * pitch + cols) // self.dim)
        return across < rows * -(-cols // self.dim)

    def accumulator_rows(self, geometry: Geometry, rows: int, cols: int) -> int:
        """Of one block of output channels."""
        if not self.flat(geometry):
            return rows * cols
        return (rows - 1) * geometry.pitch + cols

    @cached_property
    def _counts(self) -> np.ndarray:
        """Weight tiles below and left of (output block, input block)."""
        counts = np.zeros((self.out_blocks + 1, self.in_blocks + 1), np.int64)
        for block, taps in enumerate(self.tiles.taps):
            for tap in taps:
                counts[block + 1, tap[2] + 1] += 1
        return counts.cumsum(0).cumsum(1)

    def tile_count(self, group: range, blocks: range) -> int:
        """Weight tiles of some output blocks within some input blocks."""
        total, first, last = self._counts, group.start, group.stop
        left, right = blocks.start, blocks.stop
        corners = total[last, right] - total[first, right] - total[last, left] + total[first, left]
        return int(corners)

    def most_tiles(self, tiling: Tiling) -> int:
        """Weight tiles of the largest piece."""
        key = (tiling.group, tiling.chunk)
        if key not in self._most:
            self._most[key] = max(
                self.tile_count(group, blocks)
                for group in chunks(self.out_blocks, tiling.group)
                for blocks in chunks(self.in_blocks, tiling.chunk)
            )
        return self._most[key]

    def needed(self, tiling: Tiling) -> list[list[int]]:
        """For each group of output blocks the chunks of input blocks that have weights for it.

        At least one: the biases and the way out come with the last chunk.
        """
        key = (tiling.group, tiling.chunk)
        if key not in self._needed:
            self._needed[key] = [
                [
                    c
                    for c, blocks in enumerate(chunks(self.in_blocks, tiling.chunk))
                    if self.tile_count(group, blocks)
                ]
                or [0]
                for group in chunks(self.out_blocks, tiling.group)
            ]
        return self._needed[key]

    def layout(self, tiling: Tiling) -> Layout:
        """The slots of a tiling that `search` has found to fit."""
        inputs, residuals, weights, diagonals = self.regions(tiling)
        return Layout(
            inputs.slots(self.input_rows(tiling), tiling.input_slots),
            residuals.slots(max(1, self.residual_rows(tiling)), 2),
            weights.slots(max(1, self.most_tiles(tiling) * self.dim), tiling.weight_slots),
            diagonals.first,
        )

    def regions(self, tiling: Tiling) -> tuple[Region, Region, Region, Region]:
        """Of inputs, residuals, weights, diagonal tiles; the first two before `weights_row`."""
        memory = self.target.machine.scratchpad
        edges = (
            0,
            tiling.weights_row - 2 * self.residual_rows(tiling),
            tiling.weights_row,
            memory.total_rows - self.diagonal_rows,
            memory.total_rows,
        )
        first, second, third, fourth = (
            Region(edges[i], edges[i + 1], memory.rows) for i in range(4)
        )
        return first, second, third, fourth

    def input_rows(self, tiling: Tiling) -> int:
        """Of one slot of inputs."""
        return self.geometry(tiling).block_rows * min(tiling.chunk, self.in_blocks)

    def residual_rows(self, tiling: Tiling) -> int:
        """Of one slot of residuals; there are two."""
        if self.product.residual is None:
            return 0
        geometry = self.geometry(tiling)
        return geometry.rows * geometry.cols * tiling.group

    @cached_property
    def diagonal_rows(self) -> int:
        """Of all diagonal tiles that multiply a residual."""
        if self.product.factors is None:
            return 0
        return most_factors(self.product.factors) * self.out_blocks * self.dim

    @cached_property
    def _needed(self) -> dict[tuple[int, int], list[list[int]]]:
        return {}

    @cached_property
    def _most(self) -> dict[tuple[int, int], int]:
        return {}


def chunks(blocks: int, chunk: int) -> list[range]:
    """The input blocks in pieces of `chunk`."""
    return [range(first, min(first + chunk, blocks)) for first in range(0, blocks, chunk)]


def search(cut: Cut) -> Tiling:
    """The cheapest tiling that fits; `OpError` with what is missing where none does."""
    best: Tiling | None = None
    for shape in _shapes(cut):
        for tiling in _chunked(cut, shape):
            if best is None or tiling.cost < best.cost:
                best = tiling
    if best is None:
        raise OpError(_too_large(cut))
    return best


def _shapes(cut: Cut) -> Iterator[Tiling]:
    """Heights, widths and groups of output blocks whose sums fit half of the accumulator."""
    half = cut.target.machine.accumulator.total_rows // 2
    product = cut.product
    widths = [product.width]
    if product.exit.pool is None:
        widths += [w for w in (256, 128, 64, 32, 16) if w < product.width]
    for width in widths:
        for rows in _heights(cut.pooled[0]):
            shape = Tiling(rows, width, 1, 1, weights_outer=False)
            geometry = cut.geometry(shape)
            sums = cut.accumulator_rows(geometry, geometry.rows, geometry.cols)
            most = min(half // sums, cut.out_blocks)
            for group in sorted({most, *(g for g in (1, 2, 4, 8, 16) if g < most)} - {0}):
                yield replace(shape, group=group)
            if sums > half or (width != product.width and sums * 4 < half):
                break


def _chunked(cut: Cut, shape: Tiling) -> Iterator[Tiling]:
    """A shape with as many input blocks at a time as fit, in both orders."""
    tried = (32, 16, 8, 4, 2, 1, shape.group)
    sizes = sorted({cut.in_blocks, *(blocks for blocks in tried if blocks < cut.in_blocks)})
    for chunk in reversed(sizes):
        found = [
            placed
            for outer in (False, True)
            if (placed := _placed(cut, replace(shape, chunk=chunk, weights_outer=outer)))
        ]
        yield from found
        # Smaller pieces only pay where larger ones cannot be loaded ahead, or are not all needed.
        if cut.product.groups == 1 and any(
            tiling.input_slots > 1 and tiling.weight_slots > 1 for tiling in found
        ):
            return


def _heights(rows: int) -> list[int]:
    """Tile heights to try: the even splits of an image."""
    return sorted({-(-rows // parts) for parts in range(1, rows + 1)})


def _placed(cut: Cut, tiling: Tiling) -> Tiling | None:
    """The tiling with its slots in the scratchpad and its cost; None where it does not fit."""
    machine, product = cut.target.machine, cut.product
    geometry = cut.geometry(tiling)
    pieces = len(chunks(cut.in_blocks, tiling.chunk))
    tile_rows = -(-cut.pooled[0] // tiling.rows)
    tile_cols = -(-product.width // tiling.cols)
    tiles = product.x.batch * tile_rows * tile_cols
    input_rows = geometry.block_rows * min(tiling.chunk, cut.in_blocks)
    weight_rows = max(1, cut.most_tiles(tiling) * cut.dim)
    best: Tiling | None = None
    for split in range(1, machine.scratchpad.banks):
        placed = replace(tiling, weights_row=split * machine.scratchpad.rows)
        inputs, _, weights, _ = cut.regions(placed)
        if inputs.stop < input_rows or weights.stop - weights.first < weight_rows:
            continue
        placed = replace(
            placed,
            input_slots=inputs.count(input_rows, tiles * pieces),
            weight_slots=weights.count(weight_rows, sum(map(len, cut.needed(tiling)))),
        )
        placed = replace(placed, cost=_cost(cut, placed, geometry, tiles, pieces))
        if best is None or placed.cost < best.cost:
            best = placed
    return best


def _cost(cut: Cut, tiling: Tiling, geometry: Geometry, tiles: int, pieces: int) -> float:
    """Cycles by the busiest of host, array, loads and stores, and what does not overlap."""
    dim, timing = cut.dim, cut.target.machine.timing
    product = cut.product
    # Tiles at the edges are smaller: areas count in full tiles, pieces of pixels exactly.
    full = cut.pooled[0] / tiling.rows * (product.width / tiling.cols) * product.x.batch
    sums = cut.accumulator_rows(geometry, geometry.rows, geometry.cols)
    per_tap, outgoing, incoming = (
        count * product.x.batch for count in _pieces(cut, tiling, geometry)
    )
    pairs = per_tap * cut.tiles.count
    if product.residual is not None:
        pairs += outgoing * cut.out_blocks
    needed = cut.needed(tiling)
    visits = sum(map(len, needed))
    loaded_rows = geometry.block_rows * min(tiling.chunk, cut.in_blocks)
    distinct = len({c for found in needed for c in found})
    stays = tiling.input_slots >= tiles * pieces
    waits = not tiling.weights_outer and tiling.input_slots >= distinct
    input_cycles = loaded_rows * full * (distinct if stays or waits else visits)
    weight_passes = 1.0
    if tiling.weight_slots < visits and not (
        tiling.weights_outer and tiling.weight_slots >= max(map(len, needed))
    ):
        weight_passes = tiles
    weight_cycles = cut.tiles.count * dim * weight_passes
    bias = incoming * cut.out_blocks
    loads = input_cycles + weight_cycles + bias * dim
    stores = outgoing * cut.out_blocks
    per_store = dim * timing.store_row[0]
    commands = 2 * pairs + stores + bias + weight_cycles / (4 * dim)
    commands += input_cycles / min(dim, geometry.cols) / min(4, tiling.chunk)
    array = pairs * dim
    # Rows that a load writes into a bank delay those that the array reads from it.
    bank = cut.target.machine.scratchpad.rows
    if tiles * pieces > 1 and tiling.weights_row <= bank:
        array += round(input_cycles)
    if visits > 1 and cut.target.machine.scratchpad.total_rows - tiling.weights_row <= bank:
        array += round(weight_cycles)
    # The first piece is awaited, and so is the last store.
    alone = geometry.block_rows * min(tiling.chunk, cut.in_blocks) + sums * tiling.group / dim * 2
    alone += cut.tile_count(range(tiling.group), range(min(tiling.chunk, cut.in_blocks))) * dim
    serial = 0.0
    if tiling.input_slots == 1 and tiles * pieces > 1:
        serial += input_cycles
    if tiling.weight_slots == 1 and visits > 1:
        serial += weight_cycles
    host = commands * cut.target.host.cycles_per_command
    # What one engine waits for the others at each step.
    steps = full * visits * 60
    return max(host, array, loads, stores * per_store) + alone + serial + steps


def _pieces(cut: Cut, tiling: Tiling, geometry: Geometry) -> tuple[int, int, int]:
    """Pieces of up to `dim` pixels of one image: to multiply, to store, to fill with biases."""
    dim, flat = cut.dim, cut.flat(geometry)
    multiplied = stored = biased = 0
    for rows, times in _sizes(cut.pooled[0], tiling.rows):
        tall = rows if cut.product.exit.pool is None else geometry.rows
        for cols, times_across in _sizes(cut.product.width, tiling.cols):
            count = times * times_across
            by_row = tall * -(-cols // dim)
            sums = cut.accumulator_rows(geometry, tall, cols)
            multiplied += count * (-(-sums // dim) if flat else by_row)
            stored += count * (-(-sums // dim) if geometry.pitch == cols else by_row)
            biased += count * -(-sums // dim)
    return multiplied, stored, biased


def _sizes(total: int, size: int) -> list[tuple[int, int]]:
    """The pieces of up to `size` that `total` falls into, as (size, how many)."""
    pieces = [(size, total // size), (total % size, 1)]
    return [(length, times) for length, times in pieces if length and times]


def _too_large(cut: Cut) -> str:
    machine = cut.target.machine
    least = Tiling(1, min(16, cut.product.width), 1, 1, weights_outer=False)
    geometry = cut.geometry(least)
    sums = cut.accumulator_rows(geometry, geometry.rows, geometry.cols)
    return (
        f"one tile of the input needs {geometry.block_rows} scratchpad rows and its sums {sums} "
        f"accumulator rows; there are "
        f"{machine.scratchpad.total_rows} (shared with the weights) and "
        f"{machine.accumulator.total_rows // 2} (half, the other half is being stored)"
    )
