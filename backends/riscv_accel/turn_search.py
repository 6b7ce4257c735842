"""Which strips and parts of them are best for products that compute in turn (`turns.py`)."""

from dataclasses import dataclass, replace
from math import exp

import numpy as np

from mcc.runtime import Target

from .held import Held, holds_frames
from .layers import Chain
from .memory_map import Region
from .pieces import array_cycles
from .search import heights
from .strips import Chained, Strips
from .tiling import Cut, Tiling
from .weights import cut

MOST_ROUNDS = 16
"""Parts of a strip: so many more commands bring nothing."""
PER_ROUND = 20.0
"""Cycles that the engines wait for each other in each round."""
NORM = 3.0
"""Of what the engines take, for what they take together: the more alike, the more they wait."""


def in_turn(chain: Chain, target: Target) -> Chained | None:
    """The strips and their parts that take fewest cycles by estimate; None where none fit."""
    if len(chain.products) != 2 or not holds_frames(target):
        return None
    dim = target.machine.dim
    pieces = [Cut(product, cut(product, dim), target) for product in chain.products]
    if not _alike(pieces) or not _tables_fit(pieces, target):
        return None
    best: Chained | None = None
    for rows in heights(chain.products[-1].height):
        strips = Strips(chain, rows, on_chip=True)
        for rounds in range(1, MOST_ROUNDS + 1):
            plan = _Plan(strips, rounds, pieces[0], pieces[1]).chained()
            if plan is not None and (best is None or _cost(plan) < _cost(best)):
                best = plan
    return best


def _cost(plan: Chained) -> float:
    return sum(tiling.cost for _, tiling in plan.choices)


def _alike(pieces: list[Cut]) -> bool:
    """Whether each block of the second product reads the same one of the first, and no other."""
    first, second = pieces
    reads = [{tap[2] for tap in taps} for taps in second.tiles.taps]
    return first.out_blocks == second.out_blocks and reads == [{b} for b in range(len(reads))]


def _tables_fit(pieces: list[Cut], target: Target) -> bool:
    """Whether the machine holds the multipliers and tables of both products at once."""
    exits = [(one.product.exit, one.out_blocks) for one in pieces]
    rows = sum(blocks for exit, blocks in exits if exit.multiplier.ndim)
    tables = sum(exit.table is not None for exit, _ in exits)
    return rows <= target.machine.scale_rows and tables <= target.machine.tables


