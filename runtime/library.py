"""Running a compiled CPU library: plain C functions, called without holding Python's lock."""

import _ctypes  # dlclose, which ctypes itself does not offer
import ctypes
import os
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from mcc.ir import Array, UserError

from .aligned import aligned_zeros
from .artifact import Artifact
from .memory import CallMemory, Place, check_number, shaped
from .outcome import Observer, RunOutcome, RunStats, onnx_axes
from .processor import check_processor, permit_tiles
from .table import Call, Slot, Table

_BUSY = ctypes.c_int32(0)
"""How many processors all libraries of the process keep busy; their code counts in it."""


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
            self._function: Callable[..., int] = self._code.mcc_pool_run
            new, free = self._code.mcc_pool_new, self._code.mcc_pool_free
            self._weights = ctypes.addressof(ctypes.c_char.in_dll(self._code, "model_weights"))
        except (AttributeError, ValueError) as error:
            raise _damaged(error) from None
        new.restype = ctypes.c_void_p
        self._pool = ctypes.c_void_p(new(threads - 1, max(cores, threads), ctypes.byref(_BUSY)))
        if not self._pool:
            raise MemoryError("no memory for threads")
        weakref.finalize(self, _unload, free, self._pool, self._code._handle)
        self._idle: list[CallMemory] = []

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """The outputs for one array for each input, in the order of the table.

        Raises:
            UserError: For wrong inputs: their number, dtypes, shapes, or values an op refuses.
        """
        try:
            memory = self._idle.pop()  # atomic: each call that runs has memory of its own
        except IndexError:
            memory = CallMemory(self.table, self._pool)
        try:
            memory.take(inputs)
            status = self._function(memory.address)
            if status:
                raise UserError(self.table.failures[status - 1])
            return memory.results()
        finally:
            self._idle.append(memory)

    def observe(self, inputs: Sequence[Array]) -> dict[str, Array]:
        """Every value that is ever stored, by name; raises as `run` does.

        The kernels are called one by one, each result in memory of its own.
        """
        table = self.table
        places = [Place(entry) for entry in table.inputs]
        check_number(inputs, places)
        for place, array in zip(places, inputs, strict=True):
            place.take(array)
        arrays = {number: place.flat for number, place in enumerate(places)}
        for call in table.calls:
            out = arrays[call.output] = self.array(call.output)
            if call.replaced is not None:
                out[...] = arrays[call.inputs[call.replaced]]
            if self.bind(call, arrays)():
                raise UserError(table.failures[call.failure - 1])
        for entry in table.values:
            if entry.slot not in arrays:
                arrays[entry.slot] = self._constant(table.slots[entry.slot])
        return {entry.name: shaped(arrays[entry.slot], entry).copy() for entry in table.values}

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
        self._inputs = [entry.name for entry in library.table.inputs]
        self._outputs = [entry.name for entry in library.table.outputs]
        self._stats = RunStats()

    @classmethod
    def from_artifact(cls, artifact: Artifact, threads: int | None = None) -> Self:
        """The runner of an artifact's `library.so`."""
        table = artifact.member("library.json")
        return cls(Library(artifact.member("library.so"), table, threads))

    def run(self, feeds: Mapping[str, Array], observe: Observer | None = None) -> RunOutcome:
        """One inference; `observe` sees every stored tensor, in order."""
        inputs = [feeds[name] for name in self._inputs]
        if observe is not None:
            axes = {entry.name: entry.axes for entry in self.library.table.values}
            for name, array in self.library.observe(inputs).items():
                observe(name, onnx_axes(array, axes[name]))
        outputs = self.library.run(inputs)
        return RunOutcome(dict(zip(self._outputs, outputs)), self._stats)  # noqa: B905, as many


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
