"""Quantization: QDQ nodes as they are, QLinear operators as dequantize, the float op, quantize."""
# ruff: noqa: N802, N803  (names are ONNX's)

import numpy as np

import mcc.ops as ops
from mcc.ir import Array, Value, constant

from ..graph import element_type
from ..registry import Ints, UnsupportedError, operator
from .common import axis_of
from .convolution import Conv
from .matrix import MatMul


@operator(since=10)
def QuantizeLinear(
    x: Value,
    y_scale: Array,
    y_zero_point: Array | None = None,
    *,
    axis: int = 1,
    saturate: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    precision: int = 0,
) -> Value:
    if block_size:
        raise UnsupportedError("it quantizes in blocks (block_size)")
    zero = y_zero_point
    if zero is None:
        dtype = element_type(output_dtype).numpy if output_dtype else np.dtype(np.uint8)
        zero = np.zeros(y_scale.shape, dtype)
    return ops.Quantize(x, *_parameters(y_scale, zero), axis=_axis(x, y_scale, axis)).result


@operator(since=10)
def DequantizeLinear(
    x: Value,
    x_scale: Array,
    x_zero_point: Array | None = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> Value:
    if block_size:
        raise UnsupportedError("it dequantizes in blocks (block_size)")
    zero = x_zero_point
    if zero is None:
        zero = np.zeros(x_scale.shape, x.tensor.dtype.numpy)
    return ops.Dequantize(x, *_parameters(x_scale, zero), axis=_axis(x, x_scale, axis)).result


@operator(since=10)
def QLinearConv(
    x: Value,
    x_scale: Array,
    x_zero_point: Array,
    w: Value,
    w_scale: Array,
    w_zero_point: Array,
    y_scale: Array,
    y_zero_point: Array,
    B: Value | None = None,
    *,
    auto_pad: str = "NOTSET",
    dilations: Ints = (),
    group: int = 1,
    kernel_shape: Ints = (),
    pads: Ints = (),
    strides: Ints = (),
) -> Value:
    if w_zero_point.size != w_scale.size:
        w_zero_point = np.broadcast_to(w_zero_point, w_scale.shape)
    bias = None
    if B is not None:
        scale = (x_scale.reshape(()) * w_scale).astype(np.float32)
        bias = DequantizeLinear(B, scale, axis=0)
    y = Conv(
        DequantizeLinear(x, x_scale, x_zero_point),
        DequantizeLinear(w, w_scale, w_zero_point, axis=0),
        bias,
        auto_pad=auto_pad,
        dilations=dilations,
        group=group,
        kernel_shape=kernel_shape,
        pads=pads,
        strides=strides,
    )
    return QuantizeLinear(y, y_scale, y_zero_point)


@operator(since=10)
def QLinearMatMul(
    a: Value,
    a_scale: Array,
    a_zero_point: Array,
    b: Value,
    b_scale: Array,
    b_zero_point: Array,
    y_scale: Array,
    y_zero_point: Array,
) -> Value:
    y = MatMul(
        DequantizeLinear(a, a_scale, a_zero_point, axis=-2),
        DequantizeLinear(b, b_scale, b_zero_point, axis=-1),
    )
    return QuantizeLinear(y, y_scale, y_zero_point, axis=-2)


def _parameters(scale: Array, zero: Array) -> tuple[Value, Value]:
    """Scale and zero point as constants: scalars, or vectors along an axis."""
    if scale.dtype != np.float32:
        raise UnsupportedError(f"its scale is {scale.dtype}, mcc computes with float32 scales")
    if scale.size == 1:
        scale, zero = scale.reshape(()), zero.reshape(())
    return constant(scale).result, constant(zero).result


def _axis(x: Value, scale: Array, axis: int) -> int:
    """The axis of per-channel parameters; 1, the ops' default, where it says nothing."""
    return axis_of(axis, x.tensor.rank) if scale.size > 1 else 1
