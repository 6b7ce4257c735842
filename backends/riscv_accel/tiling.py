"""How a product is cut into pieces that fit the machine."""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from mcc.runtime import Frame, Target
from mcc.runtime.isa import LARGEST_NIBBLE, SMALLEST_NIBBLE

from .layers import Int8, Product
from .memory_map import Region
from .patches import Area, Geometry
from .pieces import array_cycles
from .weights import Tap, Tiles, diagonals, most_factors, pairs

_MOVES = 0.25
"""Loads and stores for each product."""
LARGEST_FACTOR = 1 << 17
"""Less of it times int8 is less than 2**24."""


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
    floor: int = 0
    """Rows of the scratchpad below are taken by activations that stay there."""
    frame: Frame | None = None
    """Where the input lies, if it is one of them."""
    residual_frame: Frame | None = None
    added: bool = False
    """The residual is moved into the accumulator, times its one factor (`addable`); else it is
    multiplied by diagonal tiles."""
    band: int = 0
    """Rows that are computed at a time, where not all of them are."""
    places: tuple[Region, Region] | None = None
    """Where inputs and weights lie, if that is not for each tiling to say."""

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
        """Rows and columns that leave, of a band where the product is computed in bands."""
        exit = self.product.exit
        rows, cols = exit.pooled if exit.pool else (self.product.height, self.product.width)
        return self.band or rows, cols

    def geometry(self, tiling: Tiling) -> Geometry:
        key = (tiling.rows, tiling.cols)
        if key not in self._geometries:
            product, rows = self.product, tiling.rows
            if (pool := product.exit.pool) is not None:
                rows = min((rows - 1) * pool.stride[0] + pool.size[0], product.height)
            output, size = (product.height, product.width), (rows, tiling.cols)
            self._geometries[key] = Geometry.of(product.x, product.window, output, size, self.frame)
        return self._geometries[key]

    @cached_property
    def key(self) -> tuple[Hashable, ...]:
        """Equal for cuts whose programs differ in numbers only."""
        product = self.product
        biased = product.bias is not None and bool(product.bias.any())
        return (
            product.x,
            product.window,
            (product.height, product.width, product.channels, product.pad_value, biased),
            product.residual,
            (product.exit.pool, product.exit.pooled, product.exit.multiplier.ndim, product.w),
            self.tiles.taps,
            (self.paired, self.nibbles, tuple(map(len, self.diagonals))),
            (self.floor, self.frame, self.residual_frame, self.added, self.band, self.places),
        )

    def out_tiles(self, tiling: Tiling, band: range | None = None) -> Iterator[OutTile]:
        """All tiles, or those of a band of rows that leave; none goes round the end of a ring."""
        product, pool = self.product, self.product.exit.pool
        wanted = band or range(self.pooled[0])
        ring = product.ring or wanted.stop
        edges = [*range(wanted.start // ring * ring + ring, wanted.stop, ring), wanted.stop]
        firsts = [wanted.start, *edges]
        starts = [
            (row, min(tiling.rows, stop - row))
            for first, stop in pairwise(firsts)
            for row in range(first, stop, tiling.rows)
        ]
        for image in range(product.x.batch):
            for row, rows in starts:
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
        return self._takes((rows - 1) * pitch + cols, 1) < self._takes(cols, rows)

    def _takes(self, pixels: int, times: int) -> float:
        """Cycles of one tile of weights over so many runs of pixels, of the array or of issue."""
        commands = (2 + _MOVES) * times * -(-pixels // self.dim)
        issue = commands * self.target.cycles_per_command
        return max(array_cycles(pixels, times, self.dim), issue)

    def accumulator_rows(self, geometry: Geometry, rows: int, cols: int) -> int:
        """Of one block of output channels."""
        if not self.flat(geometry):
            return rows * cols
        return (rows - 1) * geometry.pitch + cols

    def sums_rows(self, tiling: Tiling) -> int:
        """Accumulator rows of one block of output channels of a full tile."""
        geometry = self.geometry(tiling)
        return self.accumulator_rows(geometry, geometry.rows, geometry.cols)

    @cached_property
    def paired(self) -> bool:
        """Whether weight tiles go two at a time: 2:4 ones on a machine that takes them."""
        several = any(len(taps) > 1 for taps in self.tiles.taps)
        return self.target.has("sparse_2_4") and self.tiles.sparse and several

    @cached_property
    def nibbles(self) -> bool:
        """Whether weights take four bits each in DRAM: all fit, and the machine unpacks them."""
        weights = self.product.weights
        if weights is None or self.paired or not self.target.has("int4"):
            return False
        return bool(weights.min() >= SMALLEST_NIBBLE and weights.max() <= LARGEST_NIBBLE)

    @cached_property
    def tile_rows(self) -> int:
        """Scratchpad rows of what weights the array takes at once."""
        return self.dim + self.dim // 4 if self.paired else self.dim

    def units(self, block: int, blocks: range) -> list[tuple[Tap, ...]]:
        """The taps of an output block within some input blocks, as the array takes them."""
        taps = [tap for tap in self.tiles.taps[block] if tap[2] in blocks]
        step = 2 if self.paired else 1
        return [tuple(taps[i : i + step]) for i in range(0, len(taps), step)]

    def packed(self, block: int, blocks: range) -> Int8:
        """Their weights as they lie in the scratchpad: [units, tile_rows, dim]."""
        taps, stack = self.tiles.taps[block], self.tiles.tiles[block]
        chosen = stack[[i for i, tap in enumerate(taps) if tap[2] in blocks]]
        return pairs(chosen) if self.paired else chosen

    @cached_property
    def _counts(self) -> np.ndarray:
        """How many taps each output block has left of each input block."""
        counts = np.zeros((self.out_blocks, self.in_blocks + 1), np.int64)
        for block, taps in enumerate(self.tiles.taps):
            for tap in taps:
                counts[block, tap[2] + 1] += 1
        return counts.cumsum(1)

    def unit_counts(self, tiling: Tiling) -> np.ndarray:
        """The units of every piece: (group of output blocks, chunk of input blocks)."""
        key = (tiling.group, tiling.chunk)
        if key not in self._units:
            edges = [*range(0, self.in_blocks, tiling.chunk), self.in_blocks]
            units = np.diff(self._counts[:, edges], axis=1)
            if self.paired:
                units = -(-units // 2)
            firsts = np.arange(0, self.out_blocks, tiling.group)
            self._units[key] = np.add.reduceat(units, firsts, 0)
        return self._units[key]

    def needed(self, tiling: Tiling) -> list[list[int]]:
        """For each group of output blocks the chunks of input blocks that have weights for it.

        At least one: the biases and the way out come with the last chunk.
        """
        key = (tiling.group, tiling.chunk)
        if key not in self._needed:
            found = [np.flatnonzero(row).tolist() or [0] for row in self.unit_counts(tiling)]
            self._needed[key] = found
        return self._needed[key]

    def tile_total(self, tiling: Tiling) -> int:
        """How many output tiles there are."""
        down, across = -(-self.pooled[0] // tiling.rows), -(-self.product.width // tiling.cols)
        return self.product.x.batch * down * across

    def side(self, tiling: Tiling) -> int:
        """How many output blocks leave side by side, as whole lines of memory."""
        machine, product, geometry = self.target.machine, self.product, self.geometry(tiling)
        side = machine.max_move_bytes // self.dim
        dense = geometry.rows == 1 or geometry.pitch == geometry.cols == product.width
        rows = self.sums_rows(tiling)
        fits = -(-rows // self.dim) * self.dim * tiling.group <= machine.accumulator.total_rows // 2
        whole = product.channels % machine.max_move_bytes == 0 and tiling.group % side == 0
        plain = product.exit.pool is None and self.residual_frame is None
        return side if whole and plain and dense and self.flat(geometry) and fits else 1

    def layout(self, tiling: Tiling) -> Layout:
        """The slots of a tiling that `search` has found to fit."""
        inputs, residuals, weights, diagonals = self.regions(tiling)
        rows = self.input_rows(tiling)
        return Layout(
            inputs.slots(rows, tiling.input_slots) if rows else (),
            residuals.slots(max(1, self.residual_rows(tiling)), 2),
            weights.slots(self.weight_rows(tiling), tiling.weight_slots),
            diagonals.first,
        )

    def regions(self, tiling: Tiling) -> tuple[Region, Region, Region, Region]:
        """Of inputs, residuals, weights, diagonal tiles; the first two before `weights_row`."""
        memory = self.target.machine.scratchpad
        if self.places is not None:
            none = Region(0, 0, memory.rows)
            return self.places[0], none, self.places[1], none
        edges = (
            self.floor,
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
        if self.frame is not None:
            return 0
        return self.geometry(tiling).block_rows * min(tiling.chunk, self.in_blocks)

    def weight_rows(self, tiling: Tiling) -> int:
        """Of one slot of weights."""
        return max(1, int(self.unit_counts(tiling).max()) * self.tile_rows)

    def residual_rows(self, tiling: Tiling) -> int:
        """Of one slot of residuals; there are two."""
        if self.product.residual is None or self.residual_frame is not None or self.added:
            return 0
        geometry = self.geometry(tiling)
        return geometry.rows * geometry.cols * tiling.group

    @cached_property
    def addable(self) -> bool:
        """Whether the machine can move the residual into the accumulator.

        It comes from DRAM, and all channels have the same factor, whose products are exact in
        float32.
        """
        factors = self.product.factors
        if factors is None or self.residual_frame is not None:
            return False
        same = bool((factors == factors[0]).all()) and 0 < abs(int(factors[0])) < LARGEST_FACTOR
        return same and self.target.has("wide_move_in")

    @cached_property
    def diagonals(self) -> list[Int8]:
        """The tiles that multiply a residual, for each output block: [n, rows, dim]."""
        if self.product.factors is None or self.added:
            return []
        found = diagonals(self.product.factors, self.dim)
        return [pairs(stack) for stack in found] if self.diagonals_paired else found

    @cached_property
    def diagonals_paired(self) -> bool:
        """Whether diagonal tiles go two at a time, both with the same pixels."""
        factors = self.product.factors
        several = factors is not None and most_factors(factors) > 1
        return self.target.has("sparse_2_4") and several

    @cached_property
    def diagonal_rows(self) -> int:
        """Scratchpad rows of all tiles that multiply a residual."""
        return sum(stack.shape[0] * stack.shape[1] for stack in self.diagonals)

    @cached_property
    def _needed(self) -> dict[tuple[int, int], list[list[int]]]:
        return {}

    @cached_property
    def _geometries(self) -> dict[tuple[int, int], Geometry]:
        return {}

    @cached_property
    def _units(self) -> dict[tuple[int, int], np.ndarray]:
        return {}


def chunks(blocks: int, chunk: int) -> list[range]:
    """The input blocks in pieces of `chunk`."""
    return [range(first, min(first + chunk, blocks)) for first in range(0, blocks, chunk)]
