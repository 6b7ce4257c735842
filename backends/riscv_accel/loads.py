"""Moves-in of a cut product: weights, biases, inputs, residuals."""

from dataclasses import replace

import numpy as np

from . import tiles
from .emitting import LOAD_REST, LOAD_WEIGHTS, fill, load_runs, quads
from .grid import Grid
from .patches import Geometry, Run
from .rolling import Node, roll, tile
from .tiling import OutTile
from .weights import pack


class Loads:
    """Where its constants lie in DRAM, and the loads of every piece."""

    def __init__(self, grid: Grid, diagonals_row: int) -> None:
        self.grid, self.diagonals_row = grid, diagonals_row
        self._constants()
        self._padded: dict[int, tuple[int, np.ndarray]] = {}
        """By slot: of how many blocks which rows hold padding."""

    def restart(self) -> None:
        """Others have written to the scratchpad."""
        self._padded.clear()

    def _constants(self) -> None:
        """Weights piece by piece in the order of their loads, biases, diagonal tiles."""
        self.pieces: dict[tuple[int, int], tuple[int, int]] = {}
        if self.grid.product.w is None:
            parts: list[np.ndarray] = []
            offset = 0
            for g, group in enumerate(self.grid.groups):
                for c, blocks in enumerate(self.grid.chunks):
                    chosen = [self.grid.cut.packed(block, blocks) for block in group]
                    stack = np.concatenate(chosen)
                    packed = pack(stack, self.grid.memories.wide, nibbles=self.grid.cut.nibbles)
                    self.pieces[g, c] = (offset, sum(map(len, chosen)))
                    parts.append(packed)
                    offset += packed.size
            self.grid.memories.constant("weights", np.concatenate(parts))
        if any(self.grid.biased):
            self.grid.memories.constant("bias", self.grid.bias)
        if self.grid.cut.diagonals:
            packed = pack(np.concatenate(self.grid.cut.diagonals), self.grid.memories.wide)
            self.grid.memories.constant("factors", packed)

    def diagonals(self) -> list[Node]:
        if not self.grid.cut.diagonals:
            return []
        factors = self.grid.memories.constant("factors")
        shape = sum(map(len, self.grid.cut.diagonals)), self.grid.cut.diagonals[0].shape[1]
        return quads(factors, self.diagonals_row, 0, shape, self.grid.memories)

    def weights(self, g: int, c: int, base: int) -> list[Node]:
        w = self.grid.product.w
        if w is None:
            offset, count = self.pieces[g, c]
            weights = self.grid.memories.constant("weights")
            shape = count, self.grid.cut.tile_rows
            nibbles = self.grid.cut.nibbles
            return quads(weights, base, offset, shape, self.grid.memories, nibbles=nibbles)
        blocks, group = self.grid.chunks[c], self.grid.groups[g]
        nodes: list[Node] = []
        side = self.grid.memories.wide // self.grid.dim
        for k, block in enumerate(blocks):
            for n in range(0, len(group), side):
                first = (group.start + n) * self.grid.dim
                stop = min(group.stop * self.grid.dim, first + self.grid.memories.wide, w.channels)
                nodes.append(
                    tile(
                        tiles.MoveIn,
                        {"local": "scratchpad", "dram": self.grid.memories.name_of(w)},
                        {
                            "row": base + (n * len(blocks) + k) * self.grid.dim,
                            "offset": w.offset + block * self.grid.dim * w.pixel_stride + first,
                        },
                        rows=min(self.grid.dim, w.width - block * self.grid.dim),
                        cols=stop - first,
                        stride=w.pixel_stride,
                        block=len(blocks) * self.grid.dim,
                        state=LOAD_WEIGHTS,
                    )
                )
        return nodes

    def biases(self, out: OutTile, g: int, sums: int) -> list[Node]:
        rows = self.grid.cut.accumulator_rows(self.grid.geometry, out.area.rows, out.area.cols)
        nodes: list[Node] = []
        for i, block in enumerate(self.grid.groups[g]):
            if not self.grid.biased[block]:
                continue
            for done in range(0, rows, self.grid.dim):
                nodes.append(
                    tile(
                        tiles.MoveIn,
                        {"local": "accumulator", "dram": self.grid.memories.constant("bias")},
                        {
                            "row": sums + self.grid.sums_row(i, done),
                            "offset": 4 * self.grid.dim * block,
                        },
                        rows=min(self.grid.dim, rows - done),
                        cols=self.grid.cols(block),
                        state=LOAD_REST,
                    )
                )
        return roll(nodes)

    def inputs(self, out: OutTile, c: int, base: int) -> list[Node]:
        geometry, blocks = self.grid.geometry, self.grid.chunks[c]
        image = (
            self.grid.product.x.one(out.image)
            if self.grid.product.x.batch > 1
            else self.grid.product.x
        )
        runs, needed = geometry.runs(out.area)
        count, known = self._padded.get(base, (0, None))
        if count != len(blocks):
            known = None
        missing = needed if known is None else needed & ~known
        kept = needed.copy() if known is None else needed | known
        for run in runs:
            kept[run.row : run.row + run.count] = False
        self._padded[base] = (len(blocks), kept)
        nodes = fill(self.grid.memories, missing, base, len(blocks), self.grid.product.pad_value)
        loads = load_runs(self.grid.memories, replace(geometry, image=image), runs, base, blocks)
        return nodes + roll(loads)

    def residuals(self, out: OutTile, g: int, base: int) -> list[Node]:
        residual, area, group = self.grid.product.residual, out.area, self.grid.groups[g]
        assert residual is not None
        image = residual.one(out.image) if residual.batch > 1 else residual
        geometry = Geometry.of(
            image,
            replace(self.grid.product.window, size=(1, 1), stride=(1, 1), pad=(0, 0)),
            (self.grid.product.height, self.grid.product.width),
            (self.grid.geometry.rows, self.grid.geometry.cols),
        )
        first = area.row * image.row_stride + area.col * image.pixel_stride
        runs = [
            Run(row * area.cols, area.cols, first + row * image.row_stride)
            for row in range(area.rows)
        ]
        if area.cols == self.grid.product.width:
            runs = [Run(0, area.rows * area.cols, first)]
        return roll(load_runs(self.grid.memories, geometry, runs, base, group, LOAD_REST))

    def added_residual(self, out: OutTile, g: int, sums: int) -> list[Node]:
        """Moves of the residual into the accumulator, on top of the biases."""
        residual, factors, area = self.grid.product.residual, self.grid.product.factors, out.area
        assert residual is not None
        assert factors is not None
        image, group, pitch = (
            residual.one(out.image),
            self.grid.groups[g],
            self.grid.sums_pitch(out.area),
        )
        first = image.offset + area.row * image.row_stride + area.col * image.pixel_stride
        lines = [(row, area.cols) for row in range(area.rows)]
        if pitch == area.cols == self.grid.product.width:
            lines = [(0, area.rows * area.cols)]
        side = self.grid.memories.wide // self.grid.dim
        nodes: list[Node] = []
        for i in range(0, len(group), side):
            channel = group[i] * self.grid.dim
            stop = min(
                group.stop * self.grid.dim,
                channel + self.grid.memories.wide,
                self.grid.product.channels,
            )
            for row, count in lines:
                for done in range(0, count, self.grid.dim):
                    place = first + row * image.row_stride + done * image.pixel_stride
                    nodes.append(
                        tile(
                            tiles.MoveIn,
                            {"local": "accumulator", "dram": self.grid.memories.name_of(residual)},
                            {
                                "row": sums + self.grid.sums_row(i, row * pitch + done),
                                "offset": place + channel,
                            },
                            rows=min(self.grid.dim, count - done),
                            cols=stop - channel,
                            stride=image.pixel_stride,
                            block=self.grid.sums_row(1),
                            state=LOAD_REST,
                            factor=int(factors[0]),
                        )
                    )
        return roll(nodes)
