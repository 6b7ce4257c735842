"""How an activation lies in the scratchpad while it stays on the chip."""

from dataclasses import astuple, dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Frame:
    """An image of one pixel a row, with padding around it; blocks of channels follow each other.

    Its rows and columns are split by the stride of those that read it into planes of one remainder
    each. The padding right of one row of a plane is the padding left of the next.
    """

    first: int
    """Row of the scratchpad in which it begins."""
    height: int
    width: int
    rows_apart: int
    cols_apart: int
    """The strides."""
    above: int
    left: int
    """Rows and columns of padding in each plane."""
    pitch: int
    """Scratchpad rows from one row of a plane to the next."""
    plane_rows: int

    @property
    def block_rows(self) -> int:
        """Scratchpad rows of one block of channels."""
        return self.rows_apart * self.cols_apart * self.plane_rows

    @property
    def dense(self) -> bool:
        """Whether its pixels lie one after the other without gaps."""
        unsplit = self.rows_apart == self.cols_apart == 1
        return unsplit and self.above == self.left == 0 and self.pitch == self.width

    def row(self, row: int, col: int) -> int:
        """Where a pixel lies in a block; those of the padding have rows and columns outside."""
        down, down_plane = divmod(row, self.rows_apart)
        right, right_plane = divmod(col, self.cols_apart)
        plane = (down_plane * self.cols_apart + right_plane) * self.plane_rows
        return plane + (down + self.above) * self.pitch + right + self.left

    @cached_property
    def pixels(self) -> npt.NDArray[np.int64]:
        """Where each pixel lies in a block: [height, width]."""
        return np.array(
            [[self.row(row, col) for col in range(self.width)] for row in range(self.height)],
            np.int64,
        )

    def read(self, scratchpad: npt.NDArray[np.int8], shape: tuple[int, ...]) -> "np.ndarray":
        """The tensor of some shape that lies in it, channels last."""
        channels, dim = shape[-1], scratchpad.shape[1]
        blocks = np.arange(-(-channels // dim), dtype=np.int64)
        rows = self.first + blocks * self.block_rows + self.pixels.reshape(-1, 1)
        data = scratchpad[rows].reshape(len(rows), -1)
        return np.ascontiguousarray(data[:, :channels]).reshape(shape)

    def numbers(self) -> tuple[int, ...]:
        """Its fields in order."""
        return astuple(self)
