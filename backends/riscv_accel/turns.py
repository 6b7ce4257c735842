"""Chains in which both products compute in turn, a block of channels at a time.

Each round multiplies a part of a strip of one block for the first product, and a part of the block
before it for the second one. So the stores of either leave while the array multiplies for the
other, and between them lie only two blocks of a strip, which may be tall.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from math import exp

import numpy as np

from mcc.runtime import Target

from . import tiles
from .emitting import LOAD_WEIGHTS, Leaving, Memories, fill
from .held import Held
from .layers import Chain
from .memory_map import Region
from .patches import Area
from .pieces import array_cycles
from .products import Schedule
from .rolling import Node, singles
from .rolling import tile as tile_op
from .steps import Step
from .strips import Chained, Strips
from .tiling import Cut, OutTile, Tiling
from .weights import cut

MOST_ROUNDS = 16
"""Parts of a strip: so many more commands bring nothing."""
PER_ROUND = 20.0
"""Cycles that the engines wait for each other in each round."""
SOON = 2
"""Rounds before those that store them, lines of the result come into the cache."""
NORM = 3.0
"""Of what the engines take, for what they take together: the more alike, the more they wait."""


def in_turn(chain: Chain, target: Target) -> Chained | None:
    """The strips and their parts that take fewest cycles by estimate; None where none fit."""
    if len(chain.products) != 2 or not (target.has("move_out_scratchpad") and target.has("pool")):
        return None
    height = chain.products[-1].height
    dim = target.machine.dim
    pieces = [Cut(product, cut(product, dim), target) for product in chain.products]
    if not _alike(pieces) or not _tables_fit(pieces, target):
        return None
    best: Chained | None = None
    for rows in sorted({-(-height // parts) for parts in range(1, height + 1)}):
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
        sums = sum(map(sums_rows, cuts, tilings))
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
        stores = rounds * planes * timing.store_scratchpad_latency
        stores += pixels[0] * timing.store_pool_element
        stores += pixels[1] * (timing.store_row[0] + self._fetched() * timing.store_miss_line)
        lines = -(-self.first.in_blocks * self.first.dim // machine.max_move_bytes)
        loads = pixels[0] * lines * machine.max_move_bytes / machine.dma.beat_bytes / blocks
        loads += rounds * sum(map(sums_rows, cuts, tilings))  # biases
        together = sum(cycles**NORM for cycles in (array, stores, loads)) ** (1 / NORM)
        return blocks * (together + rounds * PER_ROUND)

    def _fetched(self) -> float:
        """How many lines are fetched from DRAM for each pixel of a block that is stored.

        A part of a line is written for each block, and between two a line of every other pixel of
        the strip comes into the cache, which replaces any.
        """
        dma, product = self.first.target.machine.dma, self.second.product
        parts = min(dma.l2_line_bytes // self.first.dim, self.first.out_blocks)
        lines = self.strips.rows * product.width * dma.l2_line_bytes / dma.l2_bytes
        return (parts - 1) / parts * (1 - exp(-lines))


def sums_rows(cut: Cut, tiling: Tiling) -> int:
    """Accumulator rows of a tile of one block."""
    geometry = cut.geometry(tiling)
    return cut.accumulator_rows(geometry, geometry.rows, geometry.cols)


def _tile_cycles(cut: Cut, tiling: Tiling) -> float:
    """Of the array, for a tile of pixels and one of weights."""
    if cut.flat(cut.geometry(tiling)):
        return array_cycles(sums_rows(cut, tiling), 1, cut.dim)
    return array_cycles(tiling.cols, tiling.rows, cut.dim)


@dataclass(frozen=True)
class Turn:
    """A part of a strip of a block."""

    strip: int
    block: int
    part: int


def plan_turns(plan: Chained, memories: Memories) -> Iterator[Step]:
    """The steps of a chain, a round each; fills `memories` with the constants they load."""
    yield from _Turns(plan, memories).steps()


class _Turns:
    """Walks over strips, blocks of channels, parts; the second product a block and a part behind."""

    def __init__(self, plan: Chained, memories: Memories) -> None:
        self.plan, self.memories, self.shared = plan, memories, memories.shared
        (frame, _), strips = plan.frames, plan.strips
        assert frame is not None, "what is between the products is in the scratchpad"
        self.frame, self.pitch = frame, plan.apart
        self.bands = strips.bands
        inputs = [*memories.inputs, "scratchpad"]
        self.schedules: list[Schedule] = []
        for k, (pieces, tiling) in enumerate(plan.choices):
            frames: list[Held | None] = [None] * len(inputs)
            frames[-1] = frame
            own = Memories(
                self.shared,
                f"{memories.layer}.{k}",
                inputs,
                memories.output if k else "scratchpad",
                None if k else frame,
                0,
                frames,
            )
            leaving = Leaving(own, pieces.product.exit, pieces.product.channels)
            self.schedules.append(Schedule(pieces, tiling, leaving))
        self.blocks = plan.choices[0][0].out_blocks
        self._filled: list[np.ndarray | None] = [None, None]

    @cached_property
    def tiles(self) -> list[list[list[OutTile | None]]]:
        """For each product and strip its parts, of which some are nothing."""
        return [
            [self._parts(strip[k], pieces.product.width) for strip in self.bands]
            for k, (pieces, _) in enumerate(self.plan.choices)
        ]

    def _parts(self, band: range, width: int) -> list[OutTile | None]:
        """A band's rows in as many parts as there are rounds, as even as may be."""
        rounds = self.plan.rounds
        edges = [band.start + len(band) * part // rounds for part in range(rounds + 1)]
        return [
            OutTile(0, Area(first, 0, stop - first, width)) if stop > first else None
            for first, stop in pairwise(edges)
        ]

    def steps(self) -> Iterator[Step]:
        rounds = self.plan.rounds
        turns = [
            Turn(strip, block, part)
            for strip in range(len(self.bands))
            for block in range(self.blocks)
            for part in range(rounds)
        ]
        lag = rounds + 1
        ahead: list[Node] = []
        fenced = self.shared.fences(self.memories.inputs)
        high = sums_rows(*self.plan.choices[0])
        for number in range(len(turns) + lag):
            sums, _, _ = self.shared.sums.place((self.memories.layer, number))
            step = Step(timed=True)
            if number == 0:
                step.first, step.fenced = True, fenced
                for schedule in self.schedules:
                    step.loads += schedule.once()
            if number < len(turns):
                turn = turns[number]
                if turn.block == turn.part == 0:
                    ahead = self._ahead(turn.strip)
                self._add(step, 0, turn, sums)
                place = turn.block * rounds + turn.part
                each = self.blocks * rounds
                step.inputs += ahead[len(ahead) * place // each : len(ahead) * (place + 1) // each]
            if number >= lag:
                self._add(step, 1, turns[number - lag], sums + high)
            if number >= lag - SOON and (soon := number - lag + SOON) < len(turns):
                step.loads += self._lines(turns[soon])
            if 0 < number <= len(turns) and turns[number - 1].part == 0:
                # The block that lay there before has been read.
                step.fills = self._fills(turns[number - 1])
            yield step

    def _ahead(self, strip: int) -> list[Node]:
        """Loads of the next strip's input, for the rounds of a strip to share."""
        if strip + 1 == len(self.bands):
            return []
        schedule, nodes = self.schedules[0], list[Node]()
        # What is read now is not what makes place; of the first strip all comes when it is read.
        for number in (strip, strip + 1) if strip else (1,):
            for part, tile in enumerate(self.tiles[0][number]):
                if tile is not None:
                    nodes += schedule.fetched(tile, number * self.plan.rounds + part, 0)
        return singles(nodes)

    def _add(self, step: Step, k: int, turn: Turn, sums: int) -> None:
        """What a product computes in its turn."""
        tile = self.tiles[k][turn.strip][turn.part]
        if tile is None:
            return
        schedule = self.schedules[k]
        held = self._held(turn)
        if k:
            schedule.held = held
        else:
            schedule.memories.held = held
        chunk = turn.block if k else 0
        number = turn.strip * self.plan.rounds + turn.part
        made = schedule.step(tile, (number, turn.block, chunk), sums, None)
        step.loads += made.loads
        step.inputs += made.inputs
        step.biases += made.biases
        step.products += made.products
        step.stores += made.stores

    def _lines(self, turn: Turn) -> list[Node]:
        """Loads that bring the lines of a part of the result into the cache.

        A store of a part of a line waits for the rest of it if that is in DRAM, a load does not
        hold up others. Only bytes are read that are not stored yet.
        """
        tile = self.tiles[1][turn.strip][turn.part]
        if turn.block or tile is None:
            return []
        pieces, dim = self.plan.choices[1][0], self.memories.dim
        line, places = pieces.target.machine.dma.l2_line_bytes, self.plan.choices[0][0].places
        assert places is not None, "a plan says where everything lies"
        row = pieces.product.width * pieces.product.channels
        start, size = tile.area.row * row, tile.area.rows * row
        count = (size - dim) // line + 1
        return [
            tile_op(
                tiles.MoveIn,
                {"local": "scratchpad", "dram": self.memories.output},
                {"row": places[0].stop, "offset": start + first * line},
                rows=min(dim, count - first),
                cols=dim,
                stride=line,
                block=dim,
                state=LOAD_WEIGHTS,
            )
            for first in range(0, count, dim)
        ]

    def _held(self, turn: Turn) -> Held:
        """Where a block of a strip lies, as one of all blocks."""
        frame, stride = self.frame.frame, self.plan.choices[1][0].product.window.stride[0]
        first = self._slot(turn) * self.pitch - turn.block * frame.block_rows
        held = replace(self.frame, frame=replace(frame, first=first))
        return held.from_row(self.bands[turn.strip][1].start * stride)

    def _slot(self, turn: Turn) -> int:
        return (turn.strip * self.blocks + turn.block) % 2

    def _fills(self, turn: Turn) -> list[Node]:
        """The padding of a block of a strip, where pixels of another strip lie in its place."""
        held, slot = self._held(turn), self._slot(turn)
        mask = held.padding(self.bands[turn.strip][0])
        known = self._filled[slot]
        self._filled[slot] = mask
        missing = mask if known is None else mask & ~known
        return fill(self.schedules[0].memories, missing, slot * self.pitch, 1, held.pad)
