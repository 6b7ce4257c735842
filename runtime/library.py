"""Running a compiled CPU library: plain C functions, called without holding Python's lock."""

import _ctypes  # dlclose, which ctypes itself does not offer
import ctypes
import math
import os
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from mcc.ir import Array, DType, UserError

from .aligned import aligned_zeros
from .artifact import Artifact
from .outcome import Observer, RunOutcome, RunStats, onnx_axes
from .processor import Processor, check_processor, permit_tiles

_BUSY = ctypes.c_int32(0)
"""How many processors all libraries of the process keep busy; their code counts in it."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Entry(_Record):
    """A tensor of the library."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class Stored(Entry):
    """A tensor that lies in memory at some time, in the slot of that number."""

    slot: int
    axes: tuple[int, ...] | None = None
    """Axis i is axis `axes[i]` of the ONNX tensor."""


class Slot(_Record):
    """A flat array that kernels read or write. The first slots are the inputs."""

    dtype: str
    """numpy's name."""
    size: int
    weight: int | None
    """Where a constant begins in the library's weights, in bytes."""


class Call(_Record):
    """A kernel's call; arrays are numbers of slots."""

    kernel: str
    """Its name; calls of equal kernels share one."""
    value: str
    """The value that it computes, perhaps with other calls."""
    nodes: tuple[str, ...]
    """The ONNX nodes of that value and of what is fused into it."""
    inputs: tuple[int, ...]
    output: int
    replaced: int | None
    """The input that the kernel finds in the memory of the output, and replaces."""
    failure: int
    """The status where the kernel refuses an operand; 0 where it never does."""
    needed: bool
    """Whether an inference makes this call, or only observers."""


class Fused(_Record):
    """A value that is computed inside the kernel of another and never stored."""

    name: str
    into: str


class Table(_Record):
    """What a library holds: `library.json` of an artifact."""

    inputs: tuple[Entry, ...]
    outputs: tuple[Entry, ...]
    workspace: int
    """Bytes that a call needs for what lies between inputs and outputs."""
    failures: tuple[str, ...]
    """What the status of a call means, from 1 on."""
    slots: tuple[Slot, ...]
    calls: tuple[Call, ...]
    """In order."""
    values: tuple[Stored, ...]
    fused: tuple[Fused, ...]
    machine: Processor

    @classmethod
    def from_json(cls, text: bytes | str) -> Self:
        """Read the table; `UserError` for a malformed one."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise UserError(
                f"the library's table is malformed: {error.errors()[0]['msg']}",
                where="library.json",
                remedy="compile the model again",
            ) from None


class Library:
    """A compiled module in this process. Any number of threads may run it at the same time."""

    def __init__(
        self, library: bytes | Path, table: Table | bytes | str, threads: int | None = None
    ) -> None:
        """Load `library` (its bytes or path).

        Args:
            library: The shared library.
            table: What it holds.
            threads: How many threads a call may use, its own included; all cores by default.
                Calls that run at the same time share the cores.

        Raises:
            UserError: If this processor lacks what the code uses, or the library is damaged.
        """
        self.table = table if isinstance(table, Table) else Table.from_json(table)
        check_processor(self.table.machine)
        if self.table.machine.uses_tiles:
            permit_tiles()
        cores = len(os.sched_getaffinity(0))
        if threads is None:
            threads = cores
        if threads < 1:
            raise UserError(f"{threads} threads cannot run anything", remedy="give 1 or more")
        self._code = _load(library)
        try:
            self._function: Callable[..., int] = self._code.mcc_pool_call
            new, free = self._code.mcc_pool_new, self._code.mcc_pool_free
            self._weights = ctypes.addressof(ctypes.c_char.in_dll(self._code, "model_weights"))
        except (AttributeError, ValueError) as error:
            raise _damaged(error) from None
        new.restype = ctypes.c_void_p
        self._pool = ctypes.c_void_p(new(threads - 1, max(cores, threads), ctypes.byref(_BUSY)))
        if not self._pool:
            raise MemoryError("no memory for threads")
        weakref.finalize(self, _unload, free, self._pool, self._code._handle)
        self._idle: list[_Frame] = []

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """The outputs for one array for each input, in the order of the table.

        Raises:
            UserError: For wrong inputs: their number, dtypes, shapes, or values an op refuses.
        """
        try:
            frame = self._idle.pop()  # atomic: each call that runs has a frame of its own
        except IndexError:
            frame = _Frame(self.table)
        try:
            frame.fill(inputs)
            status = self._function(self._pool, *frame.arguments)
            if status:
                raise UserError(self.table.failures[status - 1])
            return [place.array.copy() for place in frame.outputs]
        finally:
            self._idle.append(frame)

    def observe(self, inputs: Sequence[Array]) -> dict[str, Array]:
        """Every value that is ever stored, by name; raises as `run` does.

        The kernels are called one by one, each result in memory of its own.
        """
        table = self.table
        frame = _Frame(table)
        frame.fill(inputs)
        arrays = {number: place.flat for number, place in enumerate(frame.inputs)}
        for call in table.calls:
            out = arrays[call.output] = self.array(call.output)
            if call.replaced is not None:
                out[...] = arrays[call.inputs[call.replaced]]
            if self.bind(call, arrays)():
                raise UserError(table.failures[call.failure - 1])
        for entry in table.values:
            if entry.slot not in arrays:
                arrays[entry.slot] = self._constant(table.slots[entry.slot])
        return {entry.name: _shaped(arrays[entry.slot], entry).copy() for entry in table.values}

    def array(self, number: int) -> Array:
        """Zeros in the size of a slot."""
        slot = self.table.slots[number]
        return aligned_zeros(slot.size, slot.dtype)

    def bind(self, call: Call, arrays: Mapping[int, Array]) -> Callable[[], bool]:
        """A kernel's call on arrays by number of slot (constants are the library's own).

        It returns whether the kernel refused an operand.
        """
        slots = self.table.slots
        read = [n for i, n in enumerate(call.inputs) if i != call.replaced]
        pointers: list[ctypes.c_void_p] = []
        for number in (*read, call.output):
            weight = slots[number].weight
            place = arrays[number].ctypes.data if weight is None else self._weights + weight
            pointers.append(ctypes.c_void_p(place))
        kernel, failed = self._code[call.kernel], ctypes.c_int32(0)

        def run() -> bool:
            # Whoever cannot fail takes no notice of the last argument.
            kernel(*pointers, 0, 1, ctypes.byref(failed))
            return failed.value != 0

        return run

    def _constant(self, slot: Slot) -> Array:
        assert slot.weight is not None
        size = slot.size * np.dtype(slot.dtype).itemsize
        return np.frombuffer(ctypes.string_at(self._weights + slot.weight, size), slot.dtype)


class LibraryRunner:
    """Runs the CPU library of an artifact for a session."""

    def __init__(self, library: Library) -> None:
        self.library = library

    @classmethod
    def from_artifact(cls, artifact: Artifact, threads: int | None = None) -> Self:
        """The runner of an artifact's `library.so`."""
        table = artifact.member("library.json")
        return cls(Library(artifact.member("library.so"), table, threads))

    def run(self, feeds: Mapping[str, Array], observe: Observer | None = None) -> RunOutcome:
        """One inference; `observe` sees every stored tensor, in order."""
        table = self.library.table
        inputs = [feeds[entry.name] for entry in table.inputs]
        if observe is not None:
            axes = {entry.name: entry.axes for entry in table.values}
            for name, array in self.library.observe(inputs).items():
                observe(name, onnx_axes(array, axes[name]))
        outputs = self.library.run(inputs)
        return RunOutcome(
            {entry.name: array for entry, array in zip(table.outputs, outputs, strict=True)},
            RunStats(),
        )


