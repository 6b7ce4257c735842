"""Constant bytes: a read-only array that compares and hashes by content."""

import hashlib
from functools import cached_property

import numpy as np

from .types import Array


class Data:
    """A read-only numpy array with a name for the text form; equality is by dtype, shape and bytes."""

    def __init__(self, array: Array, name: str = "") -> None:
        frozen = np.ascontiguousarray(array).reshape(array.shape)
        if frozen.flags.writeable:
            # A view keeps the caller's own array writable, and this one not.
            frozen = frozen.copy() if frozen is array else frozen
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
        return isinstance(other, Data) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Data({self.name or '-'}, {self.array.dtype}, {self.array.shape})"
