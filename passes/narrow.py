"""Products of 16-bit floats: their operands rounded to bfloat16, everything else in float32."""

import ml_dtypes
import numpy as np

from mcc.ir import Because, DType, Value, constant, constant_of
from mcc.ops import Cast, Conv, Matmul

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
    short = Cast(op.x, DType.BF16).result
    with np.errstate(over="ignore"):  # beyond the largest bfloat16 lies infinity
        rounded = weights.astype(ml_dtypes.bfloat16).astype(np.float32)
    w = constant(rounded, op.w.name).result
    return rebuild(op, x=Cast(short, DType.F32).result, w=w).result


def is_rounded(value: Value) -> bool:
    """Whether a float32 value is a bfloat16 one, widened."""
    return isinstance(value.op, Cast) and value.op.x.tensor.dtype is DType.BF16


class Bf16(Pass, name="bf16"):
    """conv(x, w) -> conv(cast(cast(x, bf16), f32), cast(w)): operands of products lose 16 bits.

    Each operand is then off by at most 2^-9 of itself; products and sums stay in float32. Likewise
    matmul with constant weights. `--precision bf16` runs it behind the passes of the level.
    """

    rules = (round_operands,)
