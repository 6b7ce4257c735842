"""Pooling."""

from typing import Any

import numpy as np

from mcc.ir import Array, DType, Op, OpError, Tensor, Value

from .window import (
    Layout,
    defaults,
    from_nchw,
    lowest,
    output_extent,
    spatial_axes,
    to_nchw,
    windows,
)


class Pool(Op):
    """Base: a window slides over the spatial axes.

    `ceil` keeps a last window that hangs over the end.
    """

    x: Value
    kernel: tuple[int, ...]
    strides: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    ceil: bool = False
    layout: Layout = "nchw"

    @property
    def geometry(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Strides, pads and dilations, defaults filled in."""
        return defaults(len(self.kernel), self.strides, self.pads, self.dilations)

    def pooled(self, dtype: DType) -> Tensor:
        """The result type with elements of `dtype`."""
        x = self.x.tensor
        if not x.dtype.is_number:
            raise OpError(f"x must be a tensor of numbers, is {x}", "x")
        rank = len(self.kernel)
        if min(self.kernel, default=0) < 1:
            raise OpError(f"kernel {list(self.kernel)} must be of positive numbers", "kernel")
        if x.rank != rank + 2:
            raise OpError(f"x is {x}, a kernel of {rank} numbers needs rank {rank + 2}", "x")
        strides, pads, dilations = self.geometry
        shape = list(x.shape)
        for i, axis in enumerate(spatial_axes(self.layout, x.rank)):
            size = x.shape[axis]
            if not isinstance(size, int):
                raise OpError(f"spatial dimension {size} of x must be an integer", "x")
            shape[axis] = output_extent(
                size, self.kernel[i], strides[i], pads[i], pads[rank + i], dilations[i], self.ceil
            )
        return Tensor(dtype, tuple(shape))

    def windows_of(self, x: Array, fill: float) -> Array:
        """[N, C, *out, *kernel] of an array in this op's layout."""
        axes = spatial_axes(self.layout, x.ndim)
        shape = self.result.tensor.shape
        out = Tensor(self.x.tensor.dtype, tuple(shape[axis] for axis in axes)).dims
        return windows(to_nchw(x, self.layout), self.kernel, *self.geometry, out, fill)

    def window_axes(self) -> tuple[int, ...]:
        return tuple(range(-len(self.kernel), 0))

    def window_counts(self, dtype: np.dtype[Any], *, include_pad: bool) -> Array:
        """How many elements each window averages over, broadcastable to [1, 1, *out]."""
        strides, pads, dilations = self.geometry
        rank = len(self.kernel)
        counts = np.ones((1, 1, *(1,) * rank), dtype)
        for i, axis in enumerate(spatial_axes(self.layout, rank + 2)):
            sides = Tensor(DType.I1, (self.x.tensor.shape[axis], self.result.tensor.shape[axis]))
            size, out = sides.dims
            starts = np.arange(out)[:, None] * strides[i] - pads[i]
            taps = starts + np.arange(self.kernel[i])[None] * dilations[i]
            low, high = (-pads[i], size + pads[rank + i]) if include_pad else (0, size)
            along = ((taps >= low) & (taps < high)).sum(1).astype(dtype)
            counts = counts * along.reshape((1, 1) + (1,) * i + (-1,) + (1,) * (rank - 1 - i))
        return counts


class MaxPool(Pool, name="max_pool"):
    """The largest element of each window; padding never wins."""

    def infer(self) -> Tensor:
        return self.pooled(self.x.tensor.dtype)

    def evaluate(self, x: Array) -> Array:
        y = self.windows_of(x, lowest(self.x.tensor.dtype)).max(self.window_axes())
        return from_nchw(y, self.layout)


class AvgPool(Pool, name="avg_pool"):
    """The mean of each window, over real elements only or with the padding (`include_pad`).

    16-bit floats are added in float32.
    """

    include_pad: bool = False

    def infer(self) -> Tensor:
        if not self.x.tensor.dtype.is_float:
            raise OpError(f"x must be a float tensor, is {self.x.tensor}; see sum_pool", "x")
        return self.pooled(self.x.tensor.dtype)

    def evaluate(self, x: Array) -> Array:
        wide = np.dtype(np.float64 if self.x.tensor.dtype is DType.F64 else np.float32)
        total = self.windows_of(x.astype(wide), 0).sum(self.window_axes(), dtype=wide)
        counts = self.window_counts(wide, include_pad=self.include_pad)
        return from_nchw((total / counts).astype(x.dtype), self.layout)


class SumPool(Pool, name="sum_pool"):
    """The i32 sum of `x - zero` over each window of 8-bit integers; padding adds nothing."""

    zero: int = 0

    def infer(self) -> Tensor:
        if self.x.tensor.dtype not in (DType.I8, DType.U8):
            raise OpError(f"x must be i8 or u8, is {self.x.tensor}", "x")
        low, high = self.x.tensor.dtype.limits
        if not low <= self.zero <= high:
            raise OpError(f"{self.zero} is no {self.x.tensor.dtype}", "zero")
        return self.pooled(DType.I32)

    def evaluate(self, x: Array) -> Array:
        shifted = x.astype(np.int32) - np.int32(self.zero)
        y = self.windows_of(shifted, 0).sum(self.window_axes(), dtype=np.int32)
        return from_nchw(y, self.layout)


def global_kernel(x: Value, layout: Layout = "nchw") -> tuple[int, ...]:
    """The kernel of a pooling over the whole of x's spatial extent."""
    return tuple(x.tensor.dims[axis] for axis in spatial_axes(layout, x.tensor.rank))
