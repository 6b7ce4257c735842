"""Widening casts sink to the products that undo them."""

from mcc.ir import DType, Value
from mcc.ops import Cast, Reshape, Transpose
from mcc.passes import Pass


def widen_last(op: Transpose | Reshape) -> Value | None:
    """transpose(cast(x: bf16, f32)) -> cast(transpose(x), f32); reshape."""
    cast = op.x.op
    if not isinstance(cast, Cast) or cast.x.tensor.dtype is not DType.BF16:
        return None
    moved = Transpose(cast.x, op.perm) if isinstance(op, Transpose) else Reshape(cast.x, op.shape)
    return Cast(moved.result, cast.to).result


class WidenLast(Pass, name="widen-last"):
    """transpose(cast(x: bf16, f32)) -> cast(transpose(x), f32), likewise reshape.

    A product reads bfloat16 only where nothing stands between it and the cast.
    """

    rules = (widen_last,)