@dataclass(frozen=True)
class _Plan:
    """Strips in so many parts, where things lie, and what they take."""

    strips: Strips
    rounds: int
    first: Cut
    second: Cut

    def chained(self) -> Chained | None:
        """None where it does not fit the machine."""
        frames = self.strips.frames(self.first.dim)
        if frames is None:
            return None
        (held,) = frames
        bands = self.strips.bands
        heights = [max(len(strip[k]) for strip in bands) for k in range(2)]
        parts = [-(-rows // self.rounds) for rows in heights]
        if max(heights) < self.rounds:
            return None
        cuts = [
            replace(self.first, band=heights[0]),
            replace(self.second, band=heights[1], frame=held.frame),
        ]
        tilings = [
            Tiling(
                parts[0], self.first.product.width, 1, self.first.in_blocks, weights_outer=False
            ),
            Tiling(parts[1], self.second.product.width, 1, 1, weights_outer=False),
        ]
        sums = sum(map(Cut.sums_rows, cuts, tilings))
        if sums > self.first.target.machine.accumulator.total_rows // 2:
            return None
        slots = min(2, len(bands)) * self.rounds
        tilings = [
            replace(tilings[0], input_slots=slots, weight_slots=self.first.out_blocks),
            replace(tilings[1], weight_slots=self.second.out_blocks),
        ]
        placed = self._placed(cuts, tilings, held)
        if placed is None:
            return None
        cuts, apart = placed
        tilings[0] = replace(tilings[0], cost=self._cycles(cuts, tilings, held))
        choices = tuple(zip(cuts, tilings, strict=True))
        return Chained(self.strips, choices, (held, None), self.rounds, apart)

    def _placed(
        self, cuts: list[Cut], tilings: list[Tiling], held: Held
    ) -> tuple[list[Cut], int] | None:
        """Both with their places in the scratchpad, and the rows from one block to the other.

        What the array reads at once lies in two banks.

        Weights lie in the last banks, the two blocks of a strip in the first ones.
        """
        memory, size = self.first.target.machine.scratchpad, held.frame.block_rows
        weights = [
            cut.weight_rows(tiling) * tiling.weight_slots
            for cut, tiling in zip(cuts, tilings, strict=True)
        ]
        start = (memory.total_rows - sum(weights)) // memory.rows * memory.rows
        inputs = cuts[0].input_rows(tilings[0]) * tilings[0].input_slots
        if start < 2 * size + inputs + self.first.dim:
            return None
        # Blocks of a strip and its input each in a bank of their own where there are as many.
        apart = size <= memory.rows and start - 2 * memory.rows >= inputs + self.first.dim
        behind = 2 * memory.rows if apart else 2 * size
        split = start + weights[0]
        nothing = Region(0, 0, memory.rows)
        # The last rows before the weights are for bytes that nobody reads.
        stop = start - self.first.dim
        first = Region(behind, stop, memory.rows), Region(start, split, memory.rows)
        second = nothing, Region(split, memory.total_rows, memory.rows)
        cuts = [
            replace(cut, places=place) for cut, place in zip(cuts, (first, second), strict=True)
        ]
        return cuts, memory.rows if apart else size

    def _cycles(self, cuts: list[Cut], tilings: list[Tiling], held: Held) -> float:
        """Of all rounds."""
        machine = self.first.target.machine
        timing, blocks = machine.timing, self.first.out_blocks
        # Parts of some strips and at the ends of strips are smaller.
        rows = [sum(len(strip[k]) for strip in self.strips.bands) for k in range(2)]
        pixels = [n * tiling.cols for n, tiling in zip(rows, tilings, strict=True)]
        array = sum(
            n / tiling.rows * int(cut.unit_counts(tiling).max()) * _tile_cycles(cut, tiling)
            for n, cut, tiling in zip(rows, cuts, tilings, strict=True)
        )
        rounds = len(self.strips.bands) * self.rounds
        planes = held.frame.rows_apart * held.frame.cols_apart
        stores = float(rounds * planes * timing.store_scratchpad_latency)
        stores += pixels[0] * timing.store_pool_element
        stores += pixels[1] * timing.store_row[0]
        lines = -(-self.first.in_blocks * self.first.dim // machine.max_move_bytes)
        loads = pixels[0] * lines * machine.max_move_bytes / machine.dma.beat_bytes / blocks
        loads += rounds * sum(map(Cut.sums_rows, cuts, tilings))  # biases
        loads += pixels[1] * self._line_cycles()
        together = float(np.linalg.norm((array, stores, loads), NORM))
        return blocks * (together + rounds * PER_ROUND)

    def _line_cycles(self) -> float:
        """Of the loads of a line for each pixel of a block that is stored.

        Between two blocks a line of every other pixel of the strip comes into the cache, which
        replaces any.
        """
        dma, product = self.first.target.machine.dma, self.second.product
        parts = min(dma.l2_line_bytes // self.first.dim, self.first.out_blocks)
        lines = self.strips.rows * product.width * dma.l2_line_bytes / dma.l2_bytes
        fetched = (1 + (parts - 1) * (1 - exp(-lines))) / parts
        return 1 + fetched * dma.l2_line_bytes / dma.dram_bytes_per_cycle


def _tile_cycles(cut: Cut, tiling: Tiling) -> float:
    """Of the array, for a tile of pixels and one of weights."""
    if cut.flat(cut.geometry(tiling)):
        return array_cycles(cut.sums_rows(tiling), 1, cut.dim)
    return array_cycles(tiling.cols, tiling.rows, cut.dim)
