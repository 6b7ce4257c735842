"""From what the host issues to what the accelerator runs: queues counted out, and their fetches.

All turns of all loops around a run of records are written at once, as one strided view of the
result; a queue of millions of commands never becomes an object a command.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .encoding import COMMAND, Commands
from .queue import RECORD, Records, Repeat, RunQueue, Step
from .table import UNKNOWN, operations, relocate

if TYPE_CHECKING:
    from ..target import Accelerator

MOST = 1 << 28
"""Commands that a queue may become; beyond, its counts are wrong and not its memory too small."""
DEEPEST = 16
"""Loops in each other that the queue of any machine can have."""

Indices = npt.NDArray[np.int64]


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


class QueueError(ValueError):
    """A queue that cannot run: the host's command at `index` starts it, `record` is at fault."""

    def __init__(self, message: str, index: int, record: int = -1) -> None:
        super().__init__(message)
        self.index = index
        self.record = record


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
    _check(records)
    queue = machine.command_queue if machine else None
    body = _Parser(records, queue.loops if queue else DEEPEST).body(0, count, 0)
    if body.length > MOST:
        raise QueueError(f"the queue becomes {body.length} commands, more than {MOST}", 0)
    filler = _Filler.new(body.length, queue.records if queue else 0)
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


@dataclass(frozen=True)
class _Run:
    """Records without a loop among them."""

    first: int
    """The first one's place in the queue."""
    records: int
    places: Indices
    """Of its commands, from `first`."""
    commands: Records
    steps: npt.NDArray[np.uint64]
    """What each loop around it, the innermost first, adds to (rs1, rs2); shape (loops, 2, n)."""

    @property
    def length(self) -> int:
        return len(self.commands)


@dataclass(frozen=True)
class _Loop:
    place: int
    count: int
    body: "_Body"

    @property
    def records(self) -> int:
        return 1 + self.body.records

    @property
    def length(self) -> int:
        return self.count * self.body.length


@dataclass(frozen=True)
class _Body:
    items: tuple[_Run | _Loop, ...]

    @cached_property
    def records(self) -> int:
        return sum(item.records for item in self.items)

    @cached_property
    def length(self) -> int:
        """Commands that it becomes."""
        return sum(item.length for item in self.items)

    def fetched(self, buffer: int) -> int:
        """How many records are fetched for it."""
        return sum(
            item.records
            if isinstance(item, _Run) or item.body.records <= buffer
            else 1 + item.count * item.body.fetched(buffer)
            for item in self.items
        )


@dataclass(frozen=True)
class _Parser:
    records: Records
    deepest: int

    @cached_property
    def _repeats(self) -> Indices:
        return np.flatnonzero(self.records["funct7"] == Repeat.funct7)

    def body(self, start: int, stop: int, depth: int) -> _Body:
        items: list[_Run | _Loop] = []
        position = start
        while position < stop:
            ahead = int(np.searchsorted(self._repeats, position))
            loop = int(self._repeats[ahead]) if ahead < len(self._repeats) else stop
            loop = min(loop, stop)
            if loop > position:
                items.append(self._run(position, loop, depth))
                position = loop
                continue
            items.append(self._loop(position, stop, depth + 1))
            position += items[-1].records
        return _Body(tuple(items))

    def _loop(self, place: int, stop: int, depth: int) -> _Loop:
        record = self.records[place]
        inside, count = int(record["rs1"]), int(record["rs2"])
        if depth > self.deepest:
            raise QueueError(
                f"{depth} repeats in each other, at most {self.deepest} may be", 0, place
            )
        if not 1 <= inside < stop - place:
            raise QueueError(
                f"repeats {inside} records, behind it are {stop - place - 1} that it may", 0, place
            )
        if not 1 <= count < 1 << 32:
            raise QueueError("repeats at least once, fewer than 2^32 times", 0, place)
        return _Loop(place, count, self.body(place + 1, place + 1 + inside, depth))

    def _run(self, start: int, stop: int, depth: int) -> _Run:
        part = self.records[start:stop]
        is_step = part["funct7"] == Step.funct7
        if is_step[-1]:
            raise QueueError("a step has no command behind it", 0, stop - 1)
        places = np.flatnonzero(~is_step)
        commands = part[places]
        steps = np.zeros((depth, 2, len(places)), np.uint64)
        moved = is_step | (part["rs1_step"] != 0) | (part["rs2_step"] != 0)
        wrong = np.flatnonzero(moved & (part["loop"] >= depth))
        if wrong.size:
            loop = int(part["loop"][wrong[0]])
            raise QueueError(
                f"steps in loop {loop} around it, there are {depth}", 0, start + int(wrong[0])
            )
        moved = np.flatnonzero(moved)
        if not moved.size:
            return _Run(start, stop - start, places, commands, steps)
        owner = np.searchsorted(places, moved)
        own = is_step[moved]
        for word, (name, embedded) in enumerate((("rs1", "rs1_step"), ("rs2", "rs2_step"))):
            values = part[embedded][moved].astype(np.int64).astype(np.uint64)
            values[own] = part[name][moved[own]]
            np.add.at(steps[:, word], (part["loop"][moved].astype(np.intp), owner), values)
        return _Run(start, stop - start, places, commands, steps)


