"""Chains in which both products compute in turn, a block of channels at a time.

Each round multiplies a part of a strip of one block for the first product, and a part of the block
before it for the second one. So the stores of either leave while the array multiplies for the
other, and between them lie only two blocks of a strip, which may be tall.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from . import tiles
from .emitting import LOAD_WEIGHTS, Memories, fill
from .held import Held
from .patches import Area
from .rolling import Node, singles
from .rolling import tile as tile_op
from .steps import Step
from .strips import Chained, schedules
from .tiling import OutTile

SOON = 2
"""Rounds before those that store them, lines of the result come into the cache."""


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
    """Walks over strips, blocks, parts; the second product is a block and a part behind."""

    def __init__(self, plan: Chained, memories: Memories) -> None:
        self.plan, self.memories, self.shared = plan, memories, memories.shared
        frame, _ = plan.frames
        assert frame is not None, "what is between the products is in the scratchpad"
        self.frame, self.pitch = frame, plan.apart
        self.bands = plan.strips.bands
        self.schedules = schedules(plan, memories)
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
        ahead, coming = list[Node](), list[Node]()
        fenced = self.shared.fences(self.memories.inputs)
        pieces, tiling = self.plan.choices[0]
        high = pieces.sums_rows(tiling)
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
                # A round late: what they take the place of is read up to the end of a strip.
                step.inputs += coming
                place, each = turn.block * rounds + turn.part, self.blocks * rounds
                coming = ahead[len(ahead) * place // each : len(ahead) * (place + 1) // each]
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
        """Loads that bring the lines into the cache of which a part of a block is stored.

        A store of a part of a line waits for the rest of it if that is in DRAM; a load only brings
        it. Only bytes are read that are not stored yet.
        """
        tile = self.tiles[1][turn.strip][turn.part]
        if tile is None:
            return []
        pieces, dim = self.plan.choices[1][0], self.memories.dim
        places = self.plan.choices[0][0].places
        assert places is not None, "a plan says where everything lies"
        channels, width = pieces.product.channels, pieces.product.width
        start, count = tile.area.row * width, tile.area.rows * width
        return [
            tile_op(
                tiles.MoveIn,
                {"local": "scratchpad", "dram": self.memories.output},
                {"row": places[0].stop, "offset": (start + first) * channels + turn.block * dim},
                rows=min(dim, count - first),
                cols=min(dim, channels - turn.block * dim),
                stride=channels,
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
