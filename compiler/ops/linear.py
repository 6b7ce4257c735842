"""Convolution and matrix multiplication, in float and in integers (i8 or u8 in, i32 out)."""

import math

import numpy as np

from mcc.ir import Array, Dim, DType, Op, OpError, Tensor, Value

from .unary import clamp
from .window import (
    Layout,
    channel_axis,
    defaults,
    from_nchw,
    output_extent,
    spatial_axes,
    to_nchw,
    windows,
)


def product_dtype(x: Value, w: Value) -> DType:
    """The dtype of a sum of products: floats keep theirs, 8-bit integers accumulate in i32."""
    left, right = x.tensor.dtype, w.tensor.dtype
    small = (DType.I8, DType.U8, DType.I4, DType.U4)
    if left in small and right in small:
        return DType.I32
    if left is not right:
        raise OpError(f"x is {left}, w is {right}; they must agree", "w")
    return left


def _check_side(name: str, value: Value | None, dtype: DType, shape: tuple[Dim, ...]) -> None:
    if value is not None and (value.tensor.dtype, value.tensor.shape) != (dtype, shape):
        raise OpError(f"{name} is {value.tensor}, expected {Tensor(dtype, shape)}", name)


class Conv(Op, name="conv"):
    """Convolution with everything that fuses into it.

    y = clamp(sum(x * w) + b + r, lo, hi); with integers, `r` (i8) enters as k * r, k an i32 per output channel.

    x is [N, C, *S] (`nchw`) or [N, *S, C] (`nhwc`), w always [O, C/groups, *K], b [O], y like x with O channels.
    `pads` are (begin..., end...); padding inserts `pad_value`, which is the zero point of an affine x. An affine
    zero point is folded into b by who lowers a quantized model.
    """

    x: Value
    w: Value
    b: Value | None = None
    r: Value | None = None
    k: Value | None = None
    strides: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    groups: int = 1
    pad_value: int = 0
    lo: float = -math.inf
    hi: float = math.inf
    layout: Layout = "nchw"

    def infer(self) -> Tensor:
        x, w = self.x.tensor, self.w.tensor
        if x.rank < 3 or w.rank != x.rank:
            raise OpError(f"x is {x}, w is {w}: both need the same rank, at least 3", "w")
        dtype = product_dtype(self.x, self.w)
        channel = channel_axis(self.layout, x.rank)
        channels, outputs = x.shape[channel], w.dims[0]
        if channels != w.dims[1] * self.groups:
            raise OpError(
                f"x has {channels} channels, w expects {w.dims[1] * self.groups} (groups={self.groups})",
                "w",
            )
        if outputs % self.groups:
            raise OpError(f"{outputs} output channels do not divide into {self.groups} groups", "w")
        strides, pads, dilations = self.geometry
        shape = list(x.shape)
        shape[channel] = outputs
        rank = x.rank - 2
        for i, axis in enumerate(spatial_axes(self.layout, x.rank)):
            size = x.shape[axis]
            if not isinstance(size, int):
                raise OpError(f"spatial dimension {size} of x must be an integer", "x")
            shape[axis] = output_extent(
                size, w.dims[2 + i], strides[i], pads[i], pads[rank + i], dilations[i]
            )
        _check_side("b", self.b, dtype, (outputs,))
        residual = DType.I8 if self.k is not None else dtype
        _check_side("r", self.r, residual, tuple(shape))
        _check_side("k", self.k, dtype, (outputs,))
        return Tensor(dtype, tuple(shape))

    @property
    def geometry(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Strides, pads and dilations, defaults filled in."""
        return defaults(self.x.tensor.rank - 2, self.strides, self.pads, self.dilations)

    @property
    def macs(self) -> int:
        """Multiply-accumulates: output elements times the taps of one output channel."""
        return self.result.tensor.size * math.prod(self.w.tensor.dims[1:])

    def evaluate(
        self,
        x: Array,
        w: Array,
        b: Array | None,
        r: Array | None,
        k: Array | None,
    ) -> Array:
        rank = x.ndim - 2
        dtype = self.result.tensor.dtype.numpy
        strides, pads, dilations = self.geometry
        x, kernel = to_nchw(x, self.layout), w.shape[2:]
        shape = to_nchw(np.empty(self._concrete(x), np.int8), self.layout).shape
        if dtype.kind != "f":
            # Products of 8-bit integers and their int32 sums are exact in float64, which has a fast matmul.
            x, w = x.astype(np.float64), w.astype(np.float64)
        views = windows(x, kernel, strides, pads, dilations, shape[2:], self.pad_value)
        batch, outputs = x.shape[0], w.shape[0]
        per_group, out_group = w.shape[1], outputs // self.groups
        y = np.empty((batch, outputs, math.prod(shape[2:])), x.dtype)
        axes = (0, 1, *range(2 + rank, 2 + 2 * rank), *range(2, 2 + rank))
        if per_group == 1 and out_group == 1:
            letters = "abcdefg"[:rank]
            taps = "uvwxyz"[:rank]
            y = np.einsum(f"nm{letters}{taps},m{taps}->nm{letters}", views, w[:, 0]).reshape(
                y.shape
            )
        else:
            for g in range(self.groups):
                part = views[:, g * per_group : (g + 1) * per_group].transpose(axes)
                columns = part.reshape(batch, per_group * math.prod(kernel), -1)
                rows = w[g * out_group : (g + 1) * out_group].reshape(out_group, -1)
                y[:, g * out_group : (g + 1) * out_group] = np.matmul(rows, columns)
        y = from_nchw(y.reshape(shape), self.layout)
        return finish(y, b, r, k, self, dtype, channel_axis(self.layout, y.ndim))

    def _concrete(self, x: Array) -> tuple[int, ...]:
        """The result's shape for an array with its channels second, symbols replaced by what x has."""
        dims = [dim if isinstance(dim, int) else -1 for dim in self.result.tensor.shape]
        dims[0] = x.shape[0]
        return tuple(dims)


class Matmul(Op, name="matmul"):
    """Matrix product with everything that fuses into it; leading dimensions broadcast as in numpy.

    y = clamp(x @ w + b + r, lo, hi); with integers, `r` (i8) enters as k * r. x is [..., M, K] or [K], w [..., K, N]
    or [K], b [N], r like y, k [N].
    """

    x: Value
    w: Value
    b: Value | None = None
    r: Value | None = None
    k: Value | None = None
    lo: float = -math.inf
    hi: float = math.inf

    def infer(self) -> Tensor:
        x, w = self.x.tensor, self.w.tensor
        dtype = product_dtype(self.x, self.w)
        if not x.rank or not w.rank:
            raise OpError("a scalar cannot be multiplied as a matrix", "w" if x.rank else "x")
        depth = w.shape[-2] if w.rank > 1 else w.shape[0]
        if x.shape[-1] != depth:
            raise OpError(f"x {x} has {x.shape[-1]} columns, w {w} has {depth} rows", "w")
        left, right = x.shape[:-2], w.shape[:-2]
        rank = max(len(left), len(right))
        lead: list[Dim] = []
        for a, b in zip(
            (1,) * (rank - len(left)) + left, (1,) * (rank - len(right)) + right, strict=True
        ):
            if a != b and 1 not in (a, b):
                raise OpError(f"leading dimensions of x {x} and w {w} do not broadcast", "w")
            lead.append(b if a == 1 else a)
        rows = x.shape[-2:-1]
        columns = w.shape[-1:] if w.rank > 1 else ()
        shape = (*lead, *rows, *columns)
        _check_side("b", self.b, dtype, columns)
        _check_side("r", self.r, DType.I8 if self.k is not None else dtype, shape)
        _check_side("k", self.k, dtype, columns)
        return Tensor(dtype, shape)

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.result.tensor.size * self.x.tensor.dims[-1]

    def evaluate(
        self,
        x: Array,
        w: Array,
        b: Array | None,
        r: Array | None,
        k: Array | None,
    ) -> Array:
        dtype = self.result.tensor.dtype.numpy
        if dtype.kind != "f":
            x, w = x.astype(np.float64), w.astype(np.float64)
        return finish(np.matmul(x, w), b, r, k, self, dtype, -1)


def finish(
    y: Array,
    b: Array | None,
    r: Array | None,
    k: Array | None,
    op: Conv | Matmul,
    dtype: np.dtype[np.generic],
    axis: int,
) -> Array:
    """Bias, residual and clamp on a sum of products; integers wrap like int32."""
    if dtype.kind != "f":
        y = y.astype(np.int64)
    channels = [1] * y.ndim
    channels[axis] = -1
    if b is not None:
        y = y + b.reshape(channels)
    if r is not None:
        y = y + (r if k is None else r.astype(np.int64) * k.reshape(channels))
    return clamp(y.astype(dtype), op.lo, op.hi)
