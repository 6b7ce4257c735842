"""Flat arrays in memory, as kernels see the values of a module."""

import mmap
from dataclasses import dataclass

import numpy as np

from mcc.ir import Array, DType

_STORED = {
    DType.F64: "float64",
    DType.F32: "float32",
    DType.BF16: "uint16",
    DType.I64: "int64",
    DType.I32: "int32",
    DType.I16: "int16",
    DType.I8: "int8",
    DType.U64: "uint64",
    DType.U32: "uint32",
    DType.U16: "uint16",
    DType.U8: "uint8",
    DType.I1: "uint8",
}
STORABLE = frozenset(_STORED)
"""The dtypes that kernels can hold; i1 is a byte that is 0 or 1, bf16 its bits."""


def stored(dtype: DType) -> str:
    """TVM's name for the elements of a stored tensor."""
    return _STORED[dtype]


@dataclass(frozen=True, eq=False)
class Slot:
    """A flat array that kernels read or write: an input, a result, or a constant (with `data`)."""

    dtype: str
    size: int
    """Elements; an empty tensor has one that nobody looks at."""
    data: Array | None = None


_LARGE = 1 << 20


def outside_heap(array: Array) -> Array:
    """An array whose memory goes back to the system with it.

    Packed weights are made among small objects that live longer, so the heap would keep their
    pages until the end, beside the library that has them too. Read-only arrays are the module's own
    weights, which stay; they and small ones are returned as they are.
    """
    if array.nbytes < _LARGE or not array.flags.writeable:
        return array
    copy = np.frombuffer(mmap.mmap(-1, array.nbytes), array.dtype)
    copy[:] = array
    return copy
