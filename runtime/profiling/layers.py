"""Where the cycles of an accelerator program go: layer by layer, unit by unit.

Everything is read from the one cycle model: a `Profile` says of the run that gives the total what
each unit did when.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..program import LayerRecord, Program
from ..simulator import LOAD, STORE, CycleModel, Cycles, Trace
from ..target import Target
from .lanes import UNITS, Indices, Lane, Unit, fences_of, idle_at, lanes_of

Bound = Literal["issue", "loads", "array", "stores", "fences", "waits", "hidden"]

BOUND_FROM = 0.75
"""A unit that works for this share of a layer's cycles bounds it."""


@dataclass(frozen=True)
class LayerProfile:
    """One layer: the cycles from the end of the one before to its last command's completion."""

    tensor: str
    nodes: tuple[str, ...]
    begin: int
    """Cycles from the start of the run."""
    cycles: int
    commands: int
    """With those between it and the next layer: a fence for the host, at the end of a launch."""
    macs: int
    utilisation: float
    """Products of the layer over the array's multipliers times cycles. Above 1 where products began
    before the layer did, while the one before was stored, or where 2:4 tiles leave out zeros."""
    bytes_in: int
    """What its commands read from memory, caches or DRAM."""
    bytes_out: int
    dram_bytes: int
    """Of both, what caused a line of the cache to be fetched from DRAM, in whole lines."""
    busy: dict[Unit, float]
    """For how many of the cycles each unit worked, for this layer or for a neighbour."""
    fences: float
    """Cycles for which the host stood at a fence."""
    bound: Bound


@dataclass(frozen=True)
class Profile:
    """A whole inference on the cycle model. The layers' cycles sum to `cycles`."""

    program: Program
    target: Target
    cold: bool
    cycles: int
    layers: tuple[LayerProfile, ...]
    run: Cycles
    trace: Trace
    start: int
    """The run's first cycle in the model's time."""
    lanes: dict[Unit, Lane]

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @property
    def utilisation(self) -> float:
        return _utilisation(self.macs, self.cycles, self.target)

    def owner(self) -> Indices:
        """For each command the layer it belongs to; what stands behind a layer is that layer's."""
        return _owner(self.program.layers, len(self.run.times))


def profile_program(program: Program, target: Target, *, cold: bool = False) -> Profile:
    """Times one inference: the second one, whose data the cache holds as far as they fit.

    With `cold` the first: nothing is in the cache.
    """
    model = CycleModel(target)
    stream = program.stream(target)
    if not cold:
        model.run_stream(stream)
    start = model.now
    run = model.run_stream(stream, trace=True)
    assert run.trace is not None
    lanes = lanes_of(run.trace, start)
    layers = _layers(program, target, run, run.trace, start, lanes)
    return Profile(program, target, cold, run.total, layers, run, run.trace, start, lanes)


def _utilisation(macs: int, cycles: int, target: Target) -> float:
    return macs / (target.machine.dim**2 * cycles) if cycles else 0.0


def _owner(layers: Sequence[LayerRecord], commands: int) -> Indices:
    starts = np.array([layer.start for layer in layers], np.int64)
    return np.maximum(np.searchsorted(starts, np.arange(commands), side="right") - 1, 0)


def _layers(
    program: Program,
    target: Target,
    run: Cycles,
    trace: Trace,
    start: int,
    lanes: dict[Unit, Lane],
) -> tuple[LayerProfile, ...]:
    count = len(program.layers)
    if not count:
        return ()
    owner = _owner(program.layers, len(run.times))
    ends = np.zeros(count)
    np.maximum.at(ends, owner, run.times[:, 3] - start)
    ends[-1] = max(ends[-1], run.total)
    edges = np.concatenate([[0.0], np.maximum.accumulate(ends)])
    cycles = np.diff(edges)
    busy = {unit: np.diff(lane.until(edges)) for unit, lane in lanes.items()}
    fences = fences_of(run, trace, start)
    at_fences = np.diff(fences.until(edges))
    moved_in = _sums(owner, np.where(trace.group == LOAD, trace.moved, 0), count)
    moved_out = _sums(owner, np.where(trace.group == STORE, trace.moved, 0), count)
    lines = _sums(owner, trace.lines, count)
    commands = np.bincount(owner, minlength=count)
    found: list[LayerProfile] = []
    for i, layer in enumerate(program.layers):
        own: dict[Unit, float] = {unit: float(busy[unit][i]) for unit in UNITS}
        busiest = max(UNITS, key=lambda unit: own[unit])
        idle = idle_at(fences, lanes[busiest], edges[i], edges[i + 1])
        found.append(
            LayerProfile(
                tensor=layer.tensor,
                nodes=layer.nodes,
                begin=int(edges[i]),
                cycles=int(cycles[i]),
                commands=int(commands[i]),
                macs=layer.macs,
                utilisation=_utilisation(layer.macs, int(cycles[i]), target),
                bytes_in=int(moved_in[i]),
                bytes_out=int(moved_out[i]),
                dram_bytes=int(lines[i]) * target.machine.dma.l2_line_bytes,
                busy=own,
                fences=float(at_fences[i]),
                bound=_bound(busiest, own[busiest], idle, float(cycles[i])),
            )
        )
    return tuple(found)


def _bound(busiest: Unit, busy: float, idle_at_fences: float, cycles: float) -> Bound:
    """What bounds a layer: the busiest unit if it hardly rests, else what it rests for."""
    if not cycles:
        return "hidden"
    if busy >= BOUND_FROM * cycles:
        return busiest
    return "fences" if 2 * idle_at_fences >= cycles - busy else "waits"


def _sums(owner: Indices, values: Indices, count: int) -> Indices:
    return np.bincount(owner, weights=values, minlength=count).astype(np.int64)
