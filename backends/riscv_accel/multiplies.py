"""Products of a cut product: tiles of pixels by tiles of weights."""

import numpy as np

from . import tiles
from .grid import Grid
from .patches import Area
from .pieces import pieces
from .rolling import Node, roll, tile
from .weights import Tap


class Multiplies:
    """The products of every piece; those that differ in addresses only are made once."""

    def __init__(self, grid: Grid, diagonals_row: int) -> None:
        self.grid, self.diagonals_row = grid, diagonals_row
        self.held_residual = grid.memories.held_input(grid.product.residual)
        self._nests: dict[object, list[Node]] = {}

    def products(self, area: Area, g: int, c: int, a: int, b: int, sums: int) -> list[Node]:
        nodes: list[Node] = []
        blocks = self.grid.chunks[c]
        for i, block in enumerate(self.grid.groups[g]):
            units = self.grid.cut.units(block, blocks)
            if not units:
                continue
            fresh = (
                not self.grid.biased[block] and units[0][0] == self.grid.cut.tiles.taps[block][0]
            )
            places = tuple(tuple(self._place(tap, blocks) for tap in unit) for unit in units)
            first = places[0][0][0]
            key = (
                tuple(tuple((row - first, depth) for row, depth in unit) for unit in places),
                (area.rows, area.cols, self.grid.cols(block), fresh),
            )
            if key not in self._nests:
                pixels = self._pixels(area)
                self._nests[key] = self._nest(key[0], pixels, self.grid.cols(block), fresh=fresh)
            moves = {"a": a + first, "second": a + first, "b": b, "c": sums + self.grid.sums_row(i)}
            nodes += [node.moved(moves) for node in self._nests[key]]
            b += len(units) * self.grid.cut.tile_rows
        return nodes

    def _place(self, tap: Tap, blocks: range) -> tuple[int, int]:
        """The patch row that a tap reads first, and how many channels there are."""
        row, col, block = tap
        first = (block - blocks.start) * self.grid.geometry.block_rows + self.grid.geometry.tap(
            row, col
        )
        return first, min(self.grid.dim, self.grid.product.x.channels - block * self.grid.dim)

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
                    "b": n * self.grid.cut.tile_rows,
                    "c": target * self.grid.side,
                }
                halves: dict[str, int] = {}
                if self.grid.cut.paired:
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
        pitch, dim = self.grid.geometry.pitch, self.grid.dim
        if self.grid.flat:
            total = (area.rows - 1) * pitch + area.cols
            found = pieces(total, dim, aligned=self.grid.side > 1)
            return [(first, first, count) for first, count in found]
        return [
            (row * pitch + first, row * area.cols + first, count)
            for row in range(area.rows)
            for first, count in pieces(area.cols, dim)
        ]

    def residuals(self, area: Area, g: int, base: int, sums: int) -> list[Node]:
        pitch = self.grid.sums_pitch(area)
        block_rows, source_pitch = self.grid.geometry.rows * self.grid.geometry.cols, area.cols
        if self.held_residual is not None:
            frame = self.held_residual.frame
            block_rows, source_pitch = frame.block_rows, frame.pitch
            base = frame.first + frame.row(area.row, area.col)
            base += self.grid.groups[g].start * block_rows
        if pitch == source_pitch:
            total = (area.rows - 1) * pitch + area.cols
            places = [(first, first, count) for first, count in pieces(total, self.grid.dim)]
        else:
            places = [
                (row * source_pitch + first, row * pitch + first, count)
                for row in range(area.rows)
                for first, count in pieces(area.cols, self.grid.dim)
            ]
        nodes: list[Node] = []
        firsts = np.cumsum([0, *map(len, self.grid.cut.diagonals)]).tolist()
        tile_rows = self.grid.cut.diagonals[0].shape[1]
        for i, block in enumerate(self.grid.groups[g]):
            for part in range(firsts[block], firsts[block + 1]):
                for n, (source, target, rows) in enumerate(places):
                    addresses = {
                        "a": base + i * block_rows + source,
                        "b": self.diagonals_row + part * tile_rows,
                        "c": sums + self.grid.sums_row(i, target),
                    }
                    halves: dict[str, int] = {}
                    if self.grid.cut.diagonals_paired:
                        addresses["second"] = addresses["a"]
                        halves["second_depth"] = self.grid.cols(block)
                    nodes.append(
                        tile(
                            tiles.Multiply,
                            {"local": "scratchpad", "sums": "accumulator"},
                            addresses,
                            rows=rows,
                            depth=self.grid.cols(block),
                            cols=self.grid.cols(block),
                            accumulate=True,
                            keep=n > 0,
                            **halves,
                        )
                    )
        return roll(nodes)
