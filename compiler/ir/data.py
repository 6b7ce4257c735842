"""Constant bytes: a read-only array that compares and hashes by content."""

import hashlib
from functools import cached_property

import numpy as np

from .types import Array


class Data:
    """A read-only numpy array with a name for the text; equality is by dtype, shape and bytes."""

    def __init__(self, array: Array, name: str = "") -> None:
        array = np.asarray(array)  # a numpy scalar is none yet
        if array.dtype.kind in "US":  # fixed-width text: the IR keeps Python strings
            array = array.astype(np.str_).astype(object)
        frozen = array
        if array.flags.writeable or not array.flags.c_contiguous:
            # A copy: whoever holds the array may go on writing to it; a constant must not change.
            frozen = array.copy(order="C")
            frozen.flags.writeable = False
        self.array = frozen
        self.name = name

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of dtype, shape and bytes."""
        hasher = hashlib.sha256(f"{self.array.dtype}{self.array.shape}".encode())
        if self.array.dtype == object:
            hasher.update(repr(self.array.tolist()).encode())
        else:
            hasher.update(self.array.tobytes())
        return hasher.digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Data) and same_array(self.array, other.array)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Data({self.name or '-'}, {self.array.dtype}, {self.array.shape})"


def same_array(left: Array, right: Array) -> bool:
    """Whether two arrays have one dtype, one shape and the same bytes (a NaN equals itself)."""
    if (left.dtype, left.shape) != (right.dtype, right.shape):
        return False
    if left is right:
        return True
    if left.dtype == object:
        return bool(left.tolist() == right.tolist())
    return left.tobytes() == right.tobytes()
