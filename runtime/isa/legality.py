"""Which commands a machine can run: those it has the extension for, within the portable limits."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .assembly import disassemble
from .encoding import Commands
from .table import INSTRUCTIONS, UNKNOWN, operations, stray_bits

if TYPE_CHECKING:
    from ..target import Target


@dataclass(frozen=True)
class Illegal:
    """A command that a machine would refuse."""

    index: int
    text: str
    """The command as assembly."""
    reason: str

    def __str__(self) -> str:
        return f"command {self.index}: {self.text}: {self.reason}"


def illegal_for(target: "Target", commands: Commands) -> Illegal | None:
    """The first command that `target` cannot run, or None.

    What depends on the state of the machine is the simulator's to find.
    """
    machine = target.machine
    first = len(commands)
    reason = ""
    numbers = operations(commands)
    unknown = np.flatnonzero(numbers == UNKNOWN)
    if unknown.size:
        first, reason = int(unknown[0]), "no such instruction"
    for number, instruction in enumerate(INSTRUCTIONS):
        where = np.flatnonzero(numbers == number)
        if not where.size or where[0] > first:
            continue
        if instruction.extension and instruction.extension not in machine.extensions:
            first = int(where[0])
            reason = f"{target.name} lacks the extension {instruction.extension}"
            continue
        chosen = commands[where]
        fields = instruction.unpack(chosen)
        refusals = [(stray_bits(instruction, chosen), "bits set that belong to no field")]
        refusals.extend(instruction.limits(fields, machine))
        for mask, why in refusals:
            if mask.any():
                index = int(where[int(np.argmax(mask))])
                if index < first:
                    first, reason = index, why
    if first == len(commands):
        return None
    return Illegal(first, disassemble(commands[first : first + 1]).strip(), reason)


def check_portable(commands: Commands) -> Illegal | None:
    """The first command outside the portable subset, which every Gemmini runs, or None."""
    from ..target import load_target

    return illegal_for(load_target("gemmini"), commands)
