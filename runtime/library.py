"""Running a compiled CPU library through TVM's runtime; its compiler is never loaded."""

import ctypes
import importlib.util
import math
import os
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from mcc.ir import Array, DType, UserError

from .artifact import Artifact
from .outcome import Observer, RunOutcome, RunStats, onnx_axes
from .processor import Processor, check_processor, permit_tiles

_ALIGNMENT = 64
_REMEDY = "pip install 'mcc-compiler[cpu]'"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Entry(_Record):
    """A tensor of the library."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class Stored(Entry):
    """A tensor that `observe` returns, as its result number `result`."""

    result: int
    axes: tuple[int, ...] | None = None
    """Axis i is axis `axes[i]` of the ONNX tensor."""


class Fused(_Record):
    """A value that is computed inside the kernel of another and never stored."""

    name: str
    into: str


class Call(_Record):
    """One of the kernel calls that make up an inference, in order."""

    kernel: str
    """Its name; calls of equal kernels share one."""
    value: str
    """The value that it computes, perhaps with other calls."""
    nodes: tuple[str, ...]
    """The ONNX nodes of that value and of what is fused into it."""
    arrays: tuple[tuple[str, int], ...]
    """What it reads, then what it writes: element type and number of elements."""


class Table(_Record):
    """What a library holds: `library.json` of an artifact."""

    inputs: tuple[Entry, ...]
    outputs: tuple[Entry, ...]
    values: tuple[Stored, ...]
    fused: tuple[Fused, ...]
    calls: tuple[Call, ...]
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
    """A compiled module in this process."""

    def __init__(
        self, library: bytes | Path, table: Table | bytes | str, threads: int | None = None
    ) -> None:
        """Load `library` (its bytes or path).

        Args:
            library: The shared library.
            table: What it holds.
            threads: How many threads kernels may use, in the whole process; all cores by default.

        Raises:
            UserError: If TVM's runtime is missing, or this processor lacks what the code uses.
        """
        self.table = table if isinstance(table, Table) else Table.from_json(table)
        check_processor(self.table.machine)
        if self.table.machine.uses_tiles:
            permit_tiles()
        ffi = _runtime()
        if threads is not None:
            if threads < 1:
                raise UserError(f"{threads} threads cannot run anything", remedy="give 1 or more")
            # TVM's pool is as large as this says when it is made, and can only be used in part
            # later; by default it takes every second core for a hyper-thread. It is read again at
            # every parallel loop, which at 1 runs without the pool.
            os.environ["TVM_NUM_THREADS"] = str(max(threads, len(os.sched_getaffinity(0))))
            ffi.get_global_func("runtime.config_threadpool")(1, threads)
            os.environ["TVM_NUM_THREADS"] = str(threads)
        else:
            os.environ.setdefault("TVM_NUM_THREADS", str(len(os.sched_getaffinity(0))))
        self._module = module = _load(ffi, library)
        self._machine = module["vm_load_executable"]()
        cpu, pooled = 1, 2
        self._machine["vm_initialization"](cpu, 0, pooled)
        self._main: Callable[..., Sequence[Any]] = self._machine["main"]
        self._observe: Callable[..., Sequence[Any]] = self._machine["observe"]
        self._places = [_Place(entry) for entry in self.table.inputs]
        self._arguments = [ffi.from_dlpack(place.flat) for place in self._places]
        self._outputs = [_Result(entry, number) for number, entry in enumerate(self.table.outputs)]
        self._lock = threading.Lock()

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """The outputs for one array for each input, in the order of the table.

        Raises:
            UserError: For wrong inputs: their number, dtypes, shapes, or values an op refuses.
        """
        return self._call(self._main, inputs, self._outputs)

    def observe(self, inputs: Sequence[Array]) -> dict[str, Array]:
        """Every value that is ever stored, by name; raises as `run` does."""
        values = self.table.values
        found = self._call(self._observe, inputs, [_Result(e, e.result) for e in values])
        return {entry.name: array for entry, array in zip(values, found, strict=True)}

    def kernel(self, name: str) -> Callable[..., object]:
        """A kernel by its name in the table, a function of `array`s; it writes the last one."""
        kernel: Callable[..., object] = self._module.get_function(name, query_imports=True)
        return kernel

    def array(self, dtype: str, size: int) -> Any:
        """A flat array of zeros as kernels take it."""
        return _runtime().from_dlpack(_aligned(np.dtype(dtype), size))

    def _call(
        self,
        function: Callable[..., Sequence[Any]],
        inputs: Sequence[Array],
        results: Sequence["_Result"],
    ) -> list[Array]:
        if len(inputs) != len(self._places):
            raise UserError(
                f"{len(inputs)} inputs were given, the library takes {len(self._places)}"
            )
        # The machine's registers and the places of the inputs serve one call at a time.
        with self._lock:
            for array, place in zip(inputs, self._places, strict=True):
                place.fill(array)
            try:
                raw = function(*self._arguments)
            except ValueError as error:
                raise UserError(str(error).strip().splitlines()[-1]) from None
            return [result.taken(raw) for result in results]


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


@cache
def _runtime() -> Any:
    """`tvm_ffi`, with TVM's runtime libraries loaded; `UserError` where TVM is not installed."""
    # Workers pinned to cores wait for each other whenever something else runs there (milliseconds).
    os.environ.setdefault("TVM_BIND_THREADS", "0")
    spec = importlib.util.find_spec("tvm")
    try:
        import tvm_ffi

        if spec is None or not spec.submodule_search_locations:
            raise ImportError("no package tvm")
        folder = Path(next(iter(spec.submodule_search_locations))) / "lib"
        for name in ("libtvm_runtime.so", "libtvm_runtime_extra.so"):
            # Global, because compiled libraries look for the runtime's symbols in the process.
            ctypes.CDLL(str(folder / name), ctypes.RTLD_GLOBAL)
    except (ImportError, OSError) as error:
        raise UserError(f"running CPU code needs TVM's runtime ({error})", remedy=_REMEDY) from None
    return tvm_ffi


