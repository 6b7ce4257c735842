"""The machine as the instructions' meanings see it.

Memories, the last configurations, and nothing of time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .locals import GARBAGE, in_accumulator, row_of

if TYPE_CHECKING:
    from ..accelerator import Accelerator
    from .configure import ConfigExecute, ConfigLoad, ConfigStore
    from .extensions import ConfigPool, ConfigRequantize, ConfigScales, ConfigTable


@dataclass(frozen=True)
class Window:
    """A pooling window over an image of `rows` x `cols` local rows, in row-major order."""

    average: bool
    size: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int]
    """Rows above and columns left of the image."""
    image: tuple[int, int]
    output: tuple[int, int]
    output_pitch: int
    """Output columns from one output row to the next."""
    offset: int = 0
    """Added to an average window's sum."""


class State:
    """Memories and configuration of an accelerator. Everything is zero after reset."""

    load: "list[ConfigLoad]"
    """The last ConfigLoad of each of the three load states."""
    execute: "ConfigExecute"
    store: "ConfigStore"
    requantize: "ConfigRequantize"
    scales_config: "ConfigScales"
    table_config: "ConfigTable"
    pool: "ConfigPool"

    def __init__(self, machine: "Accelerator", dram_bytes: int) -> None:
        from .configure import ConfigExecute, ConfigLoad, ConfigStore
        from .extensions import ConfigPool, ConfigRequantize, ConfigScales, ConfigTable
        from .unroll import Unroller

        self.machine = machine
        self.dim = machine.dim
        self.dram = np.zeros(dram_bytes, np.uint8)
        self.scratchpad = np.zeros((machine.scratchpad.total_rows, self.dim), np.int8)
        self.accumulator = np.zeros((machine.accumulator.total_rows, self.dim), np.int32)
        self.scales = np.zeros((machine.scale_rows, self.dim), np.float32)
        self.tables = np.zeros((machine.tables, 256), np.int8)
        # Twice as deep as the array for 2:4 weights; the other half of dense ones is zero.
        self.weights = np.zeros((2 * self.dim, self.dim), np.int32)
        self.pads = [0, 0, 0]
        self.preload: tuple[int, int, int] = (GARBAGE, 0, 0)
        self.preload_sparse = False
        self.destination: tuple[int, int, int] = (GARBAGE, 0, 0)
        self.load = [ConfigLoad(state=state) for state in range(3)]
        self.execute = ConfigExecute()
        self.store = ConfigStore()
        self.requantize = ConfigRequantize()
        self.scales_config = ConfigScales()
        self.table_config = ConfigTable()
        self.pool = ConfigPool()
        self.unroller = Unroller(machine)

    def blocks(self, cols: int) -> Iterator[tuple[int, int]]:
        """The blocks of up to `dim` columns that `cols` columns fall into, with their widths."""
        for block in range(-(-cols // self.dim)):
            yield block, min(self.dim, cols - block * self.dim)

    def window(self) -> Window | None:
        """The pooling in force: ConfigPool's if it is on, else the stock one of ConfigStore."""
        pool, store = self.pool, self.store
        if pool.mode:
            return Window(
                average=pool.mode == 2,
                size=(pool.height, pool.width),
                stride=(pool.stride_rows, pool.stride_cols),
                pad=(pool.pad_up, pool.pad_left),
                image=(pool.image_rows, pool.image_cols),
                output=(pool.output_rows, pool.output_cols),
                output_pitch=pool.output_pitch,
                offset=pool.offset,
            )
        if store.pool_stride:
            return Window(
                average=False,
                size=(store.pool_size, store.pool_size),
                stride=(store.pool_stride, store.pool_stride),
                pad=(store.pool_up, store.pool_left),
                image=(store.image_rows, store.image_cols),
                output=(store.output_rows, store.output_cols),
                output_pitch=store.output_pitch,
            )
        return None

    def requantized(self, sums: npt.NDArray[np.int32], block: int) -> npt.NDArray[np.int8]:
        """One row of int32 as it leaves: relu, scale, round, zero point, clamp (before the table).

        `y = clamp(rne(float32(acc) * m) + z, low, high)`, each float step rounded to float32.
        """
        if self.store.activation == 1:
            sums = np.maximum(sums, np.int32(0))
        scale: npt.NDArray[np.float32] | np.float32 = np.float32(self.store.scale)
        if self.scales_config.enable:
            scale = self.scales[self.scales_config.row + block, : sums.size]
        rounded = np.rint(sums.astype(np.float32) * scale)
        # Far outside int8 already; keeps the conversion to integers defined.
        near = np.clip(rounded, -(2.0**20), 2.0**20).astype(np.int64)
        shifted = near + self.requantize.zero
        clamped = np.clip(shifted, self.requantize.low, self.requantize.high)
        return np.asarray(clamped, np.int8)

    def looked_up(self, values: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
        """`values` through the selected table, indexed by their bits as an unsigned byte."""
        if not self.table_config.enable:
            return values
        table = self.tables[self.table_config.table]
        return np.asarray(table[values.view(np.uint8)], np.int8)

    def outgoing(
        self, local: int, cols: int, rows: int
    ) -> Iterator[tuple[int, int, npt.NDArray[np.int8]]]:
        """What a move-out delivers: (output row, block, values), pooled if pooling is on."""
        window = self.window()
        if window is None:
            for row in range(rows):
                for block, width in self.blocks(cols):
                    source = row_of(local) + block * self.dim + row
                    yield row, block, self._leaving(local, source, width, block)
            return
        for out_row in range(window.output[0]):
            for out_col in range(window.output[1]):
                pooled = self._pooled(window, local, cols, out_row, out_col)
                yield out_row * window.output_pitch + out_col, 0, pooled

    def _leaving(self, local: int, source: int, width: int, block: int) -> npt.NDArray[np.int8]:
        if in_accumulator(local):
            return self.looked_up(self.requantized(self.accumulator[source, :width], block))
        return self.looked_up(self.scratchpad[source, :width])

    def _pooled(
        self, window: Window, local: int, cols: int, out_row: int, out_col: int
    ) -> npt.NDArray[np.int8]:
        pad = self.requantize.pad
        largest = np.full(cols, -128, np.int8)
        total = np.full(cols, window.offset, np.int32)
        for i in range(window.size[0]):
            for j in range(window.size[1]):
                row = out_row * window.stride[0] - window.pad[0] + i
                col = out_col * window.stride[1] - window.pad[1] + j
                if not (0 <= row < window.image[0] and 0 <= col < window.image[1]):
                    largest = np.maximum(largest, np.int8(pad))
                    total = total + np.int32(pad)
                    continue
                source = row_of(local) + row * window.image[1] + col
                if not window.average:
                    largest = np.maximum(largest, self._leaving(local, source, cols, 0))
                elif in_accumulator(local):
                    total = total + self.accumulator[source, :cols]
                else:
                    total = total + self.scratchpad[source, :cols].astype(np.int32)
        if not window.average:
            return largest
        return self.looked_up(self.requantized(total, 0))
