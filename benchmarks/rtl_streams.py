"""Reads the command streams recorded from a stock 16x16 Gemmini in RTL simulation."""

import gzip
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from mcc.runtime import isa
from mcc.runtime.simulator import Machine
from mcc.runtime.target import Target

_LOWEST = 0x8000_0000  # where the recorded machine's memory starts
_PAGE = 4096
_ONLY_STRIDES, _A_STRIDE = 1 << 7, 0xFFFF << 16
"""Fields of the first operand of a configuration of the array."""


@dataclass(frozen=True)
class Buffer:
    name: str
    start: int
    data: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Run:
    """One measured run.

    Total cycles, and per command when the accelerator accepted, issued and completed it.
    """

    cycles: int
    host: npt.NDArray[np.int64]
    enter: npt.NDArray[np.int64]
    allocate: npt.NDArray[np.int64]
    issue: npt.NDArray[np.int64]
    done: npt.NDArray[np.int64]
    retired: npt.NDArray[np.int64]
    """Instructions that the host had retired at each command; empty where not recorded."""
    dram_bytes_read: int


@dataclass(frozen=True)
class Stream:
    """A program with its buffers; addresses are relocated so that DRAM starts at 0."""

    name: str
    kind: str
    form: str
    """explicit, loop_ws or loop_conv_ws."""
    issue: str
    axi_latency: int
    buffers: list[Buffer]
    setup: isa.Commands
    commands: isa.Commands
    unrolled: isa.Commands
    """What the hardware made of `commands`: the same but for loops."""
    runs: dict[str, Run]
    outputs: dict[str, str]
    """Output buffer to the sha256 of its bytes."""
    matches_reference: bool

    @property
    def dram_bytes(self) -> int:
        return max((b.start + b.data.size for b in self.buffers), default=0) + _PAGE


def read_streams(folder: Path, names: list[str] | None = None) -> Iterator[Stream]:
    """The streams of `folder`, sorted by name."""
    for path in sorted(folder.glob("*.json*")):
        name = path.name.partition(".")[0]
        if names and name not in names:
            continue
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        yield _stream(cast("dict[str, Any]", json.loads(raw)))


def fill(machine: Machine, stream: Stream) -> None:
    """Puts the stream's buffers into DRAM."""
    for buffer in stream.buffers:
        machine.dram[buffer.start : buffer.start + buffer.data.size] = buffer.data


def differing_outputs(machine: Machine, stream: Stream) -> list[str]:
    """The output buffers whose bytes in DRAM are not the recorded ones."""
    different: list[str] = []
    for buffer in stream.buffers:
        expected = stream.outputs.get(buffer.name)
        if expected is None:
            continue
        found = machine.dram[buffer.start : buffer.start + buffer.data.size]
        if hashlib.sha256(found.tobytes()).hexdigest() != expected:
            different.append(buffer.name)
    return different


def new_machine(target: Target, stream: Stream) -> Machine:
    """A machine with the stream's buffers in place.

    Without checks: some streams measure time only and compute on what is there, two order loads by
    luck.
    """
    machine = Machine(target, stream.dram_bytes, check_hazards=False, check_undefined=False)
    fill(machine, stream)
    return machine


def _stream(record: dict[str, Any]) -> Stream:
    lowest = min((int(buffer["base"], 16) for buffer in record["buffers"]), default=_LOWEST)
    base = lowest - _PAGE  # address 0 must not be data
    assert lowest >= _LOWEST
    return Stream(
        name=record["name"],
        kind=record["kind"],
        form=record["isa"],
        issue=record["issue"],
        axi_latency=record["axi_latency"],
        buffers=[
            Buffer(buffer["name"], int(buffer["base"], 16) - base, _initial(buffer))
            for buffer in record["buffers"]
        ],
        setup=isa.relocate(_commands(record["setup"]), -base),
        commands=isa.relocate(_commands(record["cmds"]), -base),
        unrolled=isa.relocate(_commands(record.get("unrolled") or record["cmds"]), -base),
        runs={name: _run(run) for name, run in record["runs"].items()},
        outputs={
            output["buf"]: output["sha256"] for output in record["outputs"] if "sha256" in output
        },
        matches_reference=all(output["match"] for output in record["outputs"]),
    )


def _commands(rows: list[list[Any]]) -> isa.Commands:
    commands = np.zeros(len(rows), isa.COMMAND)
    for index, row in enumerate(rows):
        if row[0] == "fence":
            commands[index] = isa.Fence().encode()
        else:
            commands[index] = (row[0], _operand(row[0], row[1]), _operand(row[0], row[2]))
    is_execute = (commands["funct7"] == isa.ConfigExecute.funct7) & (commands["rs1"] & 3 == 0)
    # An activation of results written to the scratchpad, which no recorded program does.
    commands["rs1"][is_execute] &= np.uint64(~np.uint64(0b11000))
    # One that sets only the strides leaves the rest as it was.
    rest = isa.ConfigExecute().encode()[1]
    for place in np.flatnonzero(is_execute):
        value = int(commands["rs1"][place])
        if value & _ONLY_STRIDES:
            value = rest & ~_A_STRIDE | value & _A_STRIDE
            commands["rs1"][place] = value
        rest = value
    # A scale of all ones, which only unrollers write, keeps the last one.
    scale = 0
    for place in np.flatnonzero((commands["funct7"] == 0) & (commands["rs1"] & 3 == 2)):
        value = int(commands["rs2"][place])
        scale = scale if value >> 32 == 0xFFFFFFFF else value >> 32
        commands["rs2"][place] = value & 0xFFFFFFFF | scale << 32
    return commands


def _operand(funct7: int, text: str) -> int:
    """The recorded operand.

    The hardware's unrollers write "no address" in fewer bits than programs do.
    """
    value = int(text, 16)
    computes = (isa.Preload.funct7, isa.ComputePreloaded.funct7, isa.ComputeKept.funct7)
    if funct7 in computes and value >> 29 & 7 == 7:
        value |= isa.GARBAGE
    return value


def _run(record: dict[str, Any]) -> Run:
    columns = [np.array(column, np.int64) for column in [record["host"], *record["rs"]]]
    host, enter, allocate, issue, done = columns
    return Run(
        cycles=record["cycles"],
        host=host,
        enter=enter,
        allocate=allocate,
        issue=issue,
        done=done,
        retired=np.array(record.get("minstret", []), np.int64),
        dram_bytes_read=record["axi_rd_bytes"],
    )


def _initial(buffer: dict[str, Any]) -> npt.NDArray[np.uint8]:
    size: int = buffer["bytes"]
    match buffer["init"]:
        case "zero":
            return np.zeros(size, np.uint8)
        case "hex":
            return np.frombuffer(bytes.fromhex(buffer["hex"]), np.uint8)
        case "lcg8":
            values = _lcg(buffer["seed"], size)
            signed = (values >> np.uint32(24)).astype(np.uint8).view(np.int8)
            return (signed >> np.int8(buffer["shr"])).view(np.uint8)
        case "lcg32":
            values = _lcg(buffer["seed"], -(-size // 4)).view(np.int32)
            return (values >> np.int32(buffer["shr"])).astype("<i4").view(np.uint8)[:size]
        case other:
            raise ValueError(f"unknown initialiser {other}")


def _lcg(seed: int, count: int) -> npt.NDArray[np.uint32]:
    states = np.empty(count, np.uint32)
    state = seed
    for i in range(count):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        states[i] = state
    return states
