"""The calls that the outputs need, in order, and where in memory each result lies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mcc.backends import Lifetime, aligned, place
from mcc.ir import Constant

from .plan import Call, Plan
from .storage import Slot


@dataclass(frozen=True)
class Program:
    """A plan's calls with places for their results.

    Results that leave the model are written into the caller's arrays; all others lie in one
    workspace, one over another where their lives do not meet.
    """

    plan: Plan
    steps: tuple[int, ...]
    """Numbers of the calls that the outputs need, in order; the others serve observers."""
    replaced: Mapping[int, int]
    """By number of a call: the input in whose memory it writes its output."""
    outputs: tuple[Slot, ...]
    written: Mapping[Slot, int]
    """Slots that a kernel writes into the caller's array, and the number of that output."""
    copied: tuple[tuple[int, Slot], ...]
    """Outputs that no kernel writes: an input, a constant, or another output."""
    offsets: Mapping[Slot, int]
    """In the workspace."""
    workspace: int
    """Its bytes."""
    lower_bound: int
    """The most bytes that live in it at once: no order of the same calls takes less."""

    @property
    def constants(self) -> list[Slot]:
        """Every constant that a kernel reads or a value shows, in the order of first use."""
        read = [slot for call in self.plan.calls for slot in call.inputs]
        shown = [s for v, s in self.plan.slots.items() if not isinstance(v.op, Constant)]
        slots = (*read, *shown, *self.outputs)
        return list(dict.fromkeys(slot for slot in slots if slot.data is not None))


def arrange(plan: Plan, outputs: Sequence[Slot]) -> Program:
    """Choose the calls for `outputs`, and a place for everything they make."""
    steps = _needed(plan.calls, outputs)
    made = {plan.calls[number].output for number in steps}
    written: dict[Slot, int] = {}
    copied: list[tuple[int, Slot]] = []
    for number, slot in enumerate(outputs):
        if slot in made and slot not in written:
            written[slot] = number
        else:
            copied.append((number, slot))
    # Who continues an array finds the earlier parts in its own memory.
    replaced = {n: c.continued for n, c in enumerate(plan.calls) if c.continued is not None}
    for number in reversed(steps):
        call = plan.calls[number]
        if call.continued is not None and call.output in written:
            written[call.inputs[call.continued]] = written[call.output]
    last_use = {slot: step for step, n in enumerate(steps) for slot in plan.calls[n].inputs}
    home: dict[Slot, Slot] = {}
    """The first of the slots that take each other's place."""
    lives: dict[Slot, Lifetime] = {}
    for step, number in enumerate(steps):
        call = plan.calls[number]
        if call.output in written:
            continue
        if call.continued is not None:
            home[call.output] = home[call.inputs[call.continued]]
        for position in call.replaceable:
            slot = call.inputs[position]
            if slot in home and last_use[slot] == step:
                replaced[number] = position
                home[call.output] = home[slot]
                break
        first = home.setdefault(call.output, call.output)
        begin = lives[first].first if first in lives else step
        end = last_use.get(call.output, step)
        lives[first] = Lifetime(nbytes(first), begin, end)
    placed = place(list(lives.values()), 0)
    of = dict(zip(lives, placed.offsets, strict=True))
    return Program(
        plan=plan,
        steps=tuple(steps),
        replaced=replaced,
        outputs=tuple(outputs),
        written=written,
        copied=tuple(copied),
        offsets={slot: of[first] for slot, first in home.items()},
        workspace=placed.peak,
        lower_bound=placed.lower_bound,
    )


def _needed(calls: Sequence[Call], outputs: Sequence[Slot]) -> list[int]:
    needed = set(outputs)
    kept: list[int] = []
    for number in reversed(range(len(calls))):
        if calls[number].output in needed:
            needed.update(calls[number].inputs)
            kept.append(number)
    return kept[::-1]


def nbytes(slot: Slot) -> int:
    return slot.size * np.dtype(slot.dtype).itemsize


def constant_offsets(program: Program) -> dict[Slot, int]:
    """Where each constant begins in the block of all of them."""
    offsets: dict[Slot, int] = {}
    end = 0
    for slot in program.constants:
        offsets[slot] = end
        end += aligned(nbytes(slot))
    return offsets
