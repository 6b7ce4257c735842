"""Pooling."""
# ruff: noqa: N802, N803  (names are ONNX's)

import math

import mcc.ops as ops
from mcc.ir import Value

from ..registry import Ints, UnsupportedError, operator
from .common import scalar_like
from .convolution import resolved_pads


@operator(since=1)
def MaxPool(
    X: Value,
    *,
    kernel_shape: Ints,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Ints = (),
    pads: Ints = (),
    storage_order: int = 0,  # of the indices, an output that mcc lacks
    strides: Ints = (),
) -> Value:
    sizes = X.tensor.dims[2:]
    spatial = resolved_pads(auto_pad, pads, sizes, kernel_shape, strides, dilations)
    return ops.MaxPool(
        X, kernel_shape, strides=strides, pads=spatial, dilations=dilations, ceil=bool(ceil_mode)
    ).result


@operator(since=1)
def AveragePool(
    X: Value,
    *,
    kernel_shape: Ints,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
    dilations: Ints = (),
    pads: Ints = (),
    strides: Ints = (),
) -> Value:
    sizes = X.tensor.dims[2:]
    spatial = resolved_pads(auto_pad, pads, sizes, kernel_shape, strides, dilations)
    return ops.AvgPool(
        X,
        kernel_shape,
        strides=strides,
        pads=spatial,
        dilations=dilations,
        ceil=bool(ceil_mode),
        include_pad=bool(count_include_pad),
    ).result


@operator(since=2)
def LpPool(
    X: Value,
    *,
    kernel_shape: Ints,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    dilations: Ints = (),
    p: int = 2,
    pads: Ints = (),
    strides: Ints = (),
) -> Value:
    """The p-th root of as many means of |x|^p as a window has elements."""
    if ceil_mode:
        raise UnsupportedError("it rounds the number of windows up (ceil_mode)")
    mean = AveragePool(
        ops.Pow(ops.Abs(X).result, scalar_like(p, X)).result,
        kernel_shape=kernel_shape,
        auto_pad=auto_pad,
        count_include_pad=1,
        dilations=dilations,
        pads=pads,
        strides=strides,
    )
    total = ops.Mul(mean, scalar_like(math.prod(kernel_shape), X)).result
    return ops.Pow(total, scalar_like(1 / p, X)).result


@operator(since=1)
def GlobalAveragePool(X: Value) -> Value:
    return ops.AvgPool(X, ops.global_kernel(X)).result


@operator(since=1)
def GlobalMaxPool(X: Value) -> Value:
    return ops.MaxPool(X, ops.global_kernel(X)).result
