"""What a layer computes, read off its tensor ops: products, pools and tables."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from mcc.ir import Op, OpError, Value, Yield, constant_of
from mcc.ops import Conv, Lookup, Matmul, MaxPool, Requantize, Reshape, SumPool, spatial_axes

from .structure import Layer

Int8 = npt.NDArray[np.int8]
Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Image:
    """An NHWC activation in DRAM: where pixel (n, h, w) starts, and how many channels it has."""

    operand: int
    """Which operand of the layer; -1 is a row of ones that the compiler provides."""
    batch: int
    height: int
    width: int
    channels: int
    image_stride: int
    row_stride: int
    pixel_stride: int
    offset: int = 0
    ring: int = 0
    """Rows that its buffer holds where not all of them: row r lies where row r % ring does."""

    @property
    def dense(self) -> bool:
        """Whether its pixels lie one after the other without gaps."""
        return (
            self.pixel_stride == self.channels
            and self.row_stride == self.width * self.pixel_stride
            and self.image_stride == self.height * self.row_stride
            and not self.ring
        )

    def row_offset(self, row: int) -> int:
        """Bytes from the start to a row."""
        return (row % self.ring if self.ring else row) * self.row_stride

    def one(self, n: int) -> "Image":
        """The n-th image alone."""
        return replace(self, batch=1, offset=self.offset + n * self.image_stride)


@dataclass(frozen=True)
class Window:
    """A window sliding over an image, (rows, columns) each."""

    size: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (0, 0)
    """Above and to the left; what hangs over below and to the right follows from the output."""


@dataclass(frozen=True)
class Exit:
    """What happens on the way out of the accumulator."""

    multiplier: Float32
    """A scalar, or one for each output channel."""
    zero: int = 0
    lo: int = -128
    hi: int = 127
    table: Int8 | None = None
    """For -128 to 127, in that order."""
    pool: Window | None = None
    """A maximum over the finished image, -128 outside."""
    pooled: tuple[int, int] = (0, 0)
    """Rows and columns that the pool leaves."""


@dataclass(frozen=True)
class Product:
    """A convolution: out[n, h, w, :] = exit(bias + the sum over taps of x[tap] @ w[tap])."""

    x: Image
    window: Window
    height: int
    width: int
    """Of the output, before pooling."""
    channels: int
    weights: Int8 | None
    """[rows, columns, C / groups, O]; None where the weights are an activation, `w`."""
    groups: int
    pad_value: int
    bias: Int32 | None
    residual: Image | None
    factors: Int32 | None
    """What the residual is multiplied by, for each output channel."""
    exit: Exit
    w: Image | None = None
    """Weights that are an activation: C rows (its width) of O channels."""
    ring: int = 0
    """Rows of the buffer for its result where that holds not all of them, as in `Image`."""

    def rows_read(self, rows: range) -> range:
        """The rows of the input that some rows of the output, before pooling, are computed from."""
        window = self.window
        first = rows.start * window.stride[0] - window.pad[0]
        last = (rows.stop - 1) * window.stride[0] - window.pad[0]
        last += (window.size[0] - 1) * window.dilation[0]
        return range(max(first, 0), min(last + 1, self.x.height))


@dataclass(frozen=True)
class Move:
    """A maximum pool or a table alone: from memory through the scratchpad back to memory."""

    x: Image
    height: int
    width: int
    pool: Window | None
    table: Int8 | None


@dataclass(frozen=True)
class Chain:
    """Products of which each reads what the one before makes; nothing else reads that.

    The operand that a product reads of the one before it comes after those of the layer.
    """

    products: tuple[Product, ...]


def read_layer(layer: Layer) -> Product | Move | Chain:
    """The product, the chain of products or the move that a layer's region is.

    Raises:
        OpError: where it is none of them.
    """
    ops = [op for op in layer.body if constant_free(op)]
    arguments = {value: index for index, value in enumerate(layer.body.args)}
    starts = [i for i, op in enumerate(ops) if isinstance(op, Conv | Matmul | SumPool)]
    products: list[Product] = []
    for start, stop in pairwise([*starts, len(ops)]) if len(starts) > 1 else ():
        # The reshapes in front of the first product are its own.
        part = _read(ops[start if products else 0 : stop], arguments)
        if not isinstance(part, Product):
            raise OpError("what a layer chains are products")
        products.append(part)
        arguments[ops[stop - 1].results[0]] = len(arguments)
    return Chain(tuple(products)) if products else _read(ops, arguments)


def _read(ops: Sequence[Op], arguments: dict[Value, int]) -> Product | Move:
    core = [op for op in ops if not isinstance(op, Reshape)]
    pool = core.pop() if len(core) > 1 and isinstance(core[-1], MaxPool) else None
    lookup = core.pop() if len(core) > 1 and isinstance(core[-1], Lookup) else None
    table = _table(lookup)
    match core:
        case [Conv() as conv, Requantize() as requantize]:
            return _conv(conv, arguments, _exit(requantize, table, pool))
        case [Matmul() as matmul, Requantize() as requantize]:
            return _matmul(matmul, arguments, _exit(requantize, table, pool))
        case [SumPool() as sums, Requantize() as requantize]:
            return _sums(sums, arguments, _exit(requantize, table, pool))
        case [MaxPool() as alone]:
            return _move(alone, arguments, _window(alone), None)
        case [Lookup() as alone]:
            return _move(alone, arguments, None, _table(alone))
        case _:
            names = ", ".join(op.op_name for op in core)
            raise OpError(f"no layer of the accelerator consists of {names}")


def constant_free(op: Op) -> bool:
    """Neither a constant nor the end of a region."""
    return bool(op.operands) and not isinstance(op, Yield)


def _image(value: Value, arguments: dict[Value, int]) -> Image:
    """A rank 3 or 4 NHWC value as an image; a rank 3 one has one row."""
    n, *space, channels = value.tensor.dims
    height, width = (1, *space) if len(space) == 1 else (space[0], space[1])
    return Image(
        operand=arguments[source(value)],
        batch=n,
        height=height,
        width=width,
        channels=channels,
        image_stride=height * width * channels,
        row_stride=width * channels,
        pixel_stride=channels,
    )


def source(value: Value) -> Value:
    """The value that a chain of reshapes starts from: the same bytes."""
    while isinstance(value.op, Reshape):
        value = value.op.x
    return value


def _pair(numbers: tuple[int, ...], default: int) -> tuple[int, int]:
    return (default, numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1])


def _window(op: Conv | MaxPool | SumPool) -> Window:
    strides, pads, dilations = op.geometry
    kernel = op.w.tensor.dims[2:] if isinstance(op, Conv) else op.kernel
    rank = len(kernel)
    return Window(_pair(kernel, 1), _pair(strides, 1), _pair(dilations, 1), _pair(pads[:rank], 0))


def _extent(op: Conv | MaxPool | SumPool) -> tuple[int, int]:
    dims = op.result.tensor.dims
    return _pair(tuple(dims[axis] for axis in spatial_axes(op.layout, len(dims))), 1)


def _exit(op: Requantize, table: Int8 | None, pool: Op | None) -> Exit:
    multiplier = np.asarray(_array(op.multiplier), np.float32)
    if multiplier.ndim and (multiplier == multiplier[0]).all():
        multiplier = multiplier[0]
    leaving = Exit(np.asarray(multiplier), op.zero, op.lo, op.hi, table)
    if not isinstance(pool, MaxPool):
        return leaving
    return replace(leaving, pool=_window(pool), pooled=_extent(pool))


def _table(op: Op | None) -> Int8 | None:
    return np.asarray(_array(op.table), np.int8) if isinstance(op, Lookup) else None


def _array(value: Value | None) -> "np.ndarray":
    found = constant_of(value)
    if found is None:
        raise OpError("a constant is needed")
    return found


def _conv(op: Conv, arguments: dict[Value, int], exit: Exit) -> Product:
    weights = np.asarray(_array(op.w), np.int8)
    if weights.ndim == 3:
        weights = weights[:, :, None, :]
    height, width = _extent(op)
    return Product(
        x=_image(op.x, arguments),
        window=_window(op),
        height=height,
        width=width,
        channels=weights.shape[0],
        weights=np.ascontiguousarray(weights.transpose(2, 3, 1, 0)),
        groups=op.groups,
        pad_value=op.pad_value,
        bias=_vector(op.b),
        residual=_image(op.r, arguments) if op.r is not None else None,
        factors=_factors(op),
        exit=exit,
    )


def _vector(value: Value | None) -> Int32 | None:
    return None if value is None else np.asarray(_array(value), np.int32)


def _factors(op: Conv | Matmul) -> Int32 | None:
    return None if op.r is None else _vector(op.k)


def _rows(value: Value, arguments: dict[Value, int]) -> Image:
    """[..., M, K] as an image of one row with M pixels a batch."""
    dims = value.tensor.dims
    channels = dims[-1]
    pixels = value.tensor.size // max(channels, 1)
    operand = arguments[source(value)]
    return Image(operand, 1, 1, pixels, channels, pixels * channels, pixels * channels, channels)


def _matmul(op: Matmul, arguments: dict[Value, int], exit: Exit) -> Product:
    x = _rows(op.x, arguments)
    constant = constant_of(op.w)
    w: Image | None = None
    weights: Int8 | None = None
    columns = op.w.tensor.dims[-1]
    if constant is not None:
        weights = np.asarray(constant, np.int8).reshape(1, 1, -1, columns)
    else:
        batch = int(np.prod(op.w.tensor.dims[:-2]))
        x = replace(x, batch=batch, width=x.width // batch)
        x = replace(x, image_stride=x.width * x.channels, row_stride=x.width * x.channels)
        w = _rows(op.w, arguments)
        w = replace(w, batch=batch, width=w.width // batch)
        w = replace(w, image_stride=w.width * w.channels, row_stride=w.width * w.channels)
    return Product(
        x=x,
        window=Window((1, 1)),
        height=1,
        width=x.width,
        channels=columns,
        weights=weights,
        groups=1,
        pad_value=0,
        bias=_vector(op.b),
        residual=_rows(op.r, arguments) if op.r is not None else None,
        factors=_factors(op),
        exit=exit,
        w=w,
    )


def _sums(op: SumPool, arguments: dict[Value, int], exit: Exit) -> Product:
    x = _image(op.x, arguments)
    window = _window(op)
    height, width = _extent(op)
    # Padding adds nothing: every window sums size elements, padded with zero, minus size * zero.
    bias = np.full(x.channels, -op.zero * window.size[0] * window.size[1], np.int32)
    whole = (height, width) == (1, 1) and window.size == (x.height, x.width)
    if whole and window.pad == (0, 0):
        # Ones times pixels: the pixels are the weights, 16 summed at a time.
        pixels = x.height * x.width
        ones = Image(-1, x.batch, 1, 1, pixels, 0, pixels, pixels)
        w = replace(x, height=1, width=pixels, row_stride=x.image_stride)
        return Product(
            ones, Window((1, 1)), 1, 1, x.channels, None, 1, 0, bias, None, None, exit, w
        )
    weights = np.ones((*window.size, 1, x.channels), np.int8)
    return Product(
        x, window, height, width, x.channels, weights, x.channels, op.zero, bias, None, None, exit
    )


def _move(
    op: MaxPool | Lookup, arguments: dict[Value, int], pool: Window | None, table: Int8 | None
) -> Move:
    if isinstance(op, MaxPool):
        height, width = _extent(op)
        return Move(_image(op.x, arguments), height, width, pool, table)
    size = op.x.tensor.size
    operand = arguments[source(op.x)]
    return Move(Image(operand, 1, 1, 1, size, size, size, size), 1, 1, None, table)
