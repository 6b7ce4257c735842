"""Pooling."""

import math

import numpy as np

from mcc.ir import Array, DType, Op, OpError, Tensor, Value

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


class Pool(Op):
    """Base: a window slides over the spatial axes. `ceil` keeps a last window that hangs over the end."""

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
        rank = len(self.kernel)
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

    def windows_of(self, x: Array, fill: object) -> Array:
        """[N, C, *out, *kernel] of an array in this op's layout."""
        strides, pads, dilations = self.geometry
        out = [self.result.tensor.dims[a] for a in spatial_axes(self.layout, x.ndim)]
        return windows(to_nchw(x, self.layout), self.kernel, strides, pads, dilations, out, fill)

    def window_axes(self) -> tuple[int, ...]:
        return tuple(range(-len(self.kernel), 0))

    def window_counts(self, dtype: np.dtype[np.generic], *, include_pad: bool) -> Array:
        """How many elements each window averages over, broadcastable to [1, 1, *out]."""
        strides, pads, dilations = self.geometry
        rank = len(self.kernel)
        counts = np.ones((1, 1, *(1,) * rank), dtype)
        for i, axis in enumerate(spatial_axes(self.layout, rank + 2)):
            size, out = self.x.tensor.dims[axis], self.result.tensor.dims[axis]
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
        lowest = -math.inf if self.x.tensor.dtype.is_float else self.x.tensor.dtype.limits[0]
        y = self.windows_of(x, lowest).max(self.window_axes())
        return from_nchw(y, self.layout)


class AvgPool(Pool, name="avg_pool"):
    """The mean of each window, over real elements only or with the padding (`include_pad`)."""

    include_pad: bool = False

    def infer(self) -> Tensor:
        if not self.x.tensor.dtype.is_float:
            raise OpError(f"x must be a float tensor, is {self.x.tensor}; see sum_pool", "x")
        return self.pooled(self.x.tensor.dtype)

    def evaluate(self, x: Array) -> Array:
        total = self.windows_of(x, 0).sum(self.window_axes(), dtype=x.dtype)
        counts = self.window_counts(x.dtype, include_pad=self.include_pad)
        return from_nchw(total / counts, self.layout)


class SumPool(Pool, name="sum_pool"):
    """The i32 sum of `x - zero` over each window of 8-bit integers; padding adds nothing."""

    zero: int = 0

    def infer(self) -> Tensor:
        if self.x.tensor.dtype not in (DType.I8, DType.U8):
            raise OpError(f"x must be i8 or u8, is {self.x.tensor}", "x")
        return self.pooled(DType.I32)

    def evaluate(self, x: Array) -> Array:
        shifted = x.astype(np.int32) - np.int32(self.zero)
        return from_nchw(
            self.windows_of(shifted, 0).sum(self.window_axes(), dtype=np.int32), self.layout
        )


def global_kernel(x: Value, layout: Layout = "nchw") -> tuple[int, ...]:
    """The kernel of a pooling over the whole of x's spatial extent."""
    return tuple(x.tensor.dims[axis] for axis in spatial_axes(layout, x.tensor.rank))


__all__ = ["AvgPool", "MaxPool", "Pool", "SumPool", "channel_axis", "global_kernel"]
