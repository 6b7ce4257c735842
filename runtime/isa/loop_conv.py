"""What LOOP_CONV_WS is unrolled into, one part after the other.

After Gemmini's LoopConv unroller (the Chisel source of the public hardware): all moves-in are sent
before the first product, and all products before the first move-out.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from .array import ComputeKept, ComputePreloaded, Preload
from .configure import ConfigLoad, ConfigStore
from .encoding import Instruction
from .locals import ACCUMULATE_BIT, ACCUMULATOR_BIT, GARBAGE
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
from .moves import MoveIn, MoveIn2, MoveIn3, MoveOut

_ACCUMULATOR = 1 << ACCUMULATOR_BIT


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
        for name in (
            "transpose_output",
            "transpose_weights_1203",
            "transpose_weights_0132",
            "transpose_input",
            "dilate_input",
            "depthwise",
        ):
            if getattr(loop, name):
                return f"a loop_conv with {name} is not modelled"
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

    @property
    def in_rows(self) -> int:
        """Rows of the tile's input, padding included."""
        return self.rows * self.outer.stride + self._reach(self.tile.tile_kernel_rows) - 1

    @property
    def in_cols(self) -> int:
        return self.cols * self.outer.stride + self._reach(self.tile.tile_kernel_cols) - 1

    def _reach(self, taps: int) -> int:
        return taps + (self.strides.dilation - 1) * (taps - 1)

    @property
    def plane(self) -> int:
        """Scratchpad rows of one image of one block of input channels."""
        shift = self.loop.downsample
        return (self.in_rows >> shift) * (self.in_cols >> shift)

    @property
    def weight_rows(self) -> int:
        tile = self.tile
        taps = tile.tile_kernel_rows * tile.tile_kernel_cols
        return -(-self.channels // self.dim) * taps * tile.tile_in_channels

    @property
    def input_rows(self) -> int:
        return -(-self.tile.tile_in_channels // self.dim) * self.batches * self.plane

    @property
    def sum_rows(self) -> int:
        return -(-self.channels // self.dim) * self.batches * self.rows * self.cols

    def sums_at(self, place: Place, batch: int, row: int, col: int, channel: int) -> int:
        """The accumulator row of an output pixel."""
        block = channel // self.dim * self.batches + batch
        return place.c_start + (block * self.rows + row) * self.cols + col


def unrolled(conv: Convolution, place: Place) -> Iterator[Instruction]:
    """The commands in order. A scale of None in `ConfigStore` keeps the last one."""
    yield from _bias(conv, place)
    yield from _weights(conv, place)
    yield from _inputs(conv, place)
    yield from _products(conv, place)
    yield from _outputs(conv, place)


def _bias(conv: Convolution, place: Place) -> Iterator[Instruction]:
    bias, dim = conv.bias_input.bias, conv.dim
    if not bias:
        return
    most = max(conv.most // 4, 1) * dim
    yield ConfigLoad(state=2, block_stride=conv.batches * conv.rows * conv.cols)
    for batch in range(conv.batches):
        for row in range(conv.rows):
            for col in range(0, conv.cols, dim):
                for channel in range(0, conv.channels, most):
                    at = conv.sums_at(place, batch, row, col, channel)
                    yield MoveIn3(
                        dram=0 if conv.loop.no_bias else bias + 4 * channel,
                        local=_ACCUMULATOR | at,
                        cols=min(most, conv.channels - channel),
                        rows=min(dim, conv.cols - col),
                    )


def _weights(conv: Convolution, place: Place) -> Iterator[Instruction]:
    tile, dim = conv.tile, conv.dim
    stride = conv.strides.weight_stride
    start = place.b_end - conv.weight_rows
    taps = tile.tile_kernel_rows * tile.tile_kernel_cols
    yield ConfigLoad(state=1, block_stride=taps * tile.tile_in_channels, stride=stride)
    most = conv.most * dim
    for channel in range(0, conv.channels, most):
        for row in range(tile.tile_kernel_rows):
            for col in range(tile.tile_kernel_cols):
                for depth in range(0, tile.tile_in_channels, dim):
                    tap = row * conv.window.kernel + col
                    pixel = tap * conv.outer.in_channels + depth
                    place_ = (channel // dim) * taps + row * tile.tile_kernel_cols + col
                    yield MoveIn2(
                        dram=conv.weights_output.weights + pixel * stride + channel,
                        local=start + place_ * tile.tile_in_channels + depth,
                        cols=min(most, conv.channels - channel),
                        rows=min(dim, tile.tile_in_channels - depth),
                    )


def _inputs(conv: Convolution, place: Place) -> Iterator[Instruction]:
    tile, dim, shift = conv.tile, conv.dim, conv.loop.downsample
    stride = conv.strides.in_stride
    yield ConfigLoad(
        state=0,
        block_stride=conv.batches * conv.plane,
        stride=stride << shift,
        pixel_repeats=conv.loop.pixels_per_row,
    )
    real_rows = conv.in_rows - tile.pad_up - tile.pad_down
    real_cols = conv.in_cols - tile.pad_left - tile.pad_right
    pitch = conv.in_cols >> shift
    most = conv.most * dim
    for batch in range(conv.batches):
        for row in range(-tile.pad_up, real_rows + tile.pad_down, 1 << shift):
            col = -tile.pad_left
            while col < real_cols + tile.pad_right:
                if col < 0:
                    count = min(-col, dim)
                elif col >= real_cols:
                    count = min(real_cols + tile.pad_right - col, dim)
                else:
                    count = min(real_cols - col, dim << shift)
                real = 0 <= row < real_rows and 0 <= col < real_cols
                image = batch * conv.outer.in_rows + row
                pixel = image * tile.in_cols + col
                at = ((row + tile.pad_up) >> shift) * pitch + ((col + tile.pad_left) >> shift)
                for channel in range(0, tile.tile_in_channels, most):
                    block = channel // dim * conv.batches + batch
                    yield MoveIn(
                        dram=conv.bias_input.input + pixel * stride + channel if real else 0,
                        local=place.a_start + block * conv.plane + at,
                        cols=min(most, tile.tile_in_channels - channel),
                        rows=count >> shift,
                    )
                col += count


def _products(conv: Convolution, place: Place) -> Iterator[Instruction]:
    tile, dim, shift = conv.tile, conv.dim, conv.loop.downsample
    start = place.b_end - conv.weight_rows
    taps = tile.tile_kernel_rows * tile.tile_kernel_cols
    pitch = conv.in_cols >> shift
    step = conv.loop.pixels_per_row
    for channel in range(0, conv.channels, dim):
        width = min(dim, conv.channels - channel)
        for row in range(tile.tile_kernel_rows):
            for col in range(0, tile.tile_kernel_cols, step):
                for depth in range(0, tile.tile_in_channels, dim):
                    tap = row * tile.tile_kernel_cols + col
                    if conv.loop.rotate:
                        tap = taps - 1 - tap
                    weights = start + channel // dim * taps * tile.tile_in_channels
                    weights += tap * tile.tile_in_channels + depth
                    pixels = min(step, tile.tile_kernel_cols - col)
                    deep = pixels * min(dim, tile.tile_in_channels - depth)
                    new = True
                    for batch in range(conv.batches):
                        for out_row in range(conv.rows):
                            for out_col in range(0, conv.cols, dim):
                                dilation, stride = conv.strides.dilation, conv.outer.stride
                                in_row = out_row * stride + row * dilation >> shift
                                in_col = out_col * stride + col * dilation >> shift
                                block = depth // dim * conv.batches + batch
                                at = block * conv.plane + in_row * pitch + in_col
                                rows = min(dim, conv.cols - out_col)
                                sums = conv.sums_at(place, batch, out_row, out_col, channel)
                                yield Preload(
                                    local=weights if new else GARBAGE,
                                    cols=width,
                                    rows=deep,
                                    destination=_ACCUMULATOR | 1 << ACCUMULATE_BIT | sums,
                                    destination_cols=width,
                                    destination_rows=rows,
                                )
                                kind = ComputePreloaded if new else ComputeKept
                                yield kind(
                                    local=place.a_start + at,
                                    cols=deep,
                                    rows=rows,
                                    bias_cols=width,
                                    bias_rows=rows,
                                )
                                new = False


def _outputs(conv: Convolution, place: Place) -> Iterator[Instruction]:
    output, outer, window = conv.weights_output.output, conv.outer, conv.window
    stride, dim = conv.strides.out_stride, conv.dim
    if not output:
        return
    if conv.loop.no_pool:
        for batch in range(conv.batches):
            for row in range(conv.rows):
                for col in range(0, conv.cols, dim):
                    for channel in range(0, conv.channels, dim):
                        pixel = (batch * outer.out_rows + row) * outer.out_cols + col
                        at = conv.sums_at(place, batch, row, col, channel)
                        yield MoveOut(
                            dram=output + pixel * stride + channel,
                            local=_ACCUMULATOR | at,
                            cols=min(dim, conv.channels - channel),
                            rows=min(dim, conv.cols - col),
                        )
        return
    yield ConfigStore(
        activation=conv.loop.activation,
        pool_stride=window.pool_stride,
        pool_size=window.pool_size,
        pool_up=conv.strides.pool_pad_up,
        pool_left=conv.tile.pool_pad_left,
        output_pitch=window.pool_out_cols,
        output_rows=window.tile_pool_rows,
        output_cols=window.tile_pool_cols,
        image_rows=conv.rows,
        image_cols=conv.cols,
        stride=stride,
    )
    for batch in range(conv.batches):
        for channel in range(0, conv.channels, dim):
            pixel = batch * outer.pool_out_rows * window.pool_out_cols
            yield MoveOut(
                dram=output + pixel * stride + channel,
                local=_ACCUMULATOR | conv.sums_at(place, batch, 0, 0, channel),
                cols=min(dim, conv.channels - channel),
                rows=0,
            )
    yield ConfigStore(activation=conv.loop.activation, stride=stride)
