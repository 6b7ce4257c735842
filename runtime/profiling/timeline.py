"""A profile as trace events, the JSON that chrome://tracing and Perfetto open.

One track a unit, one for the layers, and counters for what the local memories hold. A cycle is
shown as a microsecond, the format's unit, whatever the target's clock.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .. import isa
from ..simulator import EXECUTE, decode_operands, occupancy
from .lanes import UNITS, Floats, Indices, Unit, fences_of
from .layers import Profile

Event = dict[str, object]

MOST_EVENTS = 200_000
"""Beyond that many, neighbours are joined: viewers get slow, and files large."""

_PROCESS = 1
_LAYERS_TRACK = 2
"""Not the process: a viewer would call it the main thread."""
_TRACKS: dict[Unit, tuple[int, str]] = {
    "issue": (3, "issue"),
    "loads": (4, "loads (DMA read)"),
    "array": (5, "array"),
    "stores": (6, "stores (DMA write)"),
}


def trace_events(profile: Profile, *, most: int = MOST_EVENTS) -> bytes:
    """The timeline of a profile, as a JSON object with `traceEvents`.

    With more than `most` commands, spans of a layer on one track that lie near each other become
    one; `otherData.joined_within_cycles` says how near.
    """
    spans, within = _joined(_spans(profile), most)
    target = profile.target
    other: Event = {
        "time_unit": "1 us is 1 cycle",
        "target": target.name,
        "clock_mhz": target.host.clock_mhz,
        "cycles": profile.cycles,
        "caches": "cold" if profile.cold else "warm",
        "joined_within_cycles": within,
    }
    names = [_name(layer.tensor, layer.nodes) for layer in profile.layers]
    events = [
        *_tracks(target.name),
        *_layer_events(profile, names),
        *(event for part in spans for event in part.events(names, profile)),
        *_counters(profile, most // 4),
    ]
    record = {"traceEvents": events, "displayTimeUnit": "ms", "otherData": other}
    return json.dumps(record, separators=(",", ":")).encode()


@dataclass(frozen=True)
class _Spans:
    """The spans of one track and category, in order."""

    track: int
    category: str
    begin: Floats
    end: Floats
    busy: Floats
    command: Indices
    """The first command of each."""
    commands: Indices
    """How many commands each stands for."""
    owner: Indices
    """Its layer."""

    def chosen(self, where: npt.NDArray[np.bool_]) -> "_Spans":
        return _Spans(
            self.track,
            self.category,
            self.begin[where],
            self.end[where],
            self.busy[where],
            self.command[where],
            self.commands[where],
            self.owner[where],
        )

    def breaks(self, within: float) -> Indices:
        """Where spans begin that are not joined with the one before."""
        gap = self.begin[1:] - self.end[:-1] > within
        return np.flatnonzero(np.concatenate([[True], gap | (np.diff(self.owner) != 0)]))

    def joined(self, within: float) -> "_Spans":
        first = self.breaks(within)
        return self._grouped(first, np.append(first[1:], self.begin.size) - 1)

    def _grouped(self, first: Indices, last: Indices) -> "_Spans":
        return _Spans(
            self.track,
            self.category,
            self.begin[first],
            self.end[last],
            np.add.reduceat(self.busy, first),
            self.command[first],
            np.add.reduceat(self.commands, first),
            self.owner[first],
        )

    def solid(self) -> "_Spans":
        """Those that take no time (a load that another overtook) as part of the one before."""
        first = np.flatnonzero(self.end > self.begin)
        if not first.size:
            return self
        first[0] = 0
        last = np.append(first[1:], self.begin.size) - 1
        return self._grouped(first, last)

    def events(self, names: list[str], profile: Profile) -> Iterator[Event]:
        commands = profile.program.commands
        mnemonics = [kind.mnemonic for kind in isa.INSTRUCTIONS]
        operations: list[int] = isa.operations(commands[self.command]).tolist()
        begins: list[float] = self.begin.tolist()
        lengths: list[float] = (self.end - self.begin).tolist()
        owners: list[int] = self.owner.tolist()
        for i, owner in enumerate(owners):
            arguments: Event = {
                "tensor": profile.layers[owner].tensor,
                "command": int(self.command[i]),
                "instruction": mnemonics[operations[i]],
                "busy_cycles": float(self.busy[i]),
            }
            if self.commands[i] > 1:
                arguments["commands"] = int(self.commands[i])
            yield _complete(
                names[owner], self.category, self.track, begins[i], lengths[i], arguments
            )


def _spans(profile: Profile) -> list[_Spans]:
    owner, trace, start = profile.owner(), profile.trace, profile.start
    found: list[_Spans] = []

    def add(
        track: int, category: str, begin: Floats, end: Floats, busy: Floats, of: Indices
    ) -> None:
        found.append(_Spans(track, category, begin, end, busy, of, np.ones_like(of), owner[of]))

    for unit in UNITS:
        lane, (track, _) = profile.lanes[unit], _TRACKS[unit]
        end = lane.end
        if unit == "issue":
            # It is not free for the next command before this one is accepted.
            end = profile.run.times[:, 0] - start
        add(track, unit, lane.begin, end, lane.busy, lane.command)
    fences = fences_of(profile.run, trace, start)
    track, _ = _TRACKS["issue"]
    add(track, "fence", fences.begin, fences.end, np.zeros_like(fences.busy), fences.command)
    # A preload during a compute lies inside it.
    under = np.flatnonzero((trace.group == EXECUTE) & (trace.busy == 0) & (trace.end > start))
    track, _ = _TRACKS["array"]
    begin, end = trace.begin[under] - start, trace.end[under] - start
    add(track, "overlapped preload", begin, end, trace.busy[under], under)
    return [
        spans.solid() if spans.category in UNITS else spans.chosen(spans.end > spans.begin)
        for spans in found
    ]


def _joined(spans: list[_Spans], most: int) -> tuple[list[_Spans], int]:
    """Few enough spans, and the gap up to which neighbours were joined for that; -1 for none."""
    if sum(part.begin.size for part in spans) <= most:
        return spans, -1
    # Fences stay, each between two of the host or inside a joined one. What lies inside a compute
    # goes: its neighbours are joined without it.
    fences = [part for part in spans if part.category == "fence"]
    units = [part for part in spans if part.category in UNITS and part.begin.size]
    longest = max((int(part.end[-1]) for part in units), default=0)
    within = 0
    while sum(part.breaks(within).size for part in units) > most and within <= longest:
        within = max(2 * within, 1)
    return [*(part.joined(within) for part in units), *fences], within


def _name(tensor: str, nodes: tuple[str, ...]) -> str:
    return ", ".join(nodes) or tensor


def _complete(
    name: str, category: str, track: int, begin: float, length: float, arguments: Event
) -> Event:
    return {
        "ph": "X",
        "name": name,
        "cat": category,
        "pid": _PROCESS,
        "tid": track,
        "ts": begin,
        "dur": length,
        "args": arguments,
    }


def _tracks(target: str) -> Iterator[Event]:
    def metadata(name: str, track: int, arguments: Event) -> Event:
        return {"ph": "M", "name": name, "pid": _PROCESS, "tid": track, "args": arguments}

    yield metadata("process_name", 0, {"name": target})
    for track, name in ((_LAYERS_TRACK, "layers"), *_TRACKS.values()):
        yield metadata("thread_name", track, {"name": name})
        yield metadata("thread_sort_index", track, {"sort_index": track})


def _layer_events(profile: Profile, names: list[str]) -> Iterator[Event]:
    for name, layer in zip(names, profile.layers, strict=True):
        if layer.cycles:
            arguments: Event = {
                "tensor": layer.tensor,
                "cycles": layer.cycles,
                "macs": layer.macs,
                "utilisation": layer.utilisation,
                "bound": layer.bound,
            }
            yield _complete(name, "layer", _LAYERS_TRACK, layer.begin, layer.cycles, arguments)


def _counters(profile: Profile, most: int) -> Iterator[Event]:
    """What the memories hold, in bytes, whenever it changes."""
    machine, trace, start = profile.target.machine, profile.trace, profile.start
    rows = occupancy(decode_operands(profile.program.commands), machine)
    taken_at = np.where(trace.end > start, trace.begin, profile.run.times[:, 2]) - start
    left_at = profile.run.times[:, 3] - start
    for place, (name, memory) in enumerate(
        (("scratchpad", machine.scratchpad), ("accumulator", machine.accumulator))
    ):
        steps = np.concatenate([rows.taken[:, place], -rows.left[:, place]])
        times = np.concatenate([taken_at, left_at])
        times, steps = times[steps != 0], steps[steps != 0]
        when, which = np.unique(times, return_inverse=True)
        held = np.cumsum(np.bincount(which, weights=steps, minlength=when.size))
        # Rows that a command takes over while the one before ends with them count once.
        held = np.minimum(held, memory.total_rows) * memory.row_bytes
        # Too many changes: of each group the most that was held.
        first = np.arange(0, when.size, -(-when.size // most) if when.size else 1)
        if when.size:
            when, held = when[first], np.maximum.reduceat(held, first)
        for at, count in zip(when.tolist(), held.astype(np.int64).tolist(), strict=True):
            arguments: Event = {"bytes": count}
            yield {
                "ph": "C",
                "name": name,
                "pid": _PROCESS,
                "tid": 0,
                "ts": at,
                "args": arguments,
            }
