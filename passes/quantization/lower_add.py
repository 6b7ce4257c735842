"""The residual add of two 8-bit tensors: form (a) of the numerics."""

import math

import numpy as np

from mcc.ir import Because, Value
from mcc.ops import Add, Clip, QAdd, Quantize, Relu

from .chain import activation, noted
from .encoding import Encoding


def lower_add(op: Quantize, result: Encoding) -> Value | Because | None:
    """quantize(clamp(add(dequantize(a), dequantize(b)))) -> qadd(a, b)."""
    lo, hi = -math.inf, math.inf
    inner = op.x.op
    while isinstance(inner, Relu | Clip):
        lo = max(lo, 0.0 if isinstance(inner, Relu) else inner.lo)
        hi = min(hi, math.inf if isinstance(inner, Relu) else inner.hi)
        inner = inner.x.op
    if not isinstance(inner, Add):
        return None
    a, b = activation(inner.a), activation(inner.b)
    if a is None or b is None:
        return None
    scale = np.float32(result.scale)
    sum_ = QAdd(
        a[0],
        b[0],
        a_scale=float(np.float32(a[1].scale) / scale),
        b_scale=float(np.float32(b[1].scale) / scale),
        a_zero=a[1].zero,
        b_zero=b[1].zero,
        zero=result.zero,
        lo=result.quantized(max(lo, inner.lo)),
        hi=result.quantized(min(hi, inner.hi)),
        dtype=result.dtype,
    ).named(op.result.name, inner.nodes)
    return noted(sum_.result, result)