class _Place:
    """Where kernels read or write a tensor: flat, aligned, i1 as bytes, never empty."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        dtype = np.dtype(DType(entry.dtype).numpy)
        self.flat = aligned_zeros(max(1, math.prod(entry.shape)), dtype)
        self.array = _shaped(self.flat, entry)

    @property
    def address(self) -> int:
        return self.flat.ctypes.data


class _Frame:
    """The memory of one call."""

    def __init__(self, table: Table) -> None:
        self.inputs = [_Place(entry) for entry in table.inputs]
        self.outputs = [_Place(entry) for entry in table.outputs]
        self._workspace = aligned_zeros(max(1, table.workspace), np.uint8)
        self.arguments = (
            _pointers(self.inputs),
            _pointers(self.outputs),
            ctypes.c_void_p(self._workspace.ctypes.data),
        )

    def fill(self, arrays: Sequence[Array]) -> None:
        """Copy the user's arrays, which may lie anywhere in memory."""
        if len(arrays) != len(self.inputs):
            raise UserError(
                f"{len(arrays)} inputs were given, the library takes {len(self.inputs)}"
            )
        for array, place in zip(arrays, self.inputs, strict=True):
            held = place.array
            if array.dtype != held.dtype or array.shape != held.shape:
                raise UserError(
                    f"input {place.entry.name!r} is {array.dtype}{list(array.shape)}, "
                    f"the library takes {held.dtype}{list(held.shape)}"
                )
            held[...] = array


def _shaped(flat: Array, entry: Entry) -> Array:
    """A slot's elements as the tensor that it holds."""
    array = flat[: math.prod(entry.shape)]
    return array.view(DType(entry.dtype).numpy).reshape(entry.shape)


def _pointers(places: Sequence[_Place]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * max(1, len(places)))(*(place.address for place in places))


def _load(library: bytes | Path) -> ctypes.CDLL:
    try:
        if isinstance(library, Path):
            return ctypes.CDLL(str(library.resolve()))
        handle, path = tempfile.mkstemp(prefix="mcc-", suffix=".so")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(library)
            return ctypes.CDLL(path)
        finally:
            # The loader keeps the pages; nothing is left behind.
            os.unlink(path)
    except OSError as error:
        raise _damaged(error) from None


def _unload(free: Any, pool: ctypes.c_void_p, handle: int) -> None:
    """End a library's threads, and give its memory back."""
    free(pool)
    _ctypes.dlclose(handle)


def _damaged(error: Exception) -> UserError:
    return UserError(
        f"cannot be loaded: {str(error).strip().splitlines()[-1]}",
        where="library.so",
        remedy="compile the model again",
    )
