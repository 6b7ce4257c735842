"""Convolutions, and the window geometry that they share with pooling."""
# ruff: noqa: N802, N803  (names are ONNX's)

from collections.abc import Sequence

import numpy as np

import mcc.ops as ops
from mcc.ir import Array, OpError, Value, constant, constant_of

from ..registry import Ints, UnsupportedError, operator


def resolved_pads(
    auto_pad: str,
    pads: Sequence[int],
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> tuple[int, ...]:
    """Explicit pads (begin..., end...), by the rule for `auto_pad` in ONNX's definition of Conv."""
    rank = len(sizes)
    if auto_pad in ("", "NOTSET"):
        return tuple(pads) or (0,) * (2 * rank)
    if auto_pad == "VALID":
        return (0,) * (2 * rank)
    if auto_pad not in ("SAME_UPPER", "SAME_LOWER"):
        raise OpError(f"auto_pad is {auto_pad!r}; ONNX knows NOTSET, VALID, SAME_UPPER, SAME_LOWER")
    begin: list[int] = []
    end: list[int] = []
    for axis, size in enumerate(sizes):
        stride = strides[axis] if strides else 1
        reach = (dilations[axis] if dilations else 1) * (kernel[axis] - 1) + 1
        total = max((-(-size // stride) - 1) * stride + reach - size, 0)
        small, large = total // 2, total - total // 2
        begin.append(small if auto_pad == "SAME_UPPER" else large)
        end.append(large if auto_pad == "SAME_UPPER" else small)
    return (*begin, *end)


@operator(since=1)
def Conv(
    X: Value,
    W: Value,
    B: Value | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints = (),
    group: int = 1,
    kernel_shape: Ints = (),
    pads: Ints = (),
    strides: Ints = (),
) -> Value:
    spatial = _spatial_pads(X, W, auto_pad, dilations, kernel_shape, pads, strides)
    return ops.Conv(
        X, W, b=B, strides=strides, pads=spatial, dilations=dilations, groups=group
    ).result


@operator(since=1)
def ConvTranspose(
    X: Value,
    W: Value,
    B: Value | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints = (),
    group: int = 1,
    kernel_shape: Ints = (),
    output_padding: Ints = (),
    output_shape: Ints = (),
    pads: Ints = (),
    strides: Ints = (),
) -> Value:
    """A convolution of X with zeros between its elements, and of the turned weights."""
    sizes, kernel = X.tensor.dims[2:], W.tensor.dims[2:]
    rank = len(sizes)
    steps, gaps = strides or (1,) * rank, dilations or (1,) * rank
    extra = output_padding or (0,) * rank
    reach = [gap * (taps - 1) for gap, taps in zip(gaps, kernel, strict=True)]
    cropped = pads or (0,) * (2 * rank)
    if output_shape or auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        wanted = output_shape[-rank:] or [n * step for n, step in zip(sizes, steps, strict=True)]
        begin: list[int] = []
        end: list[int] = []
        for i, want in enumerate(wanted):
            total = steps[i] * (sizes[i] - 1) + extra[i] + reach[i] + 1 - want
            small = total // 2
            begin.append(small if auto_pad == "SAME_UPPER" else total - small)
            end.append(total - begin[-1])
        cropped = (*begin, *end)
    before = [reach[i] - cropped[i] for i in range(rank)]
    # Spreading leaves zeros behind the last element too.
    after = [reach[i] - cropped[rank + i] + extra[i] - (steps[i] - 1) for i in range(rank)]
    x = _spread(X, steps)
    if min((*before, *after), default=0) < 0:
        x = ops.Pad(x, (0, 0, *before, 0, 0, *after)).result
        before, after = [0] * rank, [0] * rank
    w = _turned(W, group)
    return ops.Conv(x, w, b=B, pads=(*before, *after), dilations=dilations, groups=group).result


def _spread(x: Value, steps: Sequence[int]) -> Value:
    """`step - 1` zeros behind each element along the spatial axes."""
    if all(step == 1 for step in steps):
        return x
    batch, channels, *sizes = x.tensor.dims
    apart = ops.Reshape(x, (batch, channels, *(n for size in sizes for n in (size, 1)))).result
    zeros = [n for step in steps for n in (0, step - 1)]
    wide = ops.Pad(apart, (*(0,) * (2 + len(zeros)), 0, 0, *zeros)).result
    whole = (size * step for size, step in zip(sizes, steps, strict=True))
    return ops.Reshape(wide, (batch, channels, *whole)).result


def _turned(w: Value, groups: int) -> Value:
    """[C, O / groups, *K] as the weights [O, C / groups, *K] of a convolution, back to front."""
    channels, outputs, *kernel = w.tensor.dims
    rank = len(kernel)
    split = ops.Reshape(w, (groups, channels // groups, outputs, *kernel)).result
    order = (0, 2, 1, *range(3, 3 + rank))
    shape = (groups * outputs, channels // groups, *kernel)
    swapped = ops.Reshape(ops.Transpose(split, order).result, shape).result
    starts = (0, 0, *(taps - 1 for taps in kernel))
    stops = (*shape[:2], *(-1,) * rank)
    return ops.Slice(swapped, starts, stops, (1, 1, *(-1,) * rank)).result


@operator(since=10)
def ConvInteger(
    x: Value,
    w: Value,
    x_zero_point: Array | None = None,
    w_zero_point: Array | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints = (),
    group: int = 1,
    kernel_shape: Ints = (),
    pads: Ints = (),
    strides: Ints = (),
) -> Value:
    if w_zero_point is not None and np.any(w_zero_point):
        raise UnsupportedError("its w_zero_point is not 0: mcc's weights are symmetric")
    spatial = _spatial_pads(x, w, auto_pad, dilations, kernel_shape, pads, strides)
    zero = 0 if x_zero_point is None else int(x_zero_point.item())
    bias = None
    if zero:
        # sum((x - z) * w) = sum(x * w) - z * sum(w), where padding inserts z.
        weights = constant_of(w)
        if weights is None:
            raise UnsupportedError("its weights are no constant, and its x_zero_point is not 0")
        sums = weights.astype(np.int64).sum(axis=tuple(range(1, weights.ndim)))
        bias = constant((-zero * sums).astype(np.int32)).result
    return ops.Conv(
        x,
        w,
        b=bias,
        strides=strides,
        pads=spatial,
        dilations=dilations,
        groups=group,
        pad_value=zero,
    ).result


def _spatial_pads(
    x: Value,
    w: Value,
    auto_pad: str,
    dilations: Ints,
    kernel_shape: Ints,
    pads: Ints,
    strides: Ints,
) -> tuple[int, ...]:
    kernel = w.tensor.dims[2:]
    if kernel_shape and kernel_shape != kernel:
        raise OpError(f"kernel_shape is {list(kernel_shape)}, the weights have {list(kernel)}")
    return resolved_pads(auto_pad, pads, x.tensor.dims[2:], kernel, strides, dilations)
