"""Measuring the candidates of a problem: in turns, on weights that the cache has forgotten.

A task is a function of a record, both of which pickle, so that tasks may run anywhere.
"""

import ctypes
import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mcc.ir import Array, Module, Progress, UserError
from mcc.runtime import Target, aligned_zeros, permit_tiles

from ..blocking import Blocking
from ..codegen import Kernel, compile_kernels, write_kernel
from ..kernels.contract import Contraction
from ..kernels.tiles import TileContraction
from ..link import toolchain
from ..machine import Machine, machine_of
from ..plan import Call, plan_module
from ..problem import Problem
from .database import Database, Effort, Entry, add_entries

CANDIDATES: dict[Effort, int] = {"quick": 4, "full": 10}
_SECONDS: dict[Effort, float] = {"quick": 0.1, "full": 0.6}
"""Of measuring, for each candidate."""
_COLD_BYTES = 8 << 20
"""Copies of the weights that are used in turn: more than a second-level cache holds."""
_LEAST_SECONDS = 50e-6
"""A measurement is at least so long, by repeating a short kernel."""
_WORTH = 1.05
"""How many times as fast as the default a candidate must be to replace it: what is less may be
measured, and lost again between other kernels."""


@dataclass(frozen=True)
class Task:
    """A problem to be measured. The first candidate is what is chosen without measuring."""

    problem: Problem
    candidates: tuple[Blocking, ...]
    target: Target
    effort: Effort


def tune(
    module: Module,
    target: Target,
    effort: Effort,
    known: Database,
    path: Path,
    progress: Progress | None = None,
) -> None:
    """Measure what a module needs and nobody knows, and add it to the database at `path`.

    Each result is written when it is there: an interrupted run goes on where it stopped.

    Raises:
        UserError: Where the target is no processor that code can be measured on here.
    """
    machine = machine_of(target)
    if not machine.native:
        raise UserError(
            f"--tune measures on this machine, which cannot run code for {target.name}",
            remedy="tune there, and give its database with --tuning-database",
        )
    done = known.entries.get(machine.instruction_set, {})
    tasks = [
        Task(problem, tuple(candidates[: CANDIDATES[effort]]), target, effort)
        for problem, candidates in plan_module(module, machine).problems.items()
        if len(candidates) > 1
        and (problem.key not in done or (effort, done[problem.key].effort) == ("full", "quick"))
    ]
    for number, task in enumerate(tasks):
        add_entries(path, machine.instruction_set, {task.problem.key: measure(task)})
        if progress is not None:
            progress("tuning", number + 1, len(tasks))


def measure(task: Task) -> Entry:
    """The fastest candidate of a task, on this machine, by one thread."""
    machine = machine_of(task.target)
    seconds = _measured(task, machine)
    best = min(range(len(seconds)), key=seconds.__getitem__)
    if seconds[0] < _WORTH * seconds[best]:
        best = 0
    chosen = task.candidates[best]
    return Entry(
        tile=chosen.tile,
        vectors=chosen.vectors,
        rows=chosen.rows,
        effort=task.effort,
        gain=round(seconds[0] / seconds[best], 3),
    )


def _measured(task: Task, machine: Machine) -> list[float]:
    if task.problem.tiles:
        permit_tiles()
    calls = [_call(task.problem, blocking, machine) for blocking in task.candidates]
    kernels = [
        Kernel(f"candidate_{number}", write_kernel(call, machine))
        for number, call in enumerate(calls)
    ]
    with tempfile.TemporaryDirectory(prefix="mcc-tune-") as name:
        folder = Path(name)
        compile_kernels(kernels, machine, folder / "kernels.o")
        code = ctypes.CDLL(str(toolchain(machine).library(folder, ["kernels.o"])))
    memory: list[Array] = []  # held while pointers to it are in use
    actions = [
        _action(code[kernel.symbol], call, memory)
        for kernel, call in zip(kernels, calls, strict=True)
    ]
    return _in_turns(actions, _SECONDS[task.effort] * len(actions))


def _call(problem: Problem, blocking: Blocking, machine: Machine) -> Call:
    """The call that a blocking is for: others prepare its operands."""
    plan = plan_module(problem.module(), machine, {problem.key: blocking})
    kernel = TileContraction if problem.tiles else Contraction
    return next(call for call in plan.calls if isinstance(call.write, kernel))


def _action(kernel: Callable[..., object], call: Call, memory: list[Array]) -> Callable[[], None]:
    """One call of a kernel; each finds other copies of its constants."""
    nbytes = sum(slot.data.nbytes for slot in call.inputs if slot.data is not None)
    copies = max(1, min(64, _COLD_BYTES // max(1, nbytes)))
    rotations: list[tuple[object, ...]] = []
    shared: dict[int, Array] = {}
    for _ in range(copies):
        pointers: list[object] = []
        for number, slot in enumerate((*call.inputs, call.output)):
            if slot.data is not None:
                array = aligned_zeros(slot.size, slot.dtype)
                array[:] = slot.data
            elif number in shared:
                array = shared[number]
            else:
                array = shared[number] = aligned_zeros(slot.size, slot.dtype)
                array[:] = 1
            memory.append(array)
            pointers.append(ctypes.c_void_p(array.ctypes.data))
        rotations.append((*pointers, 0, 1))
    turns = itertools.cycle(rotations)

    def run() -> None:
        kernel(*next(turns))

    return run


def _in_turns(actions: Sequence[Callable[[], None]], seconds: float) -> list[float]:
    """What each action takes: the lower quartile of measurements that alternate."""
    repeats: list[int] = []
    for action in actions:
        action()
        started = time.perf_counter()
        action()
        once = time.perf_counter() - started
        repeats.append(max(1, int(_LEAST_SECONDS / max(once, 1e-9))))
    found: list[list[float]] = [[] for _ in actions]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(found[0]) < 3:
        for action, count, times in zip(actions, repeats, found, strict=True):
            started = time.perf_counter()
            for _ in range(count):
                action()
            times.append((time.perf_counter() - started) / count)
    return [sorted(times)[len(times) // 4] for times in found]
