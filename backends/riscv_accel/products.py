"""A convolution or matrix product as a sequence of tile ops."""

from collections.abc import Iterator

from .emitting import Leaving, fill
from .estimate import products_of
from .grid import Grid
from .loads import Loads
from .memory_map import Slots, in_turn
from .multiplies import Multiplies
from .rolling import Node
from .steps import Step
from .stores import Stores
from .tiling import Cut, OutTile, Tiling
from .trial import Extent

FEW_STEPS = 24
"""Up to which a layer's loads and stores are woven in one by one."""


class Schedule:
    """Walks over tiles, groups of output blocks, chunks of input blocks; loads a step ahead."""

    def __init__(self, cut: Cut, tiling: Tiling, leaving: Leaving, image: int = 0) -> None:
        self.cut, self.tiling, self.leaving = cut, tiling, leaving
        self.memories = leaving.memories
        self.image = image
        self.grid = Grid(cut, tiling, self.memories)
        self.needed = cut.needed(tiling)
        self.held = self.memories.held_input(cut.product.x)
        self.held_weights = self.memories.held_input(cut.product.w)
        layout = cut.layout(tiling)
        self.diagonals_row = layout.diagonals
        self.loads = Loads(self.grid, layout.diagonals)
        self.multiplies = Multiplies(self.grid, layout.diagonals)
        self.stores = Stores(self.grid, leaving, image)
        self.inputs = Slots(layout.inputs)
        self.residuals = Slots(layout.residuals)
        self.weights = Slots(self._weight_slots())
        if self.held_weights is not None:
            # The input takes the place that the weights do not need: another bank than theirs.
            self.inputs = Slots((tiling.weights_row,))
        self.sums = self.memories.shared.sums
        self._bands = 0
        self.memories.shared.used |= {"scratchpad", "accumulator"}

    def _weight_slots(self) -> tuple[int, ...]:
        """The first rows of the slots, first those that the layer before does not read any more.

        One after the other they lie in different banks where they can: what is loaded into a bank
        delays what the array reads there.
        """
        rows, count = self.cut.weight_rows(self.tiling), self.tiling.weight_slots
        region, bank = self.cut.regions(self.tiling)[2], self.cut.target.machine.scratchpad.rows
        busy = self.memories.shared.busy

        def read(start: int) -> tuple[bool, bool]:
            overlap = any(part.start < start + rows and start < part.stop for part in busy)
            return overlap, any(start // bank == part.start // bank for part in busy)

        starts = region.slots(rows, max(count, region.apart(rows)))
        best = sorted(starts, key=read)[:count]
        free = [start for start in best if not read(start)[0]]
        return (*in_turn(free, bank), *best[len(free) :])

    def extent(self, moved: int) -> Extent:
        """How many steps there are, with `moved` bytes of activations."""
        tiles, visits = self.cut.tile_total(self.tiling), [len(found) for found in self.needed]
        period = tiles * visits[0] if self.tiling.weights_outer else sum(visits)
        products = products_of(self.cut, self.tiling)
        cached = self.cut.target.machine.dma.l2_bytes
        return Extent(tiles * sum(visits), period, products, moved, cached)

    def steps(self, *, fenced: bool, band: range | None = None) -> Iterator[Step]:
        """All steps in order; with `fenced` the first load of an activation waits for a fence.

        Those of a `band` of the output's rows, of which one comes after the other, expect that
        others have used the machine's memories in the meantime.
        """
        if band is not None:
            self._restart()
        out_tiles = list(self.cut.out_tiles(self.tiling, band))
        pairs = [(t, g) for t in range(len(out_tiles)) for g in range(len(self.grid.groups))]
        if self.tiling.weights_outer:
            pairs.sort(key=lambda pair: pair[1])
        steps = [(t, g, c) for t, g in pairs for c in self.needed[g]]
        # One at a time between the products is best; as many as a queue takes keep the loops of
        # long layers few.
        together = 1 if len(steps) <= FEW_STEPS else self.memories.target.machine.queues.store
        once = self.once()
        before: tuple[int, int, int] | None = None
        for t, g, c in steps:
            sums, _, _ = self.sums.place((self.memories.layer, self._bands, self.image, t, g))
            step = self.step(out_tiles[t], (t, g, c), sums, before)
            step.together = together
            if before is None:
                step.first, step.fenced, step.waits = True, fenced, self.memories.waits
                step.fills = self._fills(band)
                step.loads = [*once, *step.loads]
            yield step
            before = t, g, c

    def _restart(self) -> None:
        self._bands += 1
        for slots in (self.inputs, self.residuals, self.weights):
            slots.clear()
        self.loads.restart()

    def once(self) -> list[Node]:
        """Loads of what all steps need."""
        return [*self.leaving.tables(), *self.loads.diagonals()]

    def fetched(self, out: OutTile, t: int, c: int) -> list[Node]:
        """Loads of a chunk of a tile's input, unless it is there."""
        a, load, _ = self.inputs.place((t, c))
        return self.loads.inputs(out, c, a) if load else []

    def step(
        self,
        out: OutTile,
        place: tuple[int, int, int],
        sums: int,
        before: tuple[int, int, int] | None,
    ) -> Step:
        """What the step at some place (tile, group, chunk) does.

        Args:
            out: Its tile, whose number tells its input from others'.
            place: Numbers of the tile, the group, the chunk.
            sums: The accumulator's row from which on its sums lie.
            before: The place of the step under way.
        """
        step, (t, g, c) = Step(), place
        tile_before, group_before, chunk_before = before or (-1, -1, -1)
        if self.held is None:
            a, load_input, late = self.inputs.place((t, c), (tile_before, chunk_before))
            inputs = range(a, a + self.cut.input_rows(self.tiling))
        else:
            frame, area = self.held.frame, out.area
            a = frame.first + self.grid.chunks[c].start * frame.block_rows
            a += area.row * frame.pitch + area.col
            load_input = late = False
            inputs = range(self.held.start, self.held.stop)
        if self.held_weights is None:
            b, load_weights, late_too = self.weights.place((g, c), (group_before, chunk_before))
        else:
            frame = self.held_weights.frame
            b = frame.first + self.grid.groups[g].start * frame.block_rows
            load_weights = late_too = False
        step.late = late or late_too
        if load_weights:
            step.loads += self.loads.weights(g, c, b)
        if self.cut.product.w is not None:
            step.inputs, step.loads = step.loads, []
        if c == self.needed[g][0]:
            step.biases += self.loads.biases(out, g, sums)
            if self.cut.added:
                step.biases += self.loads.added_residual(out, g, sums)
        if load_input:
            step.inputs += self.loads.inputs(out, c, a)
        step.products += self.multiplies.products(out.area, g, c, a, b, sums)
        if c == self.needed[g][-1]:
            if self.cut.product.residual is not None and not self.cut.added:
                if self.multiplies.held_residual is None:
                    r, _, _ = self.residuals.place((t, g))
                    step.inputs += self.loads.residuals(out, g, r)
                else:
                    r = 0
                step.products += self.multiplies.residuals(out.area, g, r, sums)
            step.stores += self.stores.stores(out, g, sums)
        weights = range(b, b + self.cut.weight_rows(self.tiling))
        diagonals = range(self.diagonals_row, self.diagonals_row + self.cut.diagonal_rows)
        self.memories.shared.busy = (inputs, weights, diagonals)
        return step

    def _fills(self, band: range | None) -> list[Node]:
        """The padding of an output that stays in the scratchpad, or of a band of it."""
        held = self.memories.held
        if held is None:
            return []
        return fill(self.memories, held.padding(band), held.start, held.blocks, held.pad)
