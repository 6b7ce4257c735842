"""What loads, products and stores of a cut product agree on: pieces, and where sums lie."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .emitting import Memories
from .layers import Int32, Product
from .patches import Area, Geometry
from .tiling import Cut, Tiling, chunks


@dataclass(frozen=True)
class Grid:
    """A product in tiles of pixels, groups of output blocks and chunks of input blocks."""

    cut: Cut
    tiling: Tiling
    memories: Memories

    @property
    def product(self) -> Product:
        return self.cut.product

    @property
    def dim(self) -> int:
        return self.cut.dim

    @cached_property
    def geometry(self) -> Geometry:
        return self.cut.geometry(self.tiling)

    @cached_property
    def flat(self) -> bool:
        return self.cut.flat(self.geometry)

    @cached_property
    def chunks(self) -> list[range]:
        return chunks(self.cut.in_blocks, self.tiling.chunk)

    @cached_property
    def groups(self) -> list[range]:
        return chunks(self.cut.out_blocks, self.tiling.group)

    @cached_property
    def side(self) -> int:
        """How many output blocks leave side by side."""
        return self.cut.side(self.tiling) if self.memories.held is None else 1

    @cached_property
    def bias(self) -> Int32:
        """Of every channel, up to whole blocks."""
        bias = np.zeros(self.cut.out_blocks * self.dim, np.int32)
        if self.product.bias is not None:
            bias[: self.product.channels] = self.product.bias
        return bias

    @cached_property
    def biased(self) -> list[bool]:
        """Which output blocks' sums begin with their biases."""
        # A residual is added to sums that are there.
        biased = [self.cut.added or bool(row.any()) for row in self.bias.reshape(-1, self.dim)]
        for block, taps in enumerate(self.cut.tiles.taps):
            if not taps:  # no weight but zeros: the bias is all there is
                biased[block] = True
        return biased

    def cols(self, block: int) -> int:
        """Channels of an output block."""
        return min(self.dim, self.product.channels - block * self.dim)

    def sums_pitch(self, area: Area) -> int:
        """Accumulator rows from one row of pixels to the next."""
        return self.geometry.pitch if self.flat else area.cols

    def sums_row(self, block: int, pixel: int = 0) -> int:
        """Where the sums of a block of a group are, from a pixel on.

        Blocks that leave side by side take turns with every `dim` pixels.
        """
        together, within = divmod(block, self.side)
        return together * self.side * self._sums_rows + within * self.dim + pixel * self.side

    @cached_property
    def _sums_rows(self) -> int:
        """Accumulator rows of an output block."""
        rows = self.cut.sums_rows(self.tiling)
        return -(-rows // self.dim) * self.dim if self.side > 1 else rows
