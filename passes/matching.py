"""What rules ask of the values around an op."""

from typing import TypeVar

import numpy as np

from mcc.ir import Array, Op, Value, constant_of

AnyOp = TypeVar("AnyOp", bound=Op)


def single_use(value: Value) -> bool:
    """Whether exactly one operand of one op reads the value."""
    return sum(value.uses.values()) == 1


def uniform(value: Value) -> float | None:
    """The number that every element of a constant is, else None; an empty constant is none."""
    array = constant_of(value)
    if array is None or array.size == 0 or array.dtype == object:
        return None
    first = array.flat[0]
    if array.size > 1 and not bool((array == first).all()):
        return None
    return float(first)


def zeros(value: Value) -> set[float]:
    """The signs (`1.0`, `-1.0`) of the zeros in a constant of zeros; empty for anything else."""
    array = constant_of(value)
    if array is None or array.size == 0 or array.dtype.kind not in "fiu" or array.any():
        return set()
    return {-1.0 if sign else 1.0 for sign in np.unique(np.signbit(array))}


def per_channel(value: Value, rank: int, axis: int, channels: int) -> Array | None:
    """A constant that broadcasts along one axis only, as a vector [channels]; else None."""
    array = constant_of(value)
    if array is None or array.ndim > rank:
        return None
    shape = (1,) * (rank - array.ndim) + array.shape
    if any(dim != 1 for i, dim in enumerate(shape) if i != axis) or shape[axis] not in (
        1,
        channels,
    ):
        return None
    return np.broadcast_to(array.reshape(-1), (channels,))


def rebuild(op: AnyOp, **changes: object) -> AnyOp:
    """A detached op of the same class, with these fields changed."""
    fields: dict[str, object] = {field.name: getattr(op, field.name) for field in op.spec_fields}
    return type(op)(**(fields | changes))


def readers_text(value: Value) -> str:
    """`3 readers`, for reasons."""
    count = sum(value.uses.values())
    return "1 reader" if count == 1 else f"{count} readers"
