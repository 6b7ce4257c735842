"""A clamp behind an op that can clamp by itself."""

import math

from mcc.ir import Because, Value
from mcc.ops import Add, Clip, Conv, Matmul, MaxPool, Relu

from .base import Pass
from .matching import readers_text, rebuild, single_use


def fuse(op: Relu | Clip) -> Value | Because | None:
    """relu(conv(x)) -> conv(x) {lo=0}, clip(conv(x), lo, hi) -> conv(x) {lo, hi}; matmul, add."""
    inner = op.x.op
    if not isinstance(inner, Conv | Matmul | Add):
        return None
    if not single_use(op.x):
        return Because(f"the {inner.op_name} has {readers_text(op.x)}, which need it unclamped")
    low, high = (0.0, math.inf) if isinstance(op, Relu) else (op.lo, op.hi)
    if low > high or inner.lo > inner.hi:
        return Because("an empty range clamps in the order of its bounds")
    # The second clamp, applied to the first one's bounds.
    lo, hi = (min(max(bound, low), high) for bound in (inner.lo, inner.hi))
    return rebuild(inner, lo=lo, hi=hi).result


def before_max_pool(op: Relu | Clip) -> Value | Because | None:
    """relu(max_pool(conv(x))) -> max_pool(relu(conv(x))): the clamp can fuse there."""
    pool = op.x.op
    if not isinstance(pool, MaxPool) or not isinstance(pool.x.op, Conv | Matmul | Add):
        return None
    if not (single_use(pool.result) and single_use(pool.x)):
        return Because("others read the values in between unclamped")
    _, pads, dilations = pool.geometry
    reach = [(size - 1) * step for size, step in zip(pool.kernel, dilations, strict=True)] * 2
    if any(pad > last for pad, last in zip(pads, reach, strict=True)):
        return Because("a window lies in the padding only")
    return rebuild(pool, x=rebuild(op, x=pool.x).result).result


class FuseActivation(Pass, name="fuse-activation"):
    """relu(conv(x)) -> conv(x) {lo=0}, clip(conv(x), lo, hi) -> conv(x) {lo, hi}.

    Likewise matmul and add.
    """

    rules = (fuse, before_max_pool)
