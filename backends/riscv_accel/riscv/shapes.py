"""Shapes and strides as the C kernels take them."""

from collections.abc import Sequence

import numpy as np

from mcc.ir import Array, DType, Value
from mcc.ops import channel_axis, spatial_axes


def shift_of(scale: Array | None) -> int | None:
    """The n of a scalar that is exactly 2^-n."""
    if scale is None or scale.ndim:
        return None
    mantissa, exponent = np.frexp(scale)
    return 1 - int(exponent) if mantissa == 0.5 else None


def is_unsigned(value: Value | None) -> int:
    return int(value is not None and value.tensor.dtype is DType.U8)


def spans_of(x: Value, axis: int | None) -> tuple[int, int, int]:
    """Elements before an axis, along it and behind it; one span of all without an axis."""
    dims = x.tensor.dims
    if axis is None:
        return 1, 1, x.tensor.size
    return int(np.prod(dims[:axis])), dims[axis], int(np.prod(dims[axis + 1 :]))


def strides_of(dims: Sequence[int]) -> tuple[int, ...]:
    """Of a dense array, in elements."""
    strides = [1] * len(dims)
    for axis in range(len(dims) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * dims[axis + 1]
    return tuple(strides)


def repeating_strides(dims: Sequence[int], target: Sequence[int]) -> tuple[int, ...]:
    """Strides that read an array of `dims` as one of `target`, by numpy's rule."""
    own = [0 if size == 1 else step for size, step in zip(dims, strides_of(dims), strict=True)]
    return (0,) * (len(target) - len(dims)) + tuple(own)


def repeating(lead: Sequence[int], target: Sequence[int], size: int) -> tuple[int, ...]:
    return tuple(step * size for step in repeating_strides(lead, target))


def broadcast_strides(
    a: Value, b: Value, y: Value
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """The result's dimensions with both operands' strides; one dimension where all are dense."""
    dims = y.tensor.dims
    if a.tensor.dims == b.tensor.dims == dims:
        return (y.tensor.size,), (1,), (1,)
    return (
        dims,
        repeating_strides(a.tensor.dims, dims),
        repeating_strides(b.tensor.dims, dims),
    )


def three(numbers: Sequence[int], default: int) -> tuple[int, ...]:
    """Up to three spatial numbers, the missing first ones filled in."""
    return (default,) * (3 - len(numbers)) + tuple(numbers)


def image_fields(x: Value, y: Value, layout: str) -> dict[str, object]:
    """Spatial sizes and strides of x and y."""
    found: dict[str, object] = {}
    axes = spatial_axes(layout, x.tensor.rank)
    channel = channel_axis(layout, x.tensor.rank)
    for name, value, sizes in (("x", x, "in"), ("y", y, "out")):
        dims, strides = value.tensor.dims, strides_of(value.tensor.dims)
        found[sizes] = three([dims[axis] for axis in axes], 1)
        found[f"{name}_batch"] = strides[0]
        found[f"{name}_channel"] = strides[channel]
        found[f"{name}_space"] = three([strides[axis] for axis in axes], 0)
    return found


def clamp_fields(lo: float, hi: float) -> dict[str, object]:
    """Bounds for both kinds of arithmetic."""
    least, most = DType.I32.limits
    return {
        "lo": int(np.ceil(max(lo, least))),
        "hi": int(np.floor(min(hi, most))),
        "lo_float": float(lo),
        "hi_float": float(hi),
    }
