"""Convolution and matrix product seen alike: channels of the result, weights along them, bias."""

import math

import numpy as np

from mcc.ir import Array, Value, constant, constant_of
from mcc.ops import Conv, Matmul, channel_axis

from .matching import rebuild, single_use

Linear = Conv | Matmul


def linear_producer(value: Value) -> Linear | None:
    """The convolution or matrix product that defines a value, if one does."""
    return value.op if isinstance(value.op, Conv | Matmul) else None


def output_axis(op: Linear) -> int:
    """The axis of the result along which the bias runs."""
    rank = op.result.tensor.rank
    return channel_axis(op.layout, rank) if isinstance(op, Conv) else rank - 1


def output_channels(op: Linear) -> int:
    return op.result.tensor.dims[output_axis(op)]


def is_clamped(op: Linear) -> bool:
    return (op.lo, op.hi) != (-math.inf, math.inf)


def why_not_after(op: Linear, *, scaled: bool) -> str | None:
    """Why arithmetic per channel behind this op cannot move into it, or None.

    `scaled` asks for a factor, not only for a shift.
    """
    if not single_use(op.result):
        count = sum(op.result.uses.values())
        return f"the {op.op_name} has {count} readers, and would be computed for each"
    if is_clamped(op):
        return f"the {op.op_name} clamps its result first"
    if isinstance(op, Matmul) and (op.w.tensor.rank < 2 or not op.result.tensor.rank):
        return "a vector has no channels"
    if op.b is not None and constant_of(op.b) is None:
        return f"the bias of the {op.op_name} is no constant"
    if scaled and constant_of(op.w) is None:
        return f"the weights of the {op.op_name} are no constant"
    if scaled and op.r is not None:
        return f"the {op.op_name} adds a residual first"
    return None


def with_affine(op: Linear, factor: Array | None, shift: Array, lo: float, hi: float) -> Linear:
    """`op * factor + shift` per output channel, moved into weights and bias, then clamped.

    Args:
        op: A linear op for which `why_not_after` gave no reason.
        factor: [channels], or None for 1.
        shift: [channels].
        lo: Clamp of the new op.
        hi: Clamp of the new op.
    """
    dtype = op.result.tensor.dtype.numpy
    wide = np.float64 if op.result.tensor.dtype.is_float else np.int64
    bias = constant_of(op.b)
    old = np.zeros(output_channels(op), wide) if bias is None else bias.astype(wide)
    weights = op.w
    if factor is not None:
        array = constant_of(op.w)
        assert array is not None
        along = [1] * array.ndim
        along[0 if isinstance(op, Conv) else -1] = -1
        scaled = (array.astype(wide) * factor.astype(wide).reshape(along)).astype(array.dtype)
        weights = constant(scaled, op.w.name).result
        old = old * factor.astype(wide)
    name = op.b.name if op.b is not None else f"{op.w.name}.bias" if op.w.name else ""
    b = constant((old + shift.astype(wide)).astype(dtype), name).result
    return rebuild(op, w=weights, b=b, lo=lo, hi=hi)
