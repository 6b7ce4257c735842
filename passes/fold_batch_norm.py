"""A batch normalization is a factor and a shift per channel at inference: weights can hold both."""

from typing import Literal

import numpy as np

from mcc.ir import Array, Because, Rule, Value, constant, constant_of
from mcc.ops import Add, BatchNorm, Conv, Matmul, Mul

from .base import Pass
from .linear_form import linear_producer, why_not_after, with_affine
from .matching import rebuild, single_use

INFINITY = float("inf")


class FoldBatchNorm(Pass, name="fold-batch-norm"):
    """batch_norm(conv(x, w, b)) -> conv(x, w', b'), conv(batch_norm(x), w, b) -> conv(x, w', b').

    Likewise matmul. Where neither neighbour can hold it, it becomes `x * factor + shift`
    (`leftover=mul-add`), or a 1x1 depthwise convolution (`leftover=depthwise`), which suits an
    accelerator.
    """

    leftover: Literal["mul-add", "depthwise", "keep"] = "mul-add"

    def active_rules(self) -> tuple[Rule, ...]:
        match self.leftover:
            case "mul-add":
                return (into_producer, into_reader, to_mul_add)
            case "depthwise":
                return (into_producer, into_reader, to_depthwise)
            case "keep":
                return (into_producer, into_reader)


def into_producer(op: BatchNorm) -> Value | Because | None:
    """batch_norm(conv(x, w, b)) -> conv(x, w * factor, b * factor + shift), likewise matmul."""
    producer = linear_producer(op.x)
    if producer is None:
        return None
    affine = factor_and_shift(op)
    if affine is None:
        return Because("its statistics are no constants")
    if isinstance(producer, Matmul) and op.x.tensor.rank != 2:
        return Because("the channels of a matmul are last, those of a batch_norm second")
    if (reason := why_not_after(producer, scaled=True)) is not None:
        return Because(reason)
    return with_affine(producer, *affine, -INFINITY, INFINITY).result


def into_reader(op: Conv | Matmul) -> Value | Because | None:
    """conv(batch_norm(x), w, b) -> conv(x, w * factor, b + sum(w * shift)), likewise matmul."""
    norm = op.x.op
    if not isinstance(norm, BatchNorm):
        return None
    if (reason := _why_not_before(norm, op)) is not None:
        return Because(reason)
    affine, w, b = factor_and_shift(norm), constant_of(op.w), constant_of(op.b)
    assert affine is not None
    assert w is not None
    factor, shift = affine
    wide = w.astype(np.float64)
    if isinstance(op, Matmul):
        weights, sums = wide * factor[:, None], shift @ wide
    else:
        # Row o of the weights reads the channels of its group only.
        per_group = (op.groups, 1, w.shape[1], *(1,) * (w.ndim - 2))
        groups = wide.reshape(op.groups, -1, *w.shape[1:])
        weights = (groups * factor.reshape(per_group)).reshape(w.shape)
        spread = groups * shift.reshape(per_group)
        sums = spread.reshape(w.shape[0], -1).sum(1)
    bias = sums if b is None else b.astype(np.float64) + sums
    name = op.b.name if op.b is not None else f"{op.w.name}.bias" if op.w.name else ""
    return rebuild(
        op,
        x=norm.x,
        w=constant(weights.astype(w.dtype), op.w.name).result,
        b=constant(bias.astype(w.dtype), name).result,
    ).result


def to_mul_add(op: BatchNorm) -> Value | Because | None:
    """batch_norm(x) -> x * factor + shift."""
    affine = _leftover(op)
    if affine is None or isinstance(affine, Because):
        return affine
    dtype, column = op.x.tensor.dtype.numpy, (-1,) + (1,) * (op.x.tensor.rank - 2)
    factor, shift = (part.astype(dtype).reshape(column) for part in affine)
    scaled = Mul(op.x, constant(factor, op.scale.name).result).result
    return Add(scaled, constant(shift, op.bias.name).result).result


def to_depthwise(op: BatchNorm) -> Value | Because | None:
    """batch_norm(x) -> conv(x, factor, shift, groups=channels), with a 1x1 kernel."""
    affine = _leftover(op)
    if affine is None or isinstance(affine, Because):
        return affine
    if op.x.tensor.rank < 3:
        return to_mul_add(op)
    dtype, spatial = op.x.tensor.dtype.numpy, op.x.tensor.rank - 2
    factor, shift = (part.astype(dtype) for part in affine)
    w = constant(factor.reshape(-1, 1, *(1,) * spatial), op.scale.name).result
    b = constant(shift, op.bias.name).result
    return Conv(op.x, w, b, groups=len(factor)).result


def factor_and_shift(op: BatchNorm) -> tuple[Array, Array] | None:
    """batch_norm(x) = x * factor + shift, as float64 vectors [C]; None without constants."""
    arrays = [constant_of(value) for value in (op.scale, op.bias, op.mean, op.var)]
    known = [array.astype(np.float64) for array in arrays if array is not None]
    if len(known) != len(arrays):
        return None
    scale, bias, mean, var = known
    factor = scale / np.sqrt(var + op.epsilon)
    return factor, bias - mean * factor


def _leftover(op: BatchNorm) -> tuple[Array, Array] | Because | None:
    """Factor and shift, or why this one stays; None while a neighbour takes it."""
    readers = list(op.result.uses)
    if len(readers) == 1 and isinstance(readers[0], Conv | Matmul):
        reader = readers[0]
        if reader.x is op.result and _why_not_before(op, reader) is None:
            return None
    return factor_and_shift(op) or Because("its statistics are no constants")


def _why_not_before(norm: BatchNorm, op: Conv | Matmul) -> str | None:
    """Why a batch_norm cannot move into the linear op that reads it, or None."""
    affine = factor_and_shift(norm)
    if affine is None:
        return "the statistics of the batch_norm are no constants"
    if not single_use(norm.result):
        return "the batch_norm has other readers, and would have to stay"
    if constant_of(op.w) is None or (op.b is not None and constant_of(op.b) is None):
        return "weights or bias are no constants"
    if isinstance(op, Matmul):
        return (
            None if op.x.tensor.rank == op.w.tensor.rank == 2 else "x or w has more axes than two"
        )
    if op.layout != "nchw":
        return "the layouts differ"
    _, pads, _ = op.geometry
    if any(pads) and affine[1].any():
        return "padding inserts 0 behind the batch_norm, and its shift is not 0"
    return None
