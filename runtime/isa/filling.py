"""Counts out a queue: the commands that its records become, and when each record is needed.

All turns of all loops around a run of records are written at once, as one strided view of the
result; a queue of millions of commands never becomes an object a command.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .bodies import Body, Indices, Run
from .encoding import COMMAND, Commands


@dataclass(frozen=True)
class _Nest:
    """A loop around what is being counted out."""

    count: int
    pace: int
    """Commands from one turn to the next."""
    fetched: int
    """Records fetched from one turn to the next; 0 where its body stays in the buffer."""


@dataclass(frozen=True)
class Filler:
    """What a queue becomes, an element a command; filled in place."""

    commands: Commands
    record: Indices
    """The record that it comes from."""
    spent: Indices
    """Records that are decoded for it."""
    needs: Indices
    """The record's place in the order of fetching."""
    may: Indices
    """The last place for which there is room."""
    buffer: int

    @classmethod
    def new(cls, length: int, buffer: int) -> "Filler":
        record, needs, may = (np.zeros(length, np.int64) for _ in range(3))
        return cls(np.zeros(length, COMMAND), record, np.ones(length, np.int64), needs, may, buffer)

    def fill(
        self, body: Body, at: int, fetched: int, nest: tuple[_Nest, ...], held: int = -1
    ) -> None:
        """Counts out a body from position `at` on.

        `fetched` records came before it; the buffer holds all from place `held` on, if a loop
        around it stays there.
        """
        for item in body.items:
            if isinstance(item, Run):
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

    def _run(self, run: Run, at: int, fetched: int, nest: tuple[_Nest, ...], held: int) -> None:
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
