"""What several families of operators need: axes counted from the front, and small constants."""

from collections.abc import Iterable

import numpy as np

from mcc.ir import OpError, Value, constant


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front; ONNX counts negative ones from the end."""
    if not -rank <= axis < rank:
        raise OpError(f"axis {axis} is outside a rank of {rank}")
    return axis % rank


def axes_of(axes: Iterable[int], rank: int) -> tuple[int, ...]:
    """Axes counted from the front, sorted, each once."""
    return tuple(sorted({axis_of(axis, rank) for axis in axes}))


def scalar_like(number: float, x: Value) -> Value:
    """A scalar constant in x's dtype."""
    return constant(np.asarray(number, x.tensor.dtype.numpy)).result
