"""From what the host issues to what the accelerator runs: queues counted out, and their fetches."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .bodies import Body, Indices, QueueError, Run, body_of
from .encoding import Commands
from .filling import Filler
from .queue import RECORD, RunQueue
from .table import relocate

if TYPE_CHECKING:
    from ..accelerator import Accelerator

MOST = 1 << 28
"""Commands that a queue may become; beyond, its counts are wrong and not its memory too small."""
DEEPEST = 16
"""Loops in each other that the queue of any machine can have."""


@dataclass(frozen=True)
class Fetch:
    """How the commands of a stream come out of DRAM. An element a command, 0 for the host's own.

    A loop whose body fits the queue's buffer is fetched once and stays there; of another one the
    body is fetched in each turn.
    """

    spent: Indices
    """Cycles of decoding: its own, and of records before it that are no commands."""
    needs: Indices
    """How many of `lines` must be there before it is decoded."""
    may: Indices
    """How many of them the buffer has room for until then."""
    lines: Indices
    """DRAM addresses of the lines, in the order in which they are fetched."""


@dataclass(frozen=True)
class Stream:
    """Commands as the accelerator runs them: those of the host, each queue's behind its start."""

    commands: Commands
    origin: Indices
    """For each the host's command that it comes from."""
    record: Indices
    """For each its record in its queue, -1 for the host's own."""
    fetch: Fetch | None = None
    """Where the machine is known, and there is a queue."""


def count_out(
    commands: Commands,
    dram: npt.NDArray[np.uint8],
    machine: "Accelerator | None" = None,
    *,
    base: int = 0,
) -> Stream:
    """What the accelerator runs for the host's `commands`, with the queues that lie in `dram`.

    `machine` gives the limits and the fetches. Records count DRAM addresses from `base`, the
    result from 0.

    Raises:
        QueueError: for the first queue that is wrong.
    """
    every = np.arange(len(commands))
    starts = np.flatnonzero(commands["funct7"] == RunQueue.funct7).tolist()
    if not starts:
        return Stream(commands, every, np.full(len(commands), -1, np.int64))
    parts: list[Stream] = []
    position = lines = 0
    for at in starts:
        parts.append(_issued(commands[position : at + 1], every[position : at + 1]))
        try:
            queue = _counted_out(commands[at], dram, machine, base)
        except QueueError as error:
            raise QueueError(str(error), at, error.record) from None
        fetch = queue.fetch
        if fetch is not None:
            moved = replace(fetch, needs=fetch.needs + lines, may=fetch.may + lines)
            queue = replace(queue, fetch=moved)
            lines += len(fetch.lines)
        parts.append(replace(queue, origin=np.full(len(queue.commands), at)))
        position = at + 1
    parts.append(_issued(commands[position:], every[position:]))
    fetches = [part.fetch for part in parts if part.fetch is not None]
    joined = None
    if machine is not None:
        joined = Fetch(
            spent=np.concatenate([fetch.spent for fetch in fetches]),
            needs=np.concatenate([fetch.needs for fetch in fetches]),
            may=np.concatenate([fetch.may for fetch in fetches]),
            lines=np.concatenate([fetch.lines for fetch in fetches]),
        )
    return Stream(
        np.concatenate([part.commands for part in parts]),
        np.concatenate([part.origin for part in parts]),
        np.concatenate([part.record for part in parts]),
        joined,
    )


def _issued(commands: Commands, origin: Indices) -> Stream:
    """Commands of the host's own."""
    nothing = np.zeros(len(commands), np.int64)
    fetch = Fetch(nothing, nothing, nothing, np.zeros(0, np.int64))
    return Stream(commands, origin, nothing - 1, fetch)


def _counted_out(
    start: np.void, dram: npt.NDArray[np.uint8], machine: "Accelerator | None", base: int
) -> Stream:
    address, count = int(start["rs1"]), int(start["rs2"])
    end = address + count * RECORD.itemsize
    if not 0 < address <= end <= len(dram):
        raise QueueError(
            f"records at {address:#x} to {end:#x} are outside the {len(dram):#x} bytes of DRAM", 0
        )
    records = dram[address:end].view(RECORD)
    queue = machine.command_queue if machine else None
    body = body_of(records, queue.loops if queue else DEEPEST)
    if body.length > MOST:
        raise QueueError(f"the queue becomes {body.length} commands, more than {MOST}", 0)
    filler = Filler.new(body.length, queue.records if queue else 0)
    filler.fill(body, 0, 0, ())
    commands = relocate(filler.commands, -base) if base else filler.commands
    origin = np.zeros(len(commands), np.int64)
    fetch = None
    if machine is not None and queue is not None:
        order = _fetched(body, queue.records)
        lines, behind = _lines(address, order, machine.dma.request_bytes)
        last = len(behind) - 1
        fetch = Fetch(
            filler.spent * queue.decode,
            behind[filler.needs],
            behind[np.minimum(filler.may, last)],
            lines,
        )
    return Stream(commands, origin, filler.record, fetch)


def _fetched(body: Body, buffer: int) -> Indices:
    """The records in the order in which they are fetched."""
    parts = list(_fetches(body, buffer))
    return np.concatenate(parts)


def _fetches(body: Body, buffer: int) -> Iterator[Indices]:
    for item in body.items:
        if isinstance(item, Run):
            yield np.arange(item.first, item.first + item.records)
            continue
        yield np.array([item.place])
        inside = _fetched(item.body, buffer)
        yield inside if item.body.records <= buffer else np.tile(inside, item.count)


def _lines(address: int, records: Indices, size: int) -> tuple[Indices, Indices]:
    """The lines of `size` bytes that hold the records, in order, and how many with each record.

    A line that the record before lies in too comes once.
    """
    first = address + records * RECORD.itemsize
    both = np.stack([first, first + RECORD.itemsize - 1], axis=1).reshape(-1) // size
    new = np.concatenate([[True], both[1:] != both[:-1]])
    return both[new] * size, np.cumsum(new)[1::2]
