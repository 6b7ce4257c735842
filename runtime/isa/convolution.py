"""The tile of a convolution that one LOOP_CONV_WS computes: its sizes, and where its parts lie."""

from dataclasses import dataclass

from .loop_ws import Place
from .loops import (
    LoopConvConfig1,
    LoopConvConfig2,
    LoopConvConfig3,
    LoopConvConfig4,
    LoopConvConfig5,
    LoopConvConfig6,
    LoopConvWs,
)


@dataclass(frozen=True)
class Convolution:
    """A LOOP_CONV_WS with its configuration, on a machine of `dim` with moves of `most` tiles."""

    loop: LoopConvWs
    outer: LoopConvConfig1
    window: LoopConvConfig2
    tile: LoopConvConfig3
    strides: LoopConvConfig4
    weights_output: LoopConvConfig5
    bias_input: LoopConvConfig6
    dim: int
    most: int

    def refusal(self) -> str:
        """Why it cannot run, or nothing."""
        loop = self.loop
        if loop.dilate_input and self.outer.stride != 1:
            return f"a loop_conv with dilate_input has stride 1, not {self.outer.stride}"
        if loop.dilate_input and loop.downsample:
            return "a loop_conv cannot dilate its input and take every second pixel of it"
        if loop.depthwise and (self.channels, self.tile.tile_in_channels) != (1, 1):
            return "a depthwise loop_conv takes one channel in and one out"
        if loop.pixels_per_row > 1:
            for name in ("rotate", "transpose_weights_0132", "transpose_input", "dilate_input"):
                if getattr(loop, name):
                    return f"a loop_conv with {name} takes one pixel a row"
        sizes = (self.rows, self.cols, self.channels, self.tile.tile_in_channels, self.batches)
        if not all((*sizes, self.tile.tile_kernel_rows, self.tile.tile_kernel_cols)):
            return "a loop needs at least one pixel, channel and tap (loop_conv_2 to loop_conv_4)"
        return ""

    @property
    def rows(self) -> int:
        return self.strides.tile_rows

    @property
    def cols(self) -> int:
        return self.strides.tile_cols

    @property
    def channels(self) -> int:
        return self.window.tile_channels

    @property
    def batches(self) -> int:
        return self.window.tile_batches

    def undilated(self, size: int) -> int:
        """How many of `size` pixels are there, if the input's lie two apart."""
        return size + self.loop.dilate_input >> self.loop.dilate_input

    @property
    def up(self) -> int:
        """Rows of padding in the scratchpad above the input."""
        return self.undilated(self.tile.pad_up)

    @property
    def left(self) -> int:
        return self.undilated(self.tile.pad_left)

    @property
    def real_rows(self) -> int:
        """Rows of the tile's input without padding."""
        padding = self.tile.pad_up + self.tile.pad_down
        return self.undilated(self._spread(self.rows, self.tile.tile_kernel_rows) - padding)

    @property
    def real_cols(self) -> int:
        padding = self.tile.pad_left + self.tile.pad_right
        return self.undilated(self._spread(self.cols, self.tile.tile_kernel_cols) - padding)

    @property
    def in_rows(self) -> int:
        """Rows of the tile's input, padding included."""
        return self.up + self.real_rows + self.undilated(self.tile.pad_down)

    @property
    def in_cols(self) -> int:
        return self.left + self.real_cols + self.undilated(self.tile.pad_right)

    def _spread(self, outputs: int, taps: int) -> int:
        """Pixels, padding included, under a window that moves over so many outputs."""
        return outputs * self.outer.stride + self._reach(taps) - 1

    def _reach(self, taps: int) -> int:
        return taps + (self.strides.dilation - 1) * (taps - 1)

    @property
    def plane(self) -> int:
        """Scratchpad rows of one image of one block of input channels."""
        shift = self.loop.downsample
        return (self.in_rows >> shift) * (self.in_cols >> shift)

    @property
    def weight_rows(self) -> int:
        columns = self.tile.tile_in_channels if self.loop.transpose_weights_0132 else self.channels
        return -(-columns // self.dim) * self.weight_block

    @property
    def taps(self) -> int:
        return self.tile.tile_kernel_rows * self.tile.tile_kernel_cols

    @property
    def weight_depth(self) -> int:
        """Scratchpad rows of a tap: input channels, or output channels where those are columns."""
        if self.loop.transpose_weights_0132:
            return self.channels
        return self.tile.tile_in_channels

    @property
    def weight_block(self) -> int:
        """Scratchpad rows of a block of weights' columns."""
        return self.taps * self.weight_depth

    def weights_at(self, place: Place, tap: int, channel: int, depth: int) -> int:
        """The scratchpad row of a tap's weights from `depth` on for outputs from `channel` on."""
        column, row = channel, depth
        if self.loop.transpose_weights_0132:
            column, row = depth, channel
        start = place.b_end - self.weight_rows
        return start + column // self.dim * self.weight_block + tap * self.weight_depth + row

    @property
    def input_block(self) -> int:
        """Scratchpad rows of a block of the input's columns: channels, or images if transposed."""
        if self.loop.transpose_input:
            return self.tile.tile_in_channels * self.plane
        return self.batches * self.plane

    @property
    def input_rows(self) -> int:
        columns = self.batches if self.loop.transpose_input else self.tile.tile_in_channels
        return -(-columns // self.dim) * self.input_block

    def input_at(self, place: Place, batch: int, row: int, col: int, channel: int) -> int:
        """The scratchpad row of a pixel of the tile; rows and columns count from the padding."""
        column, layer = channel, batch
        if self.loop.transpose_input:
            column, layer = batch, channel
        shift = self.loop.downsample
        pixel = (row >> shift) * (self.in_cols >> shift) + (col >> shift)
        block = column // self.dim * self.input_block
        return place.a_start + block + layer * self.plane + pixel

    @property
    def sum_rows(self) -> int:
        return -(-self.channels // self.dim) * self.batches * self.rows * self.cols

    def sums_at(self, place: Place, batch: int, row: int, col: int, channel: int) -> int:
        """The accumulator row of an output pixel."""
        block = channel // self.dim * self.batches + batch
        return place.c_start + (block * self.rows + row) * self.cols + col