def _load(ffi: Any, library: bytes | Path) -> Any:
    if isinstance(library, Path):
        return ffi.load_module(str(library.resolve()))
    handle, path = tempfile.mkstemp(prefix="mcc-", suffix=".so")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(library)
        return ffi.load_module(path)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"cannot be loaded: {str(error).strip().splitlines()[-1]}",
            where="library.so",
            remedy="compile the model again",
        ) from None
    finally:
        # The loader keeps the pages; nothing is left behind.
        os.unlink(path)


def _aligned(dtype: "np.dtype[Any]", size: int) -> Array:
    """Zeros whose pages are there already."""
    memory = np.empty(size * dtype.itemsize + _ALIGNMENT, np.uint8)
    memory.fill(0)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size * dtype.itemsize].view(dtype)


class _Place:
    """Where kernels read an input: flat, aligned to 64 bytes, i1 as bytes, never empty."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.dtype = np.dtype(DType(entry.dtype).numpy)
        self.shape = entry.shape
        size = math.prod(entry.shape)
        held = _aligned(self.dtype, max(1, size))
        self.flat: Array = held.view(np.uint8) if self.dtype == np.bool_ else held
        self._array: Array = held[:size].reshape(entry.shape)

    def fill(self, array: Array) -> None:
        """Copy the user's array, which may lie anywhere in memory."""
        if array.dtype != self.dtype or array.shape != self.shape:
            raise UserError(
                f"input {self.entry.name!r} is {array.dtype}{list(array.shape)}, "
                f"the library takes {self.dtype}{list(self.shape)}"
            )
        self._array[...] = array


class _Result:
    """How a tensor that the machine returns becomes the caller's own array."""

    def __init__(self, entry: Entry, number: int) -> None:
        self.number = number
        self.shape = entry.shape
        self.size = math.prod(entry.shape)
        self.is_bool = entry.dtype == DType.I1.value

    def taken(self, results: Sequence[Any]) -> Array:
        flat: Array = np.from_dlpack(results[self.number])
        if flat.size != self.size:
            flat = flat[: self.size]
        if self.is_bool:
            flat = flat.view(np.bool_)
        return flat.reshape(self.shape).copy()
