"""A queue's records as what they mean: runs of commands, and loops around runs."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from .encoding import COMMAND
from .queue import Records, Repeat, RunQueue, Step
from .table import UNKNOWN, operations

Indices = npt.NDArray[np.int64]


class QueueError(ValueError):
    """A queue that cannot run: the host's command at `index` starts it, `record` is at fault."""

    def __init__(self, message: str, index: int, record: int = -1) -> None:
        super().__init__(message)
        self.index = index
        self.record = record


@dataclass(frozen=True)
class Run:
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
class Loop:
    """A `repeat` record at `place` of the queue, and the records that it repeats."""

    place: int
    count: int
    body: "Body"

    @property
    def records(self) -> int:
        return 1 + self.body.records

    @property
    def length(self) -> int:
        return self.count * self.body.length


@dataclass(frozen=True)
class Body:
    """What follows each other, in a loop or in the whole queue."""

    items: tuple[Run | Loop, ...]

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
            if isinstance(item, Run) or item.body.records <= buffer
            else 1 + item.count * item.body.fetched(buffer)
            for item in self.items
        )


def body_of(records: Records, deepest: int) -> Body:
    """The body of a whole queue, in which at most `deepest` loops may lie in each other.

    Raises:
        QueueError: for a record that no queue may hold, or a loop that is wrong.
    """
    _check(records)
    return _Parser(records, deepest).body(0, len(records), 0)


@dataclass(frozen=True)
class _Parser:
    records: Records
    deepest: int

    @cached_property
    def _repeats(self) -> Indices:
        return np.flatnonzero(self.records["funct7"] == Repeat.funct7)

    def body(self, start: int, stop: int, depth: int) -> Body:
        items: list[Run | Loop] = []
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
        return Body(tuple(items))

    def _loop(self, place: int, stop: int, depth: int) -> Loop:
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
        return Loop(place, count, self.body(place + 1, place + 1 + inside, depth))

    def _run(self, start: int, stop: int, depth: int) -> Run:
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
            return Run(start, stop - start, places, commands, steps)
        owner = np.searchsorted(places, moved)
        own = is_step[moved]
        for word, (name, embedded) in enumerate((("rs1", "rs1_step"), ("rs2", "rs2_step"))):
            values = part[embedded][moved].astype(np.int64).astype(np.uint64)
            values[own] = part[name][moved[own]]
            np.add.at(steps[:, word], (part["loop"][moved].astype(np.intp), owner), values)
        return Run(start, stop - start, places, commands, steps)


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
