"""Arithmetic per channel behind a linear op moves into its bias and weights."""

import numpy as np

from mcc.ir import Array, Because, Value
from mcc.ops import Add, Mul

from .base import Pass
from .linear_form import (
    Linear,
    linear_producer,
    output_axis,
    output_channels,
    why_not_after,
    with_affine,
)
from .matching import per_channel

INFINITY = float("inf")


def fuse_add(op: Add) -> Value | Because | None:
    """conv(x, w, b) + c -> conv(x, w, b + c), likewise matmul."""
    for value, other in ((op.a, op.b), (op.b, op.a)):
        found = _vector(value, other, op)
        if found is None:
            continue
        producer, shift = found
        if (reason := why_not_after(producer, scaled=False)) is not None:
            return Because(reason)
        return with_affine(producer, None, shift, op.lo, op.hi).result
    return None


def fuse_mul(op: Mul) -> Value | Because | None:
    """conv(x, w, b) * c -> conv(x, w * c, b * c), likewise matmul."""
    for value, other in ((op.a, op.b), (op.b, op.a)):
        found = _vector(value, other, op)
        if found is None:
            continue
        producer, factor = found
        if not producer.result.tensor.dtype.is_float:
            return Because("a factor may make an integer product overflow")
        if (reason := why_not_after(producer, scaled=True)) is not None:
            return Because(reason)
        zero = np.zeros_like(factor)
        return with_affine(producer, factor, zero, -INFINITY, INFINITY).result
    return None


def _vector(value: Value, other: Value, op: Add | Mul) -> tuple[Linear, Array] | None:
    """The linear op behind `value`, and `other` as one number per channel of it."""
    producer = linear_producer(value)
    if producer is None or value.type != op.result.type or not value.tensor.rank:
        return None
    axis = output_axis(producer)
    vector = per_channel(other, value.tensor.rank, axis, output_channels(producer))
    return None if vector is None else (producer, vector)


class FuseBias(Pass, name="fuse-bias"):
    """conv(x, w, b) + c -> conv(x, w, b + c), conv(x, w, b) * c -> conv(x, w * c, b * c).

    Likewise matmul. `c` is constant, with one number for all or one per channel.
    """

    rules = (fuse_add, fuse_mul)
