"""What each unit of an accelerator did in a run of the cycle model, as spans of time."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..simulator import EXECUTE, LOAD, STORE, Cycles, Trace

Unit = Literal["issue", "loads", "array", "stores"]
Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

UNITS: tuple[Unit, ...] = ("issue", "loads", "array", "stores")


@dataclass(frozen=True)
class Lane:
    """What a unit did: spans of time in order, none overlapping the next.

    Cycles count from the start of the run.
    """

    begin: Floats
    end: Floats
    busy: Floats
    """Cycles of the span for which the unit was occupied; the rest is latency."""
    command: Indices
    """The command it worked for."""

    @property
    def total(self) -> float:
        """Its busy cycles."""
        return float(self.busy.sum())

    def until(self, at: Floats) -> Floats:
        """The busy cycles up to each of these times."""
        if not self.busy.size:
            return np.zeros_like(at)
        over = np.searchsorted(self.end, at, side="right")
        now = np.minimum(over, self.busy.size - 1)
        length = np.maximum(self.end[now] - self.begin[now], 1.0)
        part = np.clip((at - self.begin[now]) / length, 0.0, 1.0)
        return self._done[over] + np.where(over == now, part * self.busy[now], 0.0)

    @cached_property
    def _done(self) -> Floats:
        """The busy cycles before each span, and after the last."""
        return np.concatenate([[0.0], np.cumsum(self.busy)])


def lanes_of(trace: Trace, start: int) -> dict[Unit, Lane]:
    """What each unit did, in cycles from `start` of the model's time."""
    every = np.arange(len(trace.group))
    issue_busy = trace.host_ready - trace.host_from
    lanes: dict[Unit, Lane] = {
        "issue": Lane(trace.host_from - start, trace.host_ready - start, issue_busy, every)
    }
    groups: list[tuple[Unit, int]] = [("loads", LOAD), ("array", EXECUTE), ("stores", STORE)]
    for unit, group in groups:
        # Of two that the array does at once, the first has the busy cycles.
        chosen = np.flatnonzero((trace.group == group) & (trace.busy > 0))
        chosen = chosen[np.argsort(trace.end[chosen], kind="stable")]
        end = trace.end[chosen] - start
        # Loads are pipelined: one is shown from when it is taken up, or the one before has ended.
        begin = np.maximum(
            trace.begin[chosen] - start, np.concatenate([[0.0], end[:-1]])[: end.size]
        )
        lanes[unit] = Lane(begin, end, trace.busy[chosen], chosen)
    return lanes


def fences_of(run: Cycles, trace: Trace, start: int) -> Lane:
    """When the host stood at a fence."""
    chosen = np.flatnonzero(trace.group < 0)
    begin, end = run.times[chosen, 0] - start, run.times[chosen, 3] - start
    return Lane(begin, end, end - begin, chosen)


def idle_at(fences: Lane, lane: Lane, begin: float, end: float) -> float:
    """For how many cycles between these times the lane is idle while the host is at a fence."""
    first = int(np.searchsorted(fences.end, begin, side="right"))
    last = int(np.searchsorted(fences.begin, end))
    starts = np.maximum(fences.begin[first:last], begin)
    ends = np.minimum(fences.end[first:last], end)
    return float((ends - starts - (lane.until(ends) - lane.until(starts))).clip(min=0.0).sum())
