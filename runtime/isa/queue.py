"""The command queue: commands that the accelerator fetches itself, as records in DRAM.

A record is a command with what advances its operands from one turn of a loop to the next. `stream`
counts records out into the commands that the accelerator runs.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .configure import Refusals
from .encoding import Columns, Instruction, dram_address, integer, signed

if TYPE_CHECKING:
    from ..accelerator import Accelerator
    from .state import State

RECORD = np.dtype(
    [
        ("funct7", np.uint8),
        ("loop", np.uint8),
        ("rs2_step", np.int16),
        ("rs1_step", np.int32),
        ("rs1", np.uint64),
        ("rs2", np.uint64),
    ]
)
"""A command in DRAM, little-endian; its operands lie as in `COMMAND`.

In every turn of the repeat `loop` around it (0: the innermost) the steps are added to the operands;
where both are 0 there is none. Steps of other loops, or larger ones, are `Step` records before it.
"""

Records = npt.NDArray[np.void]
"""A one-dimensional array of `RECORD`."""


class RunQueue(Instruction, mnemonic="run_queue", funct7=43, extension="command_queue"):
    """Fetches and runs `count` records from DRAM; the next command comes after the last of them."""

    dram: int = dram_address("rs1", 63, 0, default=0)
    count: int = integer("rs2", 31, 0, default=0)

    def execute(self, state: "State") -> None:
        from .stream import count_out
        from .table import decode

        for instruction in decode(count_out(self.commands(), state.dram).commands[1:]):
            assert instruction is not None
            instruction.execute(state)

    @classmethod
    def limits(cls, fields: Columns, machine: "Accelerator") -> Refusals:
        yield fields["dram"] == 0, "a queue needs a DRAM address"
        yield fields["dram"].astype(np.uint64) % 8 != 0, "a queue lies at a multiple of 8 bytes"
        yield fields["count"] == 0, "a queue has at least one record"


class _InQueue(Instruction, mnemonic="in_queue", funct7=-1):
    """What steers a queue and is no command itself."""

    def execute(self, state: "State") -> None:
        raise AssertionError("counted out with the queue")

    @classmethod
    def limits(cls, fields: Columns, machine: "Accelerator") -> Refusals:
        shape = next(iter(fields.values())).shape
        yield np.ones(shape, np.bool_), "only a record of a queue may say that"


class Repeat(_InQueue, mnemonic="repeat", funct7=44, extension="command_queue"):
    """Runs the `records` behind it `count` times. Only in a queue."""

    records: int = integer("rs1", 31, 0, default=0)
    count: int = integer("rs2", 31, 0, default=0)


class Step(_InQueue, mnemonic="step", funct7=45, extension="command_queue"):
    """Adds to the next command's operands in each turn of its record's `loop`. Only in a queue."""

    rs1: int = signed("rs1", 63, 0, default=0)
    rs2: int = signed("rs2", 63, 0, default=0)


Row = tuple[int, int, int, int, int, int]
"""A record's fields, in `RECORD`'s order."""

_MASK = (1 << 64) - 1


def stepped(funct7: int, rs1: int, rs2: int, steps: Iterable[tuple[int, int]]) -> list[Row]:
    """One command: its record, and before it a step for each loop that this cannot hold.

    `steps` are what each loop around it, the innermost first, adds to rs1 and rs2 in a turn.
    """
    own = (0, 0, 0)
    before: list[Row] = []
    for loop, (first, second) in enumerate(steps):
        if not first and not second:
            continue
        if own == (0, 0, 0) and _fits(first, 32) and _fits(second, 16):
            own = (loop, second, first)
        else:
            before.append((Step.funct7, loop, 0, 0, first & _MASK, second & _MASK))
    loop, second, first = own
    return [*before, (funct7, loop, second, first, rs1, rs2)]


def _fits(value: int, bits: int) -> bool:
    return -(1 << (bits - 1)) <= value < 1 << (bits - 1)


def repeated(body: list[Row], count: int) -> list[Row]:
    """The records of a repeat of `body`."""
    funct7, rs1, rs2 = Repeat(records=len(body), count=count).encode()
    return [(funct7, 0, 0, 0, rs1, rs2), *body]


def records(rows: list[Row]) -> Records:
    """As they lie in DRAM."""
    return np.array(rows, RECORD)
