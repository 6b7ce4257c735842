"""Sums and products of all elements before: each step adds those of twice as many."""
# ruff: noqa: N802  (names are ONNX's)

import mcc.ops as ops
from mcc.ir import OpError, Value

from ..registry import Ints, operator
from .common import axis_of


@operator(since=11)
def CumSum(x: Value, axis: Ints, *, exclusive: int = 0, reverse: int = 0) -> Value:
    return _scan(x, axis, ops.Add, 0.0, exclusive=exclusive, reverse=reverse)


@operator(since=26)
def CumProd(x: Value, axis: Ints, *, exclusive: int = 0, reverse: int = 0) -> Value:
    return _scan(x, axis, ops.Mul, 1.0, exclusive=exclusive, reverse=reverse)


def _scan(
    x: Value,
    axis: Ints,
    combine: type[ops.Add] | type[ops.Mul],
    neutral: float,
    *,
    exclusive: int,
    reverse: int,
) -> Value:
    """The scan of W. D. Hillis and G. L. Steele, "Data Parallel Algorithms", CACM 29 (1986)."""
    if len(axis) != 1:
        raise OpError(f"axis must be one number, is {list(axis)}")
    rank = x.tensor.rank
    along = axis_of(axis[0], rank)
    size = x.tensor.dims[along]

    def moved(value: Value, distance: int) -> Value:
        """The value `distance` places on, with neutral elements where it came from."""
        pads = [0] * (2 * rank)
        front, back = (rank + along, along) if reverse else (along, rank + along)
        pads[front], pads[back] = distance, -distance
        return ops.Pad(value, tuple(pads), neutral).result

    if exclusive and size:
        x = moved(x, 1)
    distance = 1
    while distance < size:
        x = combine(x, moved(x, distance)).result
        distance *= 2
    return x
