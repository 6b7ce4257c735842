"""Trace events: valid by the format's rules, and telling what the profile tells."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import mcc
from mcc.runtime import Program, load_target
from mcc.runtime.profiling import Profile, profile_program, trace_events

EXAMPLES = Path(__file__).parents[1] / "examples"
Event = dict[str, Any]

REQUIRED: dict[str, dict[str, type | tuple[type, ...]]] = {
    "X": {"name": str, "cat": str, "ts": (int, float), "dur": (int, float), "args": dict},
    "C": {"name": str, "ts": (int, float), "args": dict},
    "M": {"name": str, "args": dict},
}
"""The keys that the trace-event format wants of each phase, beside `ph`, `pid` and `tid`."""
METADATA = {"process_name": ("name", str), "thread_name": ("name", str),
            "thread_sort_index": ("sort_index", int)}  # fmt: skip


def check_trace(content: bytes) -> list[Event]:
    """Raise an AssertionError unless these are valid trace events; returns them."""
    record = json.loads(content, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert set(record) <= {"traceEvents", "displayTimeUnit", "otherData"}
    assert record["displayTimeUnit"] in ("ms", "ns")
    events: list[Event] = record["traceEvents"]
    tracks: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    last: dict[tuple[int, str], float] = {}
    for event in events:
        required = REQUIRED[event["ph"]]
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        for key, kind in required.items():
            assert isinstance(event[key], kind), (key, event)
        assert set(event) == {"ph", "pid", "tid", *required}, event
        assert event["name"], event
        if event["ph"] == "M":
            key, kind = METADATA[event["name"]]
            assert isinstance(event["args"][key], kind)
            continue
        assert event["ts"] >= 0
        if event["ph"] == "C":
            assert event["args"], event
            for value in event["args"].values():
                assert isinstance(value, int | float), event
                assert not isinstance(value, bool), event
            series = (event["pid"], event["name"])
            assert last.get(series, -1) < event["ts"], event
            last[series] = event["ts"]
        else:
            assert event["dur"] >= 0
            tracks[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    named = {(e["pid"], e["tid"]) for e in events if e["name"] == "thread_name"}
    assert set(tracks) <= named
    for spans in tracks.values():
        check_nesting(spans)
    return events


def check_nesting(spans: list[tuple[float, float]]) -> None:
    """Any two spans of a track must be disjoint, or one inside the other."""
    around: list[float] = []
    for begin, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        while around and around[-1] <= begin:
            around.pop()
        assert not around or end <= around[-1], f"{begin} to {end} reaches over {around[-1]}"
        around.append(end)


@pytest.fixture(scope="module")
def profile() -> Profile:
    artifact = mcc.compile(
        EXAMPLES / "digits.onnx",
        target="gemmini",
        calibrate=EXAMPLES / "digits_calibration.npz",
    )
    return profile_program(Program.from_artifact(artifact), artifact.target)


@pytest.fixture(scope="module")
def events(profile: Profile) -> list[Event]:
    return check_trace(trace_events(profile))


def track(events: list[Event], name: str) -> list[Event]:
    (tid,) = (
        e["tid"]
        for e in events
        if e["name"] == "thread_name" and e["args"]["name"].startswith(name)
    )
    return [e for e in events if e["ph"] == "X" and e["tid"] == tid]


def test_the_checker_finds_what_is_wrong() -> None:
    def trace(*events: Event) -> bytes:
        return json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}).encode()

    thread: Event = {"ph": "M", "pid": 1, "tid": 2, "name": "thread_name", "args": {"name": "t"}}
    span: Event = {
        "ph": "X",
        "pid": 1,
        "tid": 2,
        "name": "n",
        "cat": "c",
        "ts": 5,
        "dur": 5,
        "args": {},
    }
    count: Event = {"ph": "C", "pid": 1, "tid": 0, "name": "n", "ts": 5, "args": {"bytes": 1}}
    assert check_trace(trace(thread, span, {**span, "ts": 6, "dur": 4}, {**span, "ts": 10}, count))
    wrongs: list[list[Event]] = [
        [span],  # an unnamed track
        [thread, {**span, "dur": -1}],
        [thread, {**span, "ts": -1}],
        [thread, span, {**span, "ts": 6}],  # neither inside nor apart
        [thread, {**span, "name": ""}],
        [thread, {**span, "dur": "5"}],
        [{**count, "args": {"bytes": "1"}}],
        [{**count, "args": {}}],
        [count, count],
        [{**thread, "args": {}}],
    ]
    for wrong in wrongs:
        with pytest.raises((AssertionError, KeyError)):
            check_trace(trace(*wrong))


def test_every_event_is_named_by_its_onnx_nodes(profile: Profile, events: list[Event]) -> None:
    names = {", ".join(layer.nodes) for layer in profile.layers}
    spans = [event for event in events if event["ph"] == "X"]
    assert {event["name"] for event in spans} == names
    for event in spans:
        if "command" in event["args"]:
            stop = event["args"]["command"]
            owner = [layer for layer in profile.program.layers if layer.start <= stop][-1]
            assert event["name"] == ", ".join(owner.nodes)


def test_a_track_for_the_layers_and_each_unit(profile: Profile, events: list[Event]) -> None:
    layers = track(events, "layers")
    assert [(e["ts"], e["dur"]) for e in layers] == [(a.begin, a.cycles) for a in profile.layers]
    for name in ("issue", "loads", "array", "stores"):
        spans = track(events, name)
        assert spans
        assert all(e["dur"] > 0 for e in spans)
        assert max(e["ts"] + e["dur"] for e in spans) <= profile.cycles
        busy = sum(e["args"]["busy_cycles"] for e in spans)
        assert busy == pytest.approx({str(u): v.total for u, v in profile.lanes.items()}[name])
    commands = {e["args"]["command"] for e in track(events, "issue")}
    assert commands == set(range(len(profile.program.commands)))


def test_counters_say_what_the_memories_hold(profile: Profile, events: list[Event]) -> None:
    machine = profile.target.machine
    for name, memory in (("scratchpad", machine.scratchpad), ("accumulator", machine.accumulator)):
        held = [e["args"]["bytes"] for e in events if e["ph"] == "C" and e["name"] == name]
        assert len(held) > 10
        assert held[-1] == 0
        assert all(0 <= bytes_ <= memory.total_bytes for bytes_ in held)
        assert all(bytes_ % memory.row_bytes == 0 for bytes_ in held)
        assert max(held) > 0.02 * memory.total_bytes


@pytest.mark.parametrize("most", [40, 200, 1000])
def test_long_traces_are_joined(profile: Profile, events: list[Event], most: int) -> None:
    content = trace_events(profile, most=most)
    assert json.loads(content)["otherData"]["joined_within_cycles"] >= 0
    joined = check_trace(content)
    fences = sum(e.get("cat") == "fence" for e in events)
    spans = [e for e in joined if e["ph"] == "X" and e["cat"] not in ("layer", "fence")]
    assert len(spans) <= most
    assert sum(e.get("cat") == "fence" for e in joined) == fences
    for name in ("issue", "loads", "array", "stores"):
        whole = sum(e["args"]["busy_cycles"] for e in track(events, name))
        assert sum(e["args"]["busy_cycles"] for e in track(joined, name)) == pytest.approx(whole)

    def peak(of: list[Event]) -> int:
        return max(cast(int, e["args"]["bytes"]) for e in of if e["ph"] == "C")

    assert peak(joined) == peak(events)


def test_a_trace_says_what_its_times_mean(profile: Profile) -> None:
    other = json.loads(trace_events(profile))["otherData"]
    assert other["time_unit"] == "1 us is 1 cycle"
    assert (other["cycles"], other["caches"]) == (profile.cycles, "warm")
    assert other["joined_within_cycles"] == -1


def test_an_empty_program_has_an_empty_trace() -> None:
    from mcc.runtime import isa

    program = Program(isa.encode([]), np.zeros(64, np.uint8), {}, ())
    events = check_trace(trace_events(profile_program(program, load_target("gemmini"))))
    assert all(event["ph"] == "M" for event in events)
