"""What LOOP_CONV_WS is unrolled into, one part after the other.

After Gemmini's LoopConv unroller (the Chisel source of the public hardware): all moves-in are sent
before the first product, and all products before the first move-out.
"""

from collections.abc import Iterator

from .array import ComputeKept, ComputePreloaded, Preload
from .configure import ConfigExecute, ConfigLoad, ConfigStore
from .convolution import Convolution
from .encoding import Instruction
from .locals import ACCUMULATE_BIT, ACCUMULATOR_BIT, GARBAGE
from .loop_ws import Place
from .moves import MoveIn, MoveIn2, MoveIn3, MoveOut

_ACCUMULATOR = 1 << ACCUMULATOR_BIT


def unrolled(conv: Convolution, place: Place) -> Iterator[Instruction]:
    """The commands in order.

    Of `ConfigStore` the scale, and of `ConfigExecute` the transposes, are those set last.
    """
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
    tile, loop, outer, dim = conv.tile, conv.loop, conv.outer, conv.dim
    kernel, across = conv.window.kernel, conv.strides.weight_stride
    stride = across
    if loop.depthwise:
        stride = 1
    elif loop.transpose_weights_1203:
        stride = kernel * kernel * across
    elif loop.transpose_weights_0132:
        stride = outer.in_channels
    yield ConfigLoad(state=1, block_stride=conv.weight_block, stride=stride)
    wide = conv.most * dim
    turned = bool(loop.transpose_weights_0132)
    for channel in range(0, conv.channels, dim if turned else wide):
        for row in range(tile.tile_kernel_rows):
            for col in range(tile.tile_kernel_cols):
                for depth in range(0, tile.tile_in_channels, wide if turned else dim):
                    tap = row * kernel + col
                    if loop.depthwise:
                        offset = tap
                    elif loop.transpose_weights_1203:
                        offset = (depth * kernel * kernel + tap) * across + channel
                    elif turned:
                        offset = (tap * outer.out_channels + channel) * outer.in_channels + depth
                    else:
                        offset = (tap * outer.in_channels + depth) * across + channel
                    left = conv.channels - channel, tile.tile_in_channels - depth
                    cols, rows = left[::-1] if turned else left
                    tap = row * tile.tile_kernel_cols + col
                    yield MoveIn2(
                        dram=conv.weights_output.weights + offset,
                        local=conv.weights_at(place, tap, channel, depth),
                        cols=min(wide, cols),
                        rows=min(dim, rows),
                    )


def _inputs(conv: Convolution, place: Place) -> Iterator[Instruction]:
    tile, outer, dim, shift = conv.tile, conv.outer, conv.dim, conv.loop.downsample
    turned = bool(conv.loop.transpose_input)
    stride = outer.batch if turned else conv.strides.in_stride
    yield ConfigLoad(
        state=0,
        block_stride=conv.input_block,
        stride=stride << shift,
        pixel_repeats=conv.loop.pixels_per_row,
    )
    right, down = conv.undilated(tile.pad_right), conv.undilated(tile.pad_down)
    wide = conv.most * dim
    for batch in range(0, conv.batches, wide if turned else 1):
        for row in range(-conv.up, conv.real_rows + down, 1 << shift):
            col = -conv.left
            while col < conv.real_cols + right:
                if col < 0:
                    count = min(-col, dim)
                elif col >= conv.real_cols:
                    count = min(conv.real_cols + right - col, dim)
                else:
                    count = min(conv.real_cols - col, dim << shift)
                real = 0 <= row < conv.real_rows and 0 <= col < conv.real_cols
                for channel in range(0, tile.tile_in_channels, 1 if turned else wide):
                    image = (channel if turned else batch) * outer.in_rows + row
                    pixel = image * tile.in_cols + col
                    offset = pixel * stride + (batch if turned else channel)
                    left = conv.batches - batch if turned else tile.tile_in_channels - channel
                    yield MoveIn(
                        dram=conv.bias_input.input + offset if real else 0,
                        local=conv.input_at(place, batch, row + conv.up, col + conv.left, channel),
                        cols=min(wide, left),
                        rows=count >> shift,
                    )
                col += count


def _products(conv: Convolution, place: Place) -> Iterator[Instruction]:
    tile, dim, step = conv.tile, conv.dim, conv.loop.pixels_per_row
    if conv.loop.transpose_input:
        # A row of A is an image: its channels and its sums lie a plane apart.
        yield ConfigExecute(a_stride=conv.in_rows * conv.in_cols, c_stride=conv.rows * conv.cols)
    for channel in range(0, conv.channels, dim):
        width = min(dim, conv.channels - channel)
        for row in range(tile.tile_kernel_rows):
            for col in range(0, tile.tile_kernel_cols, step):
                for depth in range(0, tile.tile_in_channels, dim):
                    tap = row * tile.tile_kernel_cols + col
                    if conv.loop.rotate:
                        tap = conv.taps - 1 - tap
                    weights = conv.weights_at(place, tap, channel, depth)
                    pixels = min(step, tile.tile_kernel_cols - col)
                    deep = pixels * min(dim, tile.tile_in_channels - depth)
                    for batch, out_row, out_col, rows in _pieces(conv, row, col):
                        sums = conv.sums_at(place, batch, out_row, out_col, channel)
                        yield Preload(
                            local=weights,
                            cols=width,
                            rows=deep,
                            destination=_ACCUMULATOR | 1 << ACCUMULATE_BIT | sums,
                            destination_cols=width,
                            destination_rows=rows,
                        )
                        in_row, in_col = _under(conv, out_row, row), _under(conv, out_col, col)
                        kind = ComputeKept if weights == GARBAGE else ComputePreloaded
                        yield kind(
                            local=conv.input_at(place, batch, in_row, in_col, depth),
                            cols=deep,
                            rows=rows,
                            bias_cols=width,
                            bias_rows=rows,
                        )
                        weights = GARBAGE


def _pieces(conv: Convolution, row: int, col: int) -> Iterator[tuple[int, int, int, int]]:
    """The outputs that a tap adds to: (image, row, column of the first, how many at once).

    They follow each other in a row; in every second column where the input is dilated, since a tap
    meets a pixel only there; over the images where those are the columns of the input.
    """
    apart, dilation = conv.loop.dilate_input, conv.strides.dilation
    turned = bool(conv.loop.transpose_input)
    for batch in range(0, conv.batches, conv.dim if turned else 1):
        for out_row in range(conv.rows):
            if apart and (row * dilation + out_row - conv.tile.pad_up) % 2:
                continue
            first = (conv.tile.pad_left - col * dilation) % 2 if apart else 0
            if turned:
                images = min(conv.dim, conv.batches - batch)
                for out_col in range(first, conv.cols, 1 << apart):
                    yield batch, out_row, out_col, images
                continue
            for out_col in range(first, conv.cols, conv.dim << apart):
                pixels = min(conv.dim << apart, conv.cols - out_col)
                yield batch, out_row, out_col, conv.undilated(pixels)


def _under(conv: Convolution, output: int, tap: int) -> int:
    """The row or column of the padded input that a tap sees at an output."""
    return conv.undilated(output * conv.outer.stride + tap * conv.strides.dilation)


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
                        if conv.loop.transpose_output:
                            pixel = (row * outer.out_cols + col) * outer.batch + batch
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
