"""What rules ask of the values around an op."""

import numpy as np

from mcc.ir import Value, constant_of


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
