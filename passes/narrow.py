"""Products of 16-bit floats: what they read is rounded to bfloat16, sums stay in float32."""

import ml_dtypes
import numpy as np

from mcc.ir import Because, DType, Value, constant, constant_of
from mcc.ops import Cast, Conv, Matmul, MaxPool

from .base import Pass
from .matching import rebuild


def round_operands(op: Conv | Matmul) -> Value | Because | None:
    """conv(x, w) -> conv(cast(cast(x, bf16), f32), w rounded to bf16); matmul."""
    if op.x.tensor.dtype is not DType.F32:
        return None
    weights = constant_of(op.w)
    if weights is None:
        return Because("the weights are computed, and would have to be rounded for every inference")
    if isinstance(op, Conv) and op.w.tensor.dims[1] == 1 and op.groups > 1:
        return Because("a depthwise convolution multiplies too little for matrix units")
    if is_rounded(op.x):
        return None
    with np.errstate(over="ignore"):  # beyond the largest bfloat16 lies infinity
        rounded = weights.astype(ml_dtypes.bfloat16).astype(np.float32)
    w = constant(rounded, op.w.name).result
    return rebuild(op, x=_rounded(op.x), w=w).result


def round_residual(op: Conv) -> Value | None:
    """conv(x, w, r) -> conv(x, w, cast(cast(r, bf16), f32)): half the bytes to write and read."""
    if op.r is None or not is_rounded(op.x) or is_rounded(op.r):
        return None
    return rebuild(op, r=_rounded(op.r)).result


def round_pooled(op: Cast) -> Value | None:
    """cast(max_pool(x), bf16) -> max_pool(cast(x, bf16)): rounding keeps the order."""
    pool = op.x.op
    if op.to is not DType.BF16 or not isinstance(pool, MaxPool):
        return None
    if any(not isinstance(user, Cast) or user.to is not DType.BF16 for user in op.x.uses):
        return None
    return rebuild(pool, x=Cast(pool.x, DType.BF16).result).result


def _rounded(value: Value) -> Value:
    return Cast(Cast(value, DType.BF16).result, DType.F32).result


def is_rounded(value: Value) -> bool:
    """Whether a float32 value is a bfloat16 one, widened."""
    return isinstance(value.op, Cast) and value.op.x.tensor.dtype is DType.BF16


class Bf16(Pass, name="bf16"):
    """conv(x, w) -> conv(cast(cast(x, bf16), f32), cast(w)): operands of products lose 16 bits.

    Each operand is then off by at most 2^-9 of itself; products and sums stay in float32. Likewise
    matmul with constant weights, and the residual that a convolution adds, so that activations
    between convolutions take 16 bits. `--precision bf16` runs it behind the passes of the level.
    """

    rules = (round_operands, round_residual, round_pooled)
