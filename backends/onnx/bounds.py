"""The clamp [lo, hi] that ops carry, as Relu or Clip."""

import math

import numpy as np

from mcc.ops import Add, Clip, Conv, Matmul

from .writer import Writer

Bounded = Add | Clip | Conv | Matmul


def is_bounded(op: Bounded) -> bool:
    return op.lo > -math.inf or op.hi < math.inf


def clamped(writer: Writer, op: Bounded, y: str) -> None:
    """Add the node that clamps tensor `y` into the op's result, where the op clamps."""
    if not is_bounded(op):
        return
    result = op.result
    if op.lo == 0 and op.hi == math.inf:
        writer.node(op, "Relu", [y], writer.name(result))
        return
    numpy = result.tensor.dtype.numpy
    low = writer.literal(np.asarray(op.lo, numpy), "min") if op.lo > -math.inf else ""
    high = writer.literal(np.asarray(op.hi, numpy), "max") if op.hi < math.inf else ""
    writer.node(op, "Clip", [y, low, high], writer.name(result))
