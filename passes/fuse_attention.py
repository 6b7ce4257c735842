"""Finds attention in the products and the softmax that an exporter wrote for it."""

import math
from dataclasses import dataclass, replace

from mcc.ir import Because, DType, Value, constant_of
from mcc.ops import Add, Attention, Div, Matmul, Mul, Not, Softmax, Transpose, Where

from .base import Pass
from .matching import single_use, uniform


@dataclass(frozen=True)
class _Scores:
    """What a softmax reads, `scale * product + mask`, as far as it has been taken apart."""

    value: Value
    scale: float = 1.0
    mask: Value | None = None
    keep: bool = True
    """Whether an i1 mask is true where scores stay."""
    fill: float = -math.inf


def attend(op: Matmul) -> Value | Because | None:
    """softmax(q @ transpose(k) * c + mask) @ v -> attention(q, k, v, mask) {scale=c}."""
    softmax = op.x.op
    if not isinstance(softmax, Softmax) or op.x.tensor.dtype is not DType.F32:
        return None
    rank = op.x.tensor.rank
    if softmax.axis != rank - 1 or rank < 2 or op.w.tensor.rank < 2:
        return Because("the softmax is not over the last axis of a matrix")
    if not single_use(op.x) or not _is_plain(op):
        return Because("the weights are read elsewhere, or the product has operands besides")
    scores = _without_scale(_without_mask(_Scores(softmax.x)))
    product = scores.value.op
    if not isinstance(product, Matmul):
        return None
    masked = _with_sides(scores, product)
    if isinstance(masked, Because):
        return masked
    q, transposed, v = product.x, product.w, op.w
    if constant_of(transposed) is not None:
        return Because("its keys are constant weights")
    lead = q.tensor.shape[:-2]
    if q.tensor.rank != rank or transposed.tensor.shape[:-2] != lead or v.tensor.shape[:-2] != lead:
        return Because("queries, keys and values have other leading dimensions")
    if 0 in (*q.tensor.shape, *transposed.tensor.shape, *v.tensor.shape):
        return Because("there is nothing to attend to")
    mask = masked.mask
    if mask is not None and not masked.keep:
        mask = Not(mask).result
    k = _swapped(transposed)
    return Attention(q, k, v, mask, scale=masked.scale, fill=masked.fill).result


def _is_plain(op: Matmul) -> bool:
    return (op.b, op.r, op.k, op.lo, op.hi) == (None, None, None, -math.inf, math.inf)


def _without_mask(scores: _Scores) -> _Scores:
    """The scores before a mask is added or chosen, where one is."""
    op = scores.value.op
    if not single_use(scores.value):
        return scores
    if isinstance(op, Add) and (op.lo, op.hi) == (-math.inf, math.inf):
        for inner, mask in ((op.a, op.b), (op.b, op.a)):
            if _is_product(inner) and inner.type == op.result.type:
                return replace(scores, value=inner, mask=mask)
    if isinstance(op, Where):
        for inner, other, keep in ((op.a, op.b, True), (op.b, op.a, False)):
            fill = uniform(other)
            if _is_product(inner) and inner.type == op.result.type and fill is not None:
                return replace(scores, value=inner, mask=op.condition, keep=keep, fill=fill)
    return scores


def _without_scale(scores: _Scores) -> _Scores:
    """The scores before they are multiplied or divided by a number, where they are."""
    op = scores.value.op
    if not single_use(scores.value):
        return scores
    sides: list[tuple[Value, float | None]] = []
    if isinstance(op, Mul):
        sides = [(op.a, uniform(op.b)), (op.b, uniform(op.a))]
    elif isinstance(op, Div):
        divisor = uniform(op.b)
        sides = [(op.a, 1 / divisor if divisor else None)]
    for inner, factor in sides:
        if factor is not None and inner.type == scores.value.type:
            return replace(scores, value=inner, scale=factor)
    return scores


def _is_product(value: Value) -> bool:
    return isinstance(_without_scale(_Scores(value)).value.op, Matmul)


def _with_sides(scores: _Scores, product: Matmul) -> _Scores | Because:
    """The scores with what the product itself adds as their mask."""
    added = [side for side in (product.b, product.r) if side is not None]
    if not single_use(product.result):
        return Because("the scores are read elsewhere")
    if product.k is not None or (product.lo, product.hi) != (-math.inf, math.inf):
        return Because("the scores are clamped")
    if not added:
        return scores
    if len(added) > 1 or scores.mask is not None or scores.scale != 1:
        return Because("the scores have more than one mask")
    return replace(scores, mask=added[0])


def _swapped(value: Value) -> Value:
    """The value with its last two axes exchanged; a transpose that stands there takes it in."""
    producer = value.op
    perm = list(range(value.tensor.rank))
    x = value
    if isinstance(producer, Transpose):
        x, perm = producer.x, list(producer.perm)
    perm[-1], perm[-2] = perm[-2], perm[-1]
    return x if perm == sorted(perm) else Transpose(x, tuple(perm)).result


class FuseAttention(Pass, name="fuse-attention"):
    """softmax(q @ transpose(k) * c + mask) @ v -> attention(q, k, v, mask) {scale=c}.

    Of floats only, and only where nobody else reads the scores or the weights.
    """

    rules = (attend,)
