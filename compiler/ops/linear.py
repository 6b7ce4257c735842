"""Convolution and matrix multiplication, in float and in integers (i8 or u8 in, i32 out)."""

import math
from typing import Any

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
    for name, dtype in (("x", left), ("w", right)):
        if not dtype.is_number and dtype not in small:
            raise OpError(f"{name} must be a tensor of numbers, is {dtype}", name)
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

    y = clamp(sum(x * w) + b + r, lo, hi); with integers, `r` (i8) enters as k * r, k an i32 per
    output channel.

    x is [N, C, *S] (`nchw`) or [N, *S, C] (`nhwc`), w always [O, C/groups, *K], b [O], y like x
    with O channels. `pads` are (begin..., end...); padding inserts `pad_value`, which is the zero
    point of an affine x. An affine zero point is folded into b by who lowers a quantized model.

    16-bit floats are multiplied and added in float32 and rounded once.
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
        if self.groups < 1:
            raise OpError(f"groups must be at least 1, is {self.groups}", "groups")
        if min(w.dims[2:]) < 1:
            raise OpError(f"w {w} has an empty kernel", "w")
        if dtype.is_integer:
            low, high = x.dtype.limits
            if not low <= self.pad_value <= high:
                raise OpError(f"{self.pad_value} is no {x.dtype}", "pad_value")
        channel = channel_axis(self.layout, x.rank)
        channels, outputs = x.shape[channel], w.dims[0]
        if channels != w.dims[1] * self.groups:
            wanted = w.dims[1] * self.groups
            raise OpError(
                f"x has {channels} channels, w expects {wanted} (groups={self.groups})", "w"
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
        dtype = self.result.tensor.dtype
        rank = x.ndim - 2
        axes = spatial_axes(self.layout, x.ndim)
        out = Tensor(dtype, tuple(self.result.tensor.shape[axis] for axis in axes)).dims
        x = to_nchw(x, self.layout)
        outputs, kernel = w.shape[0], w.shape[2:]
        wide = _arithmetic(
            self.x.tensor.dtype, dtype, w.reshape(outputs, math.prod(w.shape[1:])), 1
        )
        depth = math.prod(w.shape[1:])
        rows = w.astype(wide).reshape(self.groups, outputs // self.groups, depth)
        y = np.empty((x.shape[0], self.groups, rows.shape[1], math.prod(out)), wide)
        taps_first = (0, 1, 2, *range(3 + rank, 3 + 2 * rank), *range(3, 3 + rank))
        # In slices of the batch: the windows written out are kernel times as large as x.
        batch = max(1, _COLUMN_LIMIT // max(1, x[:1].size * math.prod(kernel)))
        for start in range(0, x.shape[0], batch):
            part = np.ascontiguousarray(x[start : start + batch], wide)
            views = windows(part, kernel, *self.geometry, out, self.pad_value)
            views = views.reshape(len(part), self.groups, w.shape[1], *views.shape[2:])
            into = y[start : start + batch]
            if views.shape[2] == 1:  # depthwise: a matrix product would have a single row
                _depthwise(views, rows.reshape(*rows.shape[:2], *kernel), into)
                continue
            columns = views.transpose(taps_first).reshape(
                len(part), self.groups, depth, into.shape[-1]
            )
            np.matmul(rows, columns, out=into)
        y = from_nchw(y.reshape(x.shape[0], outputs, *out), self.layout)
        return _finish(y, b, r, k, self, channel_axis(self.layout, y.ndim))


class Matmul(Op, name="matmul"):
    """Matrix product with everything that fuses into it; leading dimensions broadcast as in numpy.

    y = clamp(x @ w + b + r, lo, hi); with integers, `r` (i8) enters as k * r. x is [..., M, K] or
    [K], w [..., K, N] or [K], b [N] (a scalar where w is [K]), r like y, k like b.
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
        dtype = self.result.tensor.dtype
        wide = _arithmetic(self.x.tensor.dtype, dtype, w, -2 if w.ndim > 1 else -1)
        y = np.asarray(np.matmul(x.astype(wide), w.astype(wide)))
        return _finish(y, b, r, k, self, -1 if w.ndim > 1 else None)


_COLUMN_LIMIT = 1 << 25
"""Elements of the windows that a convolution writes out at once: 128 MB of float32."""
_CACHE_BYTES = 1 << 19
"""Of a depthwise convolution's sums that are added to, tap after tap."""


def _arithmetic(x: DType, out: DType, w: Array, axis: int) -> np.dtype[Any]:
    """The numpy type to multiply and add in; `axis` of the weights is summed over.

    numpy has fast products of floats only. Sums of products of 8-bit integers are exact in float32
    as long as no partial sum can reach 2^24 (the actual weights tell), and in float64 always.
    """
    if out.is_float:
        return np.dtype(np.float64 if out is DType.F64 else np.float32)
    if out is not DType.I32 or x is DType.I32:
        return np.dtype(np.uint64 if out is DType.U64 else np.int64)
    largest = max(-x.limits[0], x.limits[1])
    weight = int(np.abs(w.astype(np.int64)).sum(axis).max(initial=0))
    return np.dtype(np.float32 if largest * weight < 1 << 24 else np.float64)


def _depthwise(views: Array, w: Array, into: Array) -> None:
    """One input channel per group: views [N, G, 1, *out, *kernel], w [G, M, *kernel]."""
    kernel = w.shape[2:]
    rank = len(kernel)
    out = views.shape[3 : 3 + rank]
    y = into.reshape(len(views), *w.shape[:2], *out)
    if math.prod(out) < math.prod(kernel):
        points, taps = "abcdefg"[:rank], "tuvwxyz"[:rank]
        y[...] = np.einsum(f"ng{points}{taps},gm{taps}->ngm{points}", views[:, :, 0], w)
        return
    # Tap by tap over as many groups as the processor's cache holds: einsum would sum short rows.
    factors = w.reshape(*w.shape[:2], *(1,) * rank, *kernel)
    size = max(1, _CACHE_BYTES // max(1, y[:, :1].nbytes))
    for start in range(0, len(w), size):
        groups = slice(start, start + size)
        sums = y[:, groups]
        sums[...] = 0
        product = np.empty_like(sums)
        for tap in np.ndindex(*kernel):
            np.multiply(views[(..., *tap)][:, groups], factors[(groups, ..., *tap)], out=product)
            sums += product


def _finish(
    y: Array,
    b: Array | None,
    r: Array | None,
    k: Array | None,
    op: Conv | Matmul,
    axis: int | None,
) -> Array:
    """Bias, residual and clamp on a sum of products; integers wrap like their type.

    `axis` holds the channels of y; None when y has no such axis.
    """
    dtype = op.result.tensor.dtype
    if dtype.is_integer:
        y = y.astype(np.uint64 if dtype is DType.U64 else np.int64)
    channels = [1] * y.ndim
    if axis is not None:
        channels[axis] = -1
    if b is not None:
        y = y + b.reshape(channels).astype(y.dtype)
    if r is not None:
        r = r.astype(y.dtype)
        y = y + (r if k is None else r * k.reshape(channels).astype(y.dtype))
    return clamp(y.astype(dtype.numpy), op.lo, op.hi)
