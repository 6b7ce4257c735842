"""Moves-out of a cut product's sums: to DRAM or into a frame, pooled or not."""

from dataclasses import dataclass

from mcc.ir import OpError
from mcc.runtime import Frame

from .emitting import Leaving
from .grid import Grid
from .held import Held
from .rolling import Node, roll
from .tiling import OutTile


@dataclass(frozen=True)
class Stores:
    """The stores of every tile of a group."""

    grid: Grid
    leaving: Leaving
    image: int
    """Before which there are others of the same result."""

    def stores(self, out: OutTile, g: int, sums: int) -> list[Node]:
        nodes: list[Node] = []
        for i, block in enumerate(self.grid.groups[g]):
            if i % self.grid.side:
                continue  # leaves with the one before
            nodes += self.leaving.scales(block)
            row = sums + self.grid.sums_row(i)
            if self.grid.memories.held is not None:
                nodes += self._held_out(self.grid.memories.held, out, block, row)
            elif out.pooled_rows:
                nodes += self._pooled(out, block, row)
            else:
                nodes += self._plain(out, block, row)
        return roll(nodes)

    def _plain(self, out: OutTile, block: int, row: int) -> list[Node]:
        product, area, dim = self.grid.product, out.area, self.grid.dim
        pitch = self.grid.sums_pitch(area)
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
                        row + (r * pitch + done) * self.grid.side,
                        pixel * product.channels + block * dim,
                        min(dim, count - done),
                        self.grid.cols(block) if self.grid.side == 1 else self.grid.side * dim,
                        product.channels,
                        block,
                    )
                )
        return nodes

    def _held_out(self, held: Held, out: OutTile, block: int, row: int) -> list[Node]:
        """Into the scratchpad: each plane of the frame gets its pixels by one command.

        A pool of 1 x 1 windows picks the pixels of a plane, and leaves out the sums between rows.
        """
        frame, area, pitch = held.frame, out.area, self.grid.sums_pitch(out.area)
        start = frame.first + block * frame.block_rows
        if out.pooled_rows:
            return [self._pool_out(out, block, row, start + frame.row(out.pooled_row, 0), 1, frame)]
        nodes: list[Node] = []
        for first in range(area.row, area.row + min(frame.rows_apart, area.rows)):
            for col in range(area.col, area.col + min(frame.cols_apart, area.cols)):
                down, right = first - area.row, col - area.col
                rows = -(-(area.rows - down) // frame.rows_apart)
                cols = -(-(area.cols - right) // frame.cols_apart)
                # Only rows that are read, as many for all planes: nothing is configured anew.
                tall = (rows - 1) * frame.rows_apart + 1
                window = (1, 1, frame.rows_apart, frame.cols_apart, 0, 0, tall, pitch)
                nodes.append(
                    self.leaving.out(
                        row + down * pitch + right,
                        start + frame.row(first, col),
                        0,
                        self.grid.cols(block),
                        1,
                        block,
                        pool=(*window, rows, cols, frame.pitch),
                        pad=-128,
                    )
                )
        return nodes

    def _pooled(self, out: OutTile, block: int, row: int) -> list[Node]:
        product = self.grid.product
        height, width = product.exit.pooled
        pixel = (out.image * height + out.pooled_row) * width
        offset = pixel * product.channels + block * self.grid.dim
        return [self._pool_out(out, block, row, offset, product.channels, None)]

    def _pool_out(
        self, out: OutTile, block: int, row: int, offset: int, stride: int, frame: Frame | None
    ) -> Node:
        """A tile's pooled pixels: to DRAM, or into a frame."""
        area, pool = out.area, self.grid.product.exit.pool
        if pool is None:
            raise OpError("a tile is pooled and its layer is not")
        _, width = self.grid.product.exit.pooled
        up = max(0, pool.pad[0] - out.pooled_row * pool.stride[0])
        image = (area.rows, self.grid.sums_pitch(area))
        pitch = width if frame is None else frame.pitch
        window = (*pool.size, *pool.stride, up, pool.pad[1], *image, out.pooled_rows, width, pitch)
        pad = -128 if self.grid.memories.target.has("zero_point") else 0
        return self.leaving.out(
            row, offset, 0, self.grid.cols(block), stride, block, pool=window, pad=pad
        )