def _check(records: Records) -> None:
    """Refuses what no queue may hold."""
    plain = np.zeros(len(records), COMMAND)
    plain["funct7"], plain["rs1"] = records["funct7"], records["rs1"]
    unknown = np.flatnonzero(operations(plain) == UNKNOWN)
    if unknown.size:
        number = int(records["funct7"][unknown[0]])
        raise QueueError(f"no instruction has function {number}", 0, int(unknown[0]))
    nested = np.flatnonzero(records["funct7"] == RunQueue.funct7)
    if nested.size:
        raise QueueError("a queue cannot start a queue", 0, int(nested[0]))


@dataclass(frozen=True)
class _Nest:
    """A loop around what is being counted out."""

    count: int
    pace: int
    """Commands from one turn to the next."""
    fetched: int
    """Records fetched from one turn to the next; 0 where its body stays in the buffer."""


@dataclass(frozen=True)
class _Filler:
    commands: Commands
    record: Indices
    spent: Indices
    """Records that are decoded for it."""
    needs: Indices
    """The record's place in the order of fetching."""
    may: Indices
    """The last place for which there is room."""
    buffer: int

    @classmethod
    def new(cls, length: int, buffer: int) -> "_Filler":
        record, needs, may = (np.zeros(length, np.int64) for _ in range(3))
        return cls(np.zeros(length, COMMAND), record, np.ones(length, np.int64), needs, may, buffer)

    def fill(
        self, body: _Body, at: int, fetched: int, nest: tuple[_Nest, ...], held: int = -1
    ) -> None:
        """Counts out a body from position `at` on.

        `fetched` records came before it; the buffer holds all from place `held` on, if a loop
        around it stays there.
        """
        for item in body.items:
            if isinstance(item, _Run):
                self._run(item, at, fetched, nest, held)
                fetched += item.records
            else:
                inside = item.body
                stays = inside.records <= self.buffer
                pace = 0 if stays else inside.fetched(self.buffer)
                if self.buffer:
                    # Repeats are decoded once, before the first turn.
                    view = _strided(self.spent, at, nest, 1)
                    view[_first_turns(nest)] += 1
                first = fetched + 1 if stays and held < 0 else held
                inner = _Nest(item.count, inside.length, pace)
                self.fill(inside, at, fetched + 1, (*nest, inner), first)
                fetched += item.records if stays else 1 + item.count * pace
            at += item.length

    def _run(self, run: _Run, at: int, fetched: int, nest: tuple[_Nest, ...], held: int) -> None:
        commands = _strided(self.commands, at, nest, run.length)
        commands["funct7"] = run.commands["funct7"]
        for word, name in enumerate(("rs1", "rs2")):
            commands[name] = _advancing(run.commands[name], run.steps[::-1, word], nest)
        _strided(self.record, at, nest, run.length)[...] = run.places + run.first
        if not self.buffer:
            return
        place = fetched + run.places
        paces = np.array([[one.fetched] for one in nest], np.int64).reshape(len(nest), 1)
        _strided(self.needs, at, nest, run.length)[...] = _advancing(place, paces, nest)
        room = place if held < 0 else np.array([held])
        _strided(self.may, at, nest, run.length)[...] = _advancing(
            room + self.buffer - 1, paces, nest
        )
        before = np.diff(run.places, prepend=-1) - 1
        if before.any():
            _strided(self.spent, at, nest, run.length)[_first_turns(nest)] += before


def _strided(array: np.ndarray, at: int, nest: Sequence[_Nest], length: int) -> np.ndarray:
    """The `length` elements from `at` on in all turns; an axis a loop, and one more."""
    size = array.itemsize
    shape = (*(one.count for one in nest), length)
    strides = (*(one.pace * size for one in nest), size)
    return np.ndarray(shape, array.dtype, array, at * size, strides)


def _first_turns(nest: Sequence[_Nest]) -> tuple[slice, ...]:
    """Those in which the records are fetched."""
    return tuple(slice(None) if one.fetched else slice(1) for one in nest)


def _advancing(first: np.ndarray, steps: np.ndarray, nest: Sequence[_Nest]) -> np.ndarray:
    """`first` in all turns: element i of `steps` is what loop i, the outermost first, adds."""
    total = first
    for axis, (one, step) in enumerate(zip(nest, steps, strict=True)):
        if not step.any():
            continue
        turns = np.arange(one.count, dtype=first.dtype)
        shape = [1] * (len(nest) + 1)
        shape[axis] = one.count
        total = total + turns.reshape(shape) * step
    return total


def _fetched(body: _Body, buffer: int) -> Indices:
    """The records in the order in which they are fetched."""
    parts = list(_fetches(body, buffer))
    return np.concatenate(parts)


def _fetches(body: _Body, buffer: int) -> Iterator[Indices]:
    for item in body.items:
        if isinstance(item, _Run):
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
