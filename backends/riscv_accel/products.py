"""A convolution or matrix product as a sequence of tile ops."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from mcc.ir import OpError
from mcc.runtime import Frame

from . import tiles
from .emitting import (
    LOAD_REST,
    LOAD_WEIGHTS,
    Leaving,
    fill,
    load_runs,
    quads,
)
from .estimate import products_of
from .held import Held
from .memory_map import Slots
from .patches import Area, Geometry, Run
from .pieces import pieces
from .rolling import Node, roll, tile
from .steps import Step
from .tiling import Cut, OutTile, Tiling, chunks
from .trial import Extent
from .weights import Tap, pack

FEW_STEPS = 24
"""Up to which a layer's loads and stores are woven in one by one."""


class Schedule:
    """Walks over tiles, groups of output blocks, chunks of input blocks; loads a step ahead."""

    def __init__(self, cut: Cut, tiling: Tiling, leaving: Leaving, image: int = 0) -> None:
        self.cut, self.tiling, self.leaving = cut, tiling, leaving
        self.memories = leaving.memories
        self.image = image
        self.product, self.dim = cut.product, cut.dim
        self.geometry: Geometry = cut.geometry(tiling)
        self.flat = cut.flat(self.geometry)
        self.chunks = chunks(cut.in_blocks, tiling.chunk)
        self.groups = chunks(cut.out_blocks, tiling.group)
        self.needed = cut.needed(tiling)
        self.held = self.memories.held_input(cut.product.x)
        self.held_residual = self.memories.held_input(cut.product.residual)
        self.held_weights = self.memories.held_input(cut.product.w)
        self._constants()
        self._place_memories()
        self._bands = 0
        self._padded: dict[int, tuple[int, np.ndarray]] = {}
        """By slot: of how many blocks which rows hold padding."""
        self._nests: dict[object, list[Node]] = {}
        self.memories.shared.used |= {"scratchpad", "accumulator"}

    def _place_memories(self) -> None:
        cut, tiling, geometry = self.cut, self.tiling, self.geometry
        layout = cut.layout(tiling)
        self.inputs = Slots(layout.inputs)
        self.residuals = Slots(layout.residuals)
        self.weights = Slots(self._weight_slots())
        if self.held_weights is not None:
            # The input takes the place that the weights do not need: another bank than theirs.
            self.inputs = Slots((tiling.weights_row,))
        self.diagonals_row = layout.diagonals
        self.sums_rows = cut.accumulator_rows(geometry, geometry.rows, geometry.cols)
        self.side = cut.side(tiling) if self.memories.held is None else 1
        if self.side > 1:
            self.sums_rows = -(-self.sums_rows // self.dim) * self.dim
        self.sums = self.memories.shared.sums

    def _sums_row(self, block: int, pixel: int = 0) -> int:
        """Where the sums of a block of a group are, from a pixel on.

        Blocks that leave side by side take turns with every `dim` pixels.
        """
        together, within = divmod(block, self.side)
        return together * self.side * self.sums_rows + within * self.dim + pixel * self.side

    def _weight_slots(self) -> tuple[int, ...]:
        """The first rows of the slots, first those that the layer before does not read any more.

        Best they lie in other banks: what is loaded there does not delay what the array reads.
        """
        rows, count = self.cut.weight_rows(self.tiling), self.tiling.weight_slots
        region, bank = self.cut.regions(self.tiling)[2], self.cut.target.machine.scratchpad.rows
        busy = self.memories.shared.busy

        def read(start: int) -> tuple[bool, bool]:
            overlap = any(part.start < start + rows and start < part.stop for part in busy)
            return overlap, any(start // bank == part.start // bank for part in busy)

        starts = region.slots(rows, max(count, region.apart(rows)))
        return tuple(sorted(starts, key=read)[:count])

    @property
    def _has_residual(self) -> bool:
        return self.product.residual is not None

    def _constants(self) -> None:
        """Weights piece by piece in the order of their loads, biases, diagonal tiles."""
        self.pieces: dict[tuple[int, int], tuple[int, int]] = {}
        if self.product.w is None:
            parts: list[np.ndarray] = []
            offset = 0
            for g, group in enumerate(self.groups):
                for c, blocks in enumerate(self.chunks):
                    chosen = [self.cut.packed(block, blocks) for block in group]
                    stack = np.concatenate(chosen)
                    packed = pack(stack, self.memories.wide, nibbles=self.cut.nibbles)
                    self.pieces[g, c] = (offset, sum(map(len, chosen)))
                    parts.append(packed)
                    offset += packed.size
            self.memories.constant("weights", np.concatenate(parts))
        bias = np.zeros(self.cut.out_blocks * self.dim, np.int32)
        if self.product.bias is not None:
            bias[: self.product.channels] = self.product.bias
        # A residual is added to sums that are there.
        self.biased = [self.cut.added or bool(row.any()) for row in bias.reshape(-1, self.dim)]
        for block, taps in enumerate(self.cut.tiles.taps):
            if not taps:  # no weight but zeros: the bias is all there is
                self.biased[block] = True
        if any(self.biased):
            self.memories.constant("bias", bias)
        if self.cut.diagonals:
            packed = pack(np.concatenate(self.cut.diagonals), self.memories.wide)
            self.memories.constant("factors", packed)

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
        pairs = [(t, g) for t in range(len(out_tiles)) for g in range(len(self.groups))]
        if self.tiling.weights_outer:
            pairs.sort(key=lambda pair: pair[1])
        steps = [(t, g, c) for t, g in pairs for c in self.needed[g]]
        # One at a time between the products is best; as many as a queue takes keep the loops of
        # long layers few.
        together = 1 if len(steps) <= FEW_STEPS else self.memories.target.machine.queues.store
        once = [*self.leaving.tables(), *self._diagonal_loads()]
        before: tuple[int, int, int] | None = None
        for t, g, c in steps:
            step = self._step(out_tiles[t], t, g, c, before)
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
        self._padded.clear()

    def _step(
        self, out: OutTile, t: int, g: int, c: int, before: tuple[int, int, int] | None
    ) -> Step:
        """What step (tile t, group g, chunk c) does, `before` being the one under way."""
        step = Step()
        tile_before, group_before, chunk_before = before or (-1, -1, -1)
        if self.held is None:
            a, load_input, late = self.inputs.place((t, c), (tile_before, chunk_before))
            inputs = range(a, a + self.cut.input_rows(self.tiling))
        else:
            frame, area = self.held.frame, out.area
            a = frame.first + self.chunks[c].start * frame.block_rows
            a += area.row * frame.pitch + area.col
            load_input = late = False
            inputs = range(self.held.start, self.held.stop)
        if self.held_weights is None:
            b, load_weights, late_too = self.weights.place((g, c), (group_before, chunk_before))
        else:
            frame = self.held_weights.frame
            b = frame.first + self.groups[g].start * frame.block_rows
            load_weights = late_too = False
        sums, _, _ = self.sums.place((self.memories.layer, self._bands, self.image, t, g))
        step.late = late or late_too
        if load_weights:
            step.loads += self._weight_loads(g, c, b)
        if self.product.w is not None:
            step.inputs, step.loads = step.loads, []
        if c == self.needed[g][0]:
            step.biases += self._bias_loads(out, g, sums)
            if self.cut.added:
                step.biases += self._added_residual(out, g, sums)
        if load_input:
            step.inputs += self._input_loads(out, c, a)
        step.products += self._products(out.area, g, c, a, b, sums)
        if c == self.needed[g][-1]:
            if self._has_residual and not self.cut.added:
                if self.held_residual is None:
                    r, _, _ = self.residuals.place((t, g))
                    step.inputs += self._residual_loads(out, g, r)
                else:
                    r = 0
                step.products += self._residual_products(out.area, g, r, sums)
            step.stores += self._stores(out, g, sums)
        weights = range(b, b + self.cut.weight_rows(self.tiling))
        diagonals = range(self.diagonals_row, self.diagonals_row + self.cut.diagonal_rows)
        self.memories.shared.busy = (inputs, weights, diagonals)
        return step

    def _diagonal_loads(self) -> list[Node]:
        if not self.cut.diagonals:
            return []
        factors = self.memories.constant("factors")
        shape = sum(map(len, self.cut.diagonals)), self.cut.diagonals[0].shape[1]
        return quads(factors, self.diagonals_row, 0, shape, self.memories)

    def _fills(self, band: range | None) -> list[Node]:
        """The padding of an output that stays in the scratchpad, or of a band of it."""
        held = self.memories.held
        if held is None:
            return []
        return fill(self.memories, held.padding(band), held.start, held.blocks, held.pad)

    def _weight_loads(self, g: int, c: int, base: int) -> list[Node]:
        w = self.product.w
        if w is None:
            offset, count = self.pieces[g, c]
            weights = self.memories.constant("weights")
            shape = count, self.cut.tile_rows
            nibbles = self.cut.nibbles
            return quads(weights, base, offset, shape, self.memories, nibbles=nibbles)
        blocks, group = self.chunks[c], self.groups[g]
        nodes: list[Node] = []
        side = self.memories.wide // self.dim
        for k, block in enumerate(blocks):
            for n in range(0, len(group), side):
                first = (group.start + n) * self.dim
                stop = min(group.stop * self.dim, first + self.memories.wide, w.channels)
                nodes.append(
                    tile(
                        tiles.MoveIn,
                        {"local": "scratchpad", "dram": self.memories.name_of(w)},
                        {
                            "row": base + (n * len(blocks) + k) * self.dim,
                            "offset": w.offset + block * self.dim * w.pixel_stride + first,
                        },
                        rows=min(self.dim, w.width - block * self.dim),
                        cols=stop - first,
                        stride=w.pixel_stride,
                        block=len(blocks) * self.dim,
                        state=LOAD_WEIGHTS,
                    )
                )
        return nodes

    def _bias_loads(self, out: OutTile, g: int, sums: int) -> list[Node]:
        rows = self.cut.accumulator_rows(self.geometry, out.area.rows, out.area.cols)
        nodes: list[Node] = []
        for i, block in enumerate(self.groups[g]):
            if not self.biased[block]:
                continue
            for done in range(0, rows, self.dim):
                nodes.append(
                    tile(
                        tiles.MoveIn,
                        {"local": "accumulator", "dram": self.memories.constant("bias")},
                        {
                            "row": sums + self._sums_row(i, done),
                            "offset": 4 * self.dim * block,
                        },
                        rows=min(self.dim, rows - done),
                        cols=self._cols(block),
                        state=LOAD_REST,
                    )
                )
        return roll(nodes)

    def _cols(self, block: int) -> int:
        return min(self.dim, self.product.channels - block * self.dim)

    def _input_loads(self, out: OutTile, c: int, base: int) -> list[Node]:
        geometry, blocks = self.geometry, self.chunks[c]
        image = self.product.x.one(out.image) if self.product.x.batch > 1 else self.product.x
        runs, needed = geometry.runs(out.area)
        count, known = self._padded.get(base, (0, None))
        if count != len(blocks):
            known = None
        missing = needed if known is None else needed & ~known
        kept = needed.copy() if known is None else needed | known
        for run in runs:
            kept[run.row : run.row + run.count] = False
        self._padded[base] = (len(blocks), kept)
        nodes = fill(self.memories, missing, base, len(blocks), self.product.pad_value)
        loads = load_runs(self.memories, replace(geometry, image=image), runs, base, blocks)
        return nodes + roll(loads)

    def _residual_loads(self, out: OutTile, g: int, base: int) -> list[Node]:
        residual, area, group = self.product.residual, out.area, self.groups[g]
        assert residual is not None
        image = residual.one(out.image) if residual.batch > 1 else residual
        geometry = Geometry.of(
            image,
            replace(self.product.window, size=(1, 1), stride=(1, 1), pad=(0, 0)),
            (self.product.height, self.product.width),
            (self.geometry.rows, self.geometry.cols),
        )
        first = area.row * image.row_stride + area.col * image.pixel_stride
        runs = [
            Run(row * area.cols, area.cols, first + row * image.row_stride)
            for row in range(area.rows)
        ]
        if area.cols == self.product.width:
            runs = [Run(0, area.rows * area.cols, first)]
        return roll(load_runs(self.memories, geometry, runs, base, group, LOAD_REST))

    def _added_residual(self, out: OutTile, g: int, sums: int) -> list[Node]:
        """Moves of the residual into the accumulator, on top of the biases."""
        residual, factors, area = self.product.residual, self.product.factors, out.area
        assert residual is not None
        assert factors is not None
        image, group, pitch = residual.one(out.image), self.groups[g], self._sums_pitch(out.area)
        first = image.offset + area.row * image.row_stride + area.col * image.pixel_stride
        lines = [(row, area.cols) for row in range(area.rows)]
        if pitch == area.cols == self.product.width:
            lines = [(0, area.rows * area.cols)]
        side = self.memories.wide // self.dim
        nodes: list[Node] = []
        for i in range(0, len(group), side):
            channel = group[i] * self.dim
            stop = min(group.stop * self.dim, channel + self.memories.wide, self.product.channels)
            for row, count in lines:
                for done in range(0, count, self.dim):
                    place = first + row * image.row_stride + done * image.pixel_stride
                    nodes.append(
                        tile(
                            tiles.MoveIn,
                            {"local": "accumulator", "dram": self.memories.name_of(residual)},
                            {
                                "row": sums + self._sums_row(i, row * pitch + done),
                                "offset": place + channel,
                            },
                            rows=min(self.dim, count - done),
                            cols=stop - channel,
                            stride=image.pixel_stride,
                            block=self._sums_row(1),
                            state=LOAD_REST,
                            factor=int(factors[0]),
                        )
                    )
        return roll(nodes)

    def _products(self, area: Area, g: int, c: int, a: int, b: int, sums: int) -> list[Node]:
        nodes: list[Node] = []
        blocks = self.chunks[c]
        for i, block in enumerate(self.groups[g]):
            units = self.cut.units(block, blocks)
            if not units:
                continue
            fresh = not self.biased[block] and units[0][0] == self.cut.tiles.taps[block][0]
            places = tuple(tuple(self._place(tap, blocks) for tap in unit) for unit in units)
            first = places[0][0][0]
            key = (
                tuple(tuple((row - first, depth) for row, depth in unit) for unit in places),
                (area.rows, area.cols, self._cols(block), fresh),
            )
            if key not in self._nests:
                pixels = self._pixels(area)
                self._nests[key] = self._nest(key[0], pixels, self._cols(block), fresh=fresh)
            moves = {"a": a + first, "second": a + first, "b": b, "c": sums + self._sums_row(i)}
            nodes += [node.moved(moves) for node in self._nests[key]]
            b += len(units) * self.cut.tile_rows
        return nodes

    def _place(self, tap: Tap, blocks: range) -> tuple[int, int]:
        """The patch row that a tap reads first, and how many channels there are."""
        row, col, block = tap
        first = (block - blocks.start) * self.geometry.block_rows + self.geometry.tap(row, col)
        return first, min(self.dim, self.product.x.channels - block * self.dim)

    def _nest(
        self,
        units: tuple[tuple[tuple[int, int], ...], ...],
        pixels: list[tuple[int, int, int]],
        cols: int,
        *,
        fresh: bool,
    ) -> list[Node]:
        """All taps of one output block: each tile of weights stays for all pixels."""
        nodes: list[Node] = []
        for n, unit in enumerate(units):
            for i, (source, target, rows) in enumerate(pixels):
                addresses = {
                    "a": unit[0][0] + source,
                    "b": n * self.cut.tile_rows,
                    "c": target * self.side,
                }
                halves: dict[str, int] = {}
                if self.cut.paired:
                    # An odd tap is there twice, the second time with weights of zero.
                    addresses["second"] = unit[-1][0] + source
                    halves["second_depth"] = unit[-1][1]
                nodes.append(
                    tile(
                        tiles.Multiply,
                        {"local": "scratchpad", "sums": "accumulator"},
                        addresses,
                        rows=rows,
                        depth=unit[0][1],
                        cols=cols,
                        accumulate=not (fresh and n == 0),
                        keep=i > 0,
                        **halves,
                    )
                )
        return roll(nodes)

    def _pixels(self, area: Area) -> list[tuple[int, int, int]]:
        """Pieces of up to `dim` pixels: (row in the patch, row in the sums, count)."""
        pitch, dim = self.geometry.pitch, self.dim
        if self.flat:
            total = (area.rows - 1) * pitch + area.cols
            return [(first, first, count) for first, count in pieces(total, dim)]
        return [
            (row * pitch + first, row * area.cols + first, count)
            for row in range(area.rows)
            for first, count in pieces(area.cols, dim)
        ]

    def _sums_pitch(self, area: Area) -> int:
        return self.geometry.pitch if self.flat else area.cols

    def _residual_products(self, area: Area, g: int, base: int, sums: int) -> list[Node]:
        pitch = self._sums_pitch(area)
        block_rows, source_pitch = self.geometry.rows * self.geometry.cols, area.cols
        if self.held_residual is not None:
            frame = self.held_residual.frame
            block_rows, source_pitch = frame.block_rows, frame.pitch
            base = frame.first + frame.row(area.row, area.col)
            base += self.groups[g].start * block_rows
        if pitch == source_pitch:
            total = (area.rows - 1) * pitch + area.cols
            places = [(first, first, count) for first, count in pieces(total, self.dim)]
        else:
            places = [
                (row * source_pitch + first, row * pitch + first, count)
                for row in range(area.rows)
                for first, count in pieces(area.cols, self.dim)
            ]
        nodes: list[Node] = []
        firsts = np.cumsum([0, *map(len, self.cut.diagonals)]).tolist()
        tile_rows = self.cut.diagonals[0].shape[1]
        for i, block in enumerate(self.groups[g]):
            for part in range(firsts[block], firsts[block + 1]):
                for n, (source, target, rows) in enumerate(places):
                    addresses = {
                        "a": base + i * block_rows + source,
                        "b": self.diagonals_row + part * tile_rows,
                        "c": sums + self._sums_row(i, target),
                    }
                    halves: dict[str, int] = {}
                    if self.cut.diagonals_paired:
                        addresses["second"] = addresses["a"]
                        halves["second_depth"] = self._cols(block)
                    nodes.append(
                        tile(
                            tiles.Multiply,
                            {"local": "scratchpad", "sums": "accumulator"},
                            addresses,
                            rows=rows,
                            depth=self._cols(block),
                            cols=self._cols(block),
                            accumulate=True,
                            keep=n > 0,
                            **halves,
                        )
                    )
        return roll(nodes)

    def _stores(self, out: OutTile, g: int, sums: int) -> list[Node]:
        nodes: list[Node] = []
        for i, block in enumerate(self.groups[g]):
            if i % self.side:
                continue  # leaves with the one before
            nodes += self.leaving.scales(block)
            row = sums + self._sums_row(i)
            if self.memories.held is not None:
                nodes += self._held_out(self.memories.held, out, block, row)
            elif out.pooled_rows:
                nodes += self._pooled(out, block, row)
            else:
                nodes += self._plain(out, block, row)
        return roll(nodes)

    def _plain(self, out: OutTile, block: int, row: int) -> list[Node]:
        product, area, dim = self.product, out.area, self.dim
        pitch = self._sums_pitch(area)
        rows = [(r, area.cols) for r in range(area.rows)]
        if pitch == area.cols == product.width:
            rows = [(0, area.rows * area.cols)]
        first = (self.image + out.image) * product.height * product.width
        top = area.row % product.ring if product.ring else area.row
        nodes: list[Node] = []
        for r, count in rows:
            for done in range(0, count, dim):
                pixel = first + (top + r) * product.width + area.col + done
                nodes.append(
                    self.leaving.out(
                        row + (r * pitch + done) * self.side,
                        pixel * product.channels + block * dim,
                        min(dim, count - done),
                        self._cols(block) if self.side == 1 else self.side * dim,
                        product.channels,
                        block,
                    )
                )
        return nodes

    def _held_out(self, held: Held, out: OutTile, block: int, row: int) -> list[Node]:
        """Into the scratchpad: each plane of the frame gets its pixels by one command.

        A pool of 1 x 1 windows picks the pixels of a plane, and leaves out the sums between rows.
        """
        frame, area, pitch = held.frame, out.area, self._sums_pitch(out.area)
        start = frame.first + block * frame.block_rows
        if out.pooled_rows:
            return [self._pool_out(out, block, row, start + frame.row(out.pooled_row, 0), 1, frame)]
        nodes: list[Node] = []
        for first in range(area.row, area.row + min(frame.rows_apart, area.rows)):
            for col in range(area.col, area.col + min(frame.cols_apart, area.cols)):
                down, right = first - area.row, col - area.col
                rows = -(-(area.rows - down) // frame.rows_apart)
                cols = -(-(area.cols - right) // frame.cols_apart)
                window = (1, 1, frame.rows_apart, frame.cols_apart, 0, 0, area.rows - down, pitch)
                nodes.append(
                    self.leaving.out(
                        row + down * pitch + right,
                        start + frame.row(first, col),
                        0,
                        self._cols(block),
                        1,
                        block,
                        pool=(*window, rows, cols, frame.pitch),
                        pad=-128,
                    )
                )
        return nodes

    def _pooled(self, out: OutTile, block: int, row: int) -> list[Node]:
        product = self.product
        height, width = product.exit.pooled
        pixel = (out.image * height + out.pooled_row) * width
        offset = pixel * product.channels + block * self.dim
        return [self._pool_out(out, block, row, offset, product.channels, None)]

    def _pool_out(
        self, out: OutTile, block: int, row: int, offset: int, stride: int, frame: Frame | None
    ) -> Node:
        """A tile's pooled pixels: to DRAM, or into a frame."""
        area, pool = out.area, self.product.exit.pool
        if pool is None:
            raise OpError("a tile is pooled and its layer is not")
        _, width = self.product.exit.pooled
        up = max(0, pool.pad[0] - out.pooled_row * pool.stride[0])
        image = (area.rows, self._sums_pitch(area))
        pitch = width if frame is None else frame.pitch
        window = (*pool.size, *pool.stride, up, pool.pad[1], *image, out.pooled_rows, width, pitch)
        pad = -128 if self.memories.target.has("zero_point") else 0
        return self.leaving.out(
            row, offset, 0, self._cols(block), stride, block, pool=window, pad=pad
        )
