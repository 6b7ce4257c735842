"""The memory of one call of a library: where inputs, outputs and what lies between them are.

Small tensors are copied from and to aligned places, sooner than numpy tells an array's address.
Large ones stay where the user has them.
"""

import ctypes
import math
from collections.abc import Sequence

import numpy as np

from mcc.ir import Array, DType, UserError

from .aligned import aligned_zeros
from .table import Entry, Table

_LARGE = 64 * 1024
"""Bytes from which on a tensor is not copied."""

_Pointers = ctypes.Array[ctypes.c_void_p]


class Place:
    """A tensor in aligned memory of its own: flat, i1 as bytes, never empty."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.dtype = numpy_type(entry)
        self.shape = entry.shape
        self.flat = aligned_zeros(max(1, math.prod(entry.shape)), self.dtype)
        self.held = shaped(self.flat, entry)
        """The same memory as the tensor."""

    def take(self, array: Array) -> None:
        """Copy an array, which may lie anywhere; `UserError` if it is of another type."""
        if array.dtype != self.dtype or array.shape != self.shape:
            raise _wrong_type(array, self.entry)
        self.held[...] = array

    def copy(self) -> Array:
        """What it holds, for the user to keep."""
        return self.held.copy()


class _Borrowed:
    """A large input, which the call reads where it is."""

    def __init__(self, entry: Entry, pointers: _Pointers, number: int) -> None:
        self._entry, self._pointers, self._number = entry, pointers, number
        self._place: Place | None = None

    def take(self, array: Array) -> None:
        if array.dtype != numpy_type(self._entry) or array.shape != self._entry.shape:
            raise _wrong_type(array, self._entry)
        if not (array.flags.c_contiguous and array.flags.aligned):
            if self._place is None:
                self._place = Place(self._entry)
            self._place.take(array)
            array = self._place.flat
        self._pointers[self._number] = array.ctypes.data


class _Handed:
    """A large output, written into an array that the user gets."""

    def __init__(self, entry: Entry, pointers: _Pointers, number: int) -> None:
        self._entry, self._pointers, self._number = entry, pointers, number
        self._array: Array | None = None

    def make(self) -> None:
        self._array = np.empty(self._entry.shape, numpy_type(self._entry))
        self._pointers[self._number] = self._array.ctypes.data

    def copy(self) -> Array:
        array, self._array = self._array, None
        assert array is not None
        return array


class _Arguments(ctypes.Structure):
    """`struct mcc_call` of the library."""

    _fields_ = (
        ("pool", ctypes.c_void_p),
        ("inputs", ctypes.c_void_p),
        ("outputs", ctypes.c_void_p),
        ("workspace", ctypes.c_void_p),
    )


class CallMemory:
    """What one call reads and writes; calls that run at the same time have one each."""

    def __init__(self, table: Table, pool: ctypes.c_void_p) -> None:
        read, written = _no_pointers(len(table.inputs)), _no_pointers(len(table.outputs))
        self._workspace = aligned_zeros(max(1, table.workspace), np.uint8)
        self._inputs: list[Place | _Borrowed] = []
        for number, entry in enumerate(table.inputs):
            if _is_large(entry):
                self._inputs.append(_Borrowed(entry, read, number))
            else:
                self._inputs.append(place := Place(entry))
                read[number] = place.flat.ctypes.data
        self._outputs: list[Place | _Handed] = []
        for number, entry in enumerate(table.outputs):
            if _is_large(entry):
                self._outputs.append(_Handed(entry, written, number))
            else:
                self._outputs.append(place := Place(entry))
                written[number] = place.flat.ctypes.data
        self._handed = [output for output in self._outputs if isinstance(output, _Handed)]
        places = ctypes.addressof(read), ctypes.addressof(written), self._workspace.ctypes.data
        self._arguments = _Arguments(pool.value, *places)
        self._kept = read, written
        self.address = ctypes.c_void_p(ctypes.addressof(self._arguments))
        """What the library's function takes."""

    def take(self, arrays: Sequence[Array]) -> None:
        """Let the call read the user's arrays, which must live until it returns."""
        check_number(arrays, self._inputs)
        for number, array in enumerate(arrays):  # zip takes longer than a small tensor's copy
            self._inputs[number].take(array)
        for output in self._handed:
            output.make()

    def results(self) -> list[Array]:
        """What the call has computed, in arrays of the user's own."""
        return [output.copy() for output in self._outputs]


def check_number(arrays: Sequence[Array], places: Sequence[object]) -> None:
    """`UserError` unless there is an array for each place."""
    if len(arrays) != len(places):
        raise UserError(f"{len(arrays)} inputs were given, the library takes {len(places)}")


def numpy_type(entry: Entry) -> np.dtype:
    return np.dtype(DType(entry.dtype).numpy)


def shaped(flat: Array, entry: Entry) -> Array:
    """A slot's elements as the tensor that it holds."""
    array = flat[: math.prod(entry.shape)]
    return array.view(DType(entry.dtype).numpy).reshape(entry.shape)


def _is_large(entry: Entry) -> bool:
    return math.prod(entry.shape) * numpy_type(entry).itemsize >= _LARGE


def _no_pointers(count: int) -> _Pointers:
    return (ctypes.c_void_p * max(1, count))()


def _wrong_type(array: Array, entry: Entry) -> UserError:
    return UserError(
        f"input {entry.name!r} is {array.dtype}{list(array.shape)}, "
        f"the library takes {numpy_type(entry)}{list(entry.shape)}"
    )
