"""How long each kernel of a compiled CPU library takes."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mcc.ir import Array

from ..artifact import Artifact
from ..library import Library, LibraryRunner
from ..table import Call

_LEAST_SECONDS = 2e-3
"""A measurement is at least so long, by repeating a short kernel."""
_ROUNDS = 7


@dataclass(frozen=True)
class KernelTime:
    """One kernel call of an inference, on its own."""

    call: Call
    seconds: float
    """The median of several measurements, by one thread on zeros that lie in the cache as far as
    they fit."""


@dataclass(frozen=True)
class LibraryProfile:
    """An inference on this machine, and its kernels one by one."""

    seconds: float
    """The whole inference, with calls and copies."""
    kernels: tuple[KernelTime, ...]


def profile_library(
    artifact: Artifact, feeds: Mapping[str, Array], threads: int | None = None
) -> LibraryProfile:
    """Times an artifact's library on this machine; `UserError` where it cannot run.

    In an inference a kernel finds its inputs where the one before left them, and constants perhaps
    in DRAM, so that the kernels' sum is near the inference's time and not the same.
    """
    runner = LibraryRunner.from_artifact(artifact, threads)
    return LibraryProfile(_seconds(lambda: runner.run(feeds)), _kernels(runner.library))


def _kernels(library: Library) -> tuple[KernelTime, ...]:
    """Every kernel call of an inference in order; equal ones are timed once."""
    known: dict[str, float] = {}
    found: list[KernelTime] = []
    for call in library.table.calls:
        if not call.needed:
            continue
        if call.kernel not in known:
            arrays = {number: library.array(number) for number in (*call.inputs, call.output)}
            known[call.kernel] = _seconds(library.bind(call, arrays))
        found.append(KernelTime(call, known[call.kernel]))
    return tuple(found)


def _seconds(action: Callable[[], object]) -> float:
    """How long an action takes: the median of rounds, each long enough for the clock."""
    action()
    started = time.perf_counter()
    action()
    count = max(1, int(_LEAST_SECONDS / max(time.perf_counter() - started, 1e-9)))

    def measured() -> float:
        started = time.perf_counter()
        for _ in range(count):
            action()
        return (time.perf_counter() - started) / count

    return statistics.median(measured() for _ in range(_ROUNDS))
