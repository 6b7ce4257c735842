"""Memory that begins where vectors and cache lines do."""

import numpy as np

from mcc.ir import Array

ALIGNMENT = 64
"""Bytes."""


def aligned_zeros(size: int, dtype: "np.typing.DTypeLike") -> Array:
    """`size` zeros whose pages are there already."""
    kind = np.dtype(dtype)
    memory = np.empty(size * kind.itemsize + ALIGNMENT, np.uint8)
    memory.fill(0)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size * kind.itemsize].view(kind)
