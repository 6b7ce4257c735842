"""Element-wise operators with one input."""
# ruff: noqa: N802, N803  (names are ONNX's)

import math

import numpy as np

import mcc.ops as ops
from mcc.ir import Array, OpError, Value, constant, constant_of

from ..graph import element_type
from ..registry import OutputCount, UnsupportedError, operator


@operator(since=1)
def Abs(X: Value) -> Value:
    return ops.Abs(X).result


@operator(since=1)
def Neg(X: Value) -> Value:
    return ops.Neg(X).result


@operator(since=1)
def Exp(input: Value) -> Value:
    return ops.Exp(input).result


@operator(since=1)
def Log(input: Value) -> Value:
    return ops.Log(input).result


@operator(since=1)
def Sqrt(X: Value) -> Value:
    return ops.Sqrt(X).result


@operator(since=1)
def Reciprocal(X: Value) -> Value:
    return ops.Reciprocal(X).result


@operator(since=1)
def Tanh(input: Value) -> Value:
    return ops.Tanh(input).result


@operator(since=1)
def Sigmoid(X: Value) -> Value:
    return ops.Sigmoid(X).result


@operator(since=9)
def Erf(input: Value) -> Value:
    return ops.Erf(input).result


@operator(since=1)
def Relu(X: Value) -> Value:
    return ops.Relu(X).result


@operator(since=1)
def LeakyRelu(X: Value, *, alpha: float = 0.01) -> Value:
    return ops.LeakyRelu(X, alpha=alpha).result


@operator(since=1)
def Not(X: Value) -> Value:
    return ops.Not(X).result


@operator(since=11)
def Clip(input: Value, min: Value | None = None, max: Value | None = None) -> Value:
    lo, hi = constant_of(min), constant_of(max)
    if (min is None or lo is not None) and (max is None or hi is not None):
        lowest = -math.inf if lo is None else float(lo.item())
        highest = math.inf if hi is None else float(hi.item())
        return Clip_6(input, min=lowest, max=highest)
    if min is not None:
        input = ops.Maximum(input, min).result
    return input if max is None else ops.Minimum(input, max).result


@operator(since=6)
def Clip_6(input: Value, *, min: float = -math.inf, max: float = math.inf) -> Value:
    return ops.Clip(input, lo=min, hi=max).result


@operator(since=6)
def Cast(input: Value, *, to: int, saturate: int = 1, round_mode: str = "up") -> Value:
    try:
        dtype = element_type(to)
    except (OpError, TypeError) as error:
        raise UnsupportedError(f"it casts to a type that mcc lacks: {error}") from None
    same = input.tensor.dtype is dtype
    return input if same else ops.Cast(input, to=dtype).result


@operator(since=1)
def Identity(input: Value) -> Value:
    return input


@operator(since=12)
def Dropout(
    data: Value,
    ratio: Array | None = None,
    training_mode: Array | None = None,
    *,
    seed: int = 0,
    outputs: OutputCount,
) -> tuple[Value, ...]:
    """Nothing is dropped, unless in training; the mask says that everything is kept."""
    drops = ratio is None or ratio.item()
    if drops and training_mode is not None and training_mode.item():
        raise UnsupportedError("it is in training mode")
    if outputs == 1:
        return (data,)
    return data, constant(np.ones(data.tensor.dims, np.bool_)).result


@operator(since=7)
def Dropout_7(data: Value, *, ratio: float = 0.5) -> Value:
    return data
