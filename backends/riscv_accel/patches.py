"""How the input of an output tile lies in the scratchpad.

An image is split by stride into planes (rows and columns of one remainder each): every tap of a
window reads consecutive scratchpad rows, one pixel a row. The rows of a plane follow each other
with a pitch that leaves room for padding once: the padding right of one row is the padding left
of the next. So any 16 consecutive rows are 16 pixels of the flattened output, and short rows fill
the array too.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mcc.runtime import Frame

from .layers import Image, Window


@dataclass(frozen=True)
class Area:
    """A rectangle of output pixels."""

    row: int
    col: int
    rows: int
    cols: int


@dataclass(frozen=True)
class Run:
    """Consecutive scratchpad rows that hold consecutive pixels of one image row."""

    row: int
    """In the patch."""
    count: int
    offset: int
    """Bytes from the image's start to the first pixel."""


@dataclass(frozen=True)
class Taps:
    """Where the taps of a window fall along one axis: (plane, shift in the plane) each."""

    places: tuple[tuple[int, int], ...]
    stride: int

    @classmethod
    def of(cls, size: int, stride: int, dilation: int, pad: int) -> "Taps":
        offsets = [tap * dilation - pad for tap in range(size)]
        return cls(tuple((offset % stride, offset // stride) for offset in offsets), stride)

    @cached_property
    def planes(self) -> tuple[int, ...]:
        return tuple(sorted({plane for plane, _ in self.places}))

    @property
    def least(self) -> int:
        return min(shift for _, shift in self.places)

    @property
    def reach(self) -> int:
        """The largest shift less the least."""
        return max(shift for _, shift in self.places) - self.least


@dataclass(frozen=True)
class Geometry:
    """The patches of all tiles of `rows` x `cols` output pixels of one layer."""

    image: Image
    rows_taps: Taps
    cols_taps: Taps
    height: int
    width: int
    """Of the output."""
    rows: int
    cols: int
    frame: Frame | None = None
    """Where the whole image lies already; then tiles read from it, and nothing is loaded."""

    @classmethod
    def of(
        cls,
        image: Image,
        window: Window,
        output: tuple[int, int],
        tile: tuple[int, int],
        frame: Frame | None = None,
    ) -> "Geometry":
        down, right = taps_of(window)
        return cls(image, down, right, *output, *tile, frame)

    @cached_property
    def pitch(self) -> int:
        """Scratchpad rows from one row of a plane to the next, the same in every tile."""
        if self.frame is not None:
            return self.frame.pitch
        pitch = self.cols
        for col in range(0, self.width, self.cols):
            for plane in self.cols_taps.planes:
                first, stop, left, right = self._columns(plane, col, self.cols)
                pitch = max(pitch, stop - first + max(left, right))
        return pitch

    @cached_property
    def plane_rows(self) -> int:
        """Scratchpad rows of one plane of a full tile."""
        return self._plane_rows(self.rows, self.cols)

    @property
    def block_rows(self) -> int:
        """Scratchpad rows of one block of channels of a full tile, or of the whole image."""
        if self.frame is not None:
            return self.frame.block_rows
        return len(self.rows_taps.planes) * len(self.cols_taps.planes) * self.plane_rows

    def _plane_rows(self, rows: int, cols: int) -> int:
        return (rows + self.rows_taps.reach - 1) * self.pitch + cols + self.cols_taps.reach

    def tap(self, row: int, col: int) -> int:
        """The patch row that tap (row, col) of the window reads for the tile's first pixel."""
        row_plane, row_shift = self.rows_taps.places[row]
        col_plane, col_shift = self.cols_taps.places[col]
        if self.frame is not None:
            down = row_shift * self.rows_taps.stride + row_plane
            return self.frame.row(down, col_shift * self.cols_taps.stride + col_plane)
        return (
            self._plane_index(row_plane, col_plane) * self.plane_rows
            + (row_shift - self.rows_taps.least) * self.pitch
            + col_shift
            - self.cols_taps.least
        )

    def _plane_index(self, row_plane: int, col_plane: int) -> int:
        rows, cols = self.rows_taps.planes, self.cols_taps.planes
        return rows.index(row_plane) * len(cols) + cols.index(col_plane)

    def _columns(self, plane: int, col: int, cols: int) -> tuple[int, int, int, int]:
        """Which columns of a plane a tile needs, and how many miss left and right of them."""
        taps = self.cols_taps
        extent = -(-(self.image.width - plane) // taps.stride)
        low = col + taps.least
        high = col + cols + taps.least + taps.reach
        first, stop = min(max(low, 0), extent), max(min(high, extent), 0)
        if stop <= first:
            return 0, 0, high - low, 0
        return first, stop, first - low, high - stop

    def runs(self, area: Area) -> tuple[list[Run], "np.ndarray"]:
        """What a tile loads, and which rows of the patch's block it must fill with padding."""
        image, pitch = self.image, self.pitch
        needed = np.zeros(self.block_rows, np.bool_)
        found: list[Run] = []
        least = area.row + self.rows_taps.least
        for row_plane in self.rows_taps.planes:
            extent = -(-(image.height - row_plane) // self.rows_taps.stride)
            for col_plane in self.cols_taps.planes:
                base = self._plane_index(row_plane, col_plane) * self.plane_rows
                needed[base : base + self._plane_rows(area.rows, area.cols)] = True
                first, stop, left, _ = self._columns(col_plane, area.col, area.cols)
                if stop <= first:
                    continue
                for local in range(area.rows + self.rows_taps.reach):
                    row = least + local
                    if not 0 <= row < extent:
                        continue
                    where = base + local * pitch + left
                    offset = image.row_offset(row * self.rows_taps.stride + row_plane)
                    offset += (first * self.cols_taps.stride + col_plane) * image.pixel_stride
                    found.append(Run(where, stop - first, offset))
                    needed[where : where + stop - first] = False
        return found, needed


def taps_of(window: Window) -> tuple[Taps, Taps]:
    """The taps of a window along rows and columns."""
    down, right = (
        Taps.of(window.size[i], window.stride[i], window.dilation[i], window.pad[i])
        for i in range(2)
    )
    return down, right


def stretches(mask: "np.ndarray") -> list[tuple[int, int]]:
    """The runs of true entries as (start, count)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [
        (int(start), int(stop - start)) for start, stop in zip(edges[::2], edges[1::2], strict=True)
    ]
