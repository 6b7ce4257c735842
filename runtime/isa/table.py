"""The instruction set as a table: every class, and from a command to its class."""

import numpy as np
import numpy.typing as npt

from .array import ComputeKept, ComputePreloaded, Preload
from .configure import ConfigExecute, ConfigLoad, ConfigStore
from .encoding import COMMAND, Commands, Instruction, Word
from .extensions import (
    ConfigPad,
    ConfigPool,
    ConfigRequantize,
    ConfigScales,
    ConfigTable,
    LoadScales,
    LoadTable,
    MoveOutScratchpad,
)
from .loops import (
    LoopConvConfig1,
    LoopConvConfig2,
    LoopConvConfig3,
    LoopConvConfig4,
    LoopConvConfig5,
    LoopConvConfig6,
    LoopConvWs,
    LoopWs,
    LoopWsAddressesAB,
    LoopWsAddressesDC,
    LoopWsBounds,
    LoopWsStridesAB,
    LoopWsStridesDC,
)
from .moves import MoveIn, MoveIn2, MoveIn3, MoveOut
from .queue import Repeat, RunQueue, Step
from .sparse import ComputeSparseKept, ComputeSparsePreloaded, PreloadSparse
from .synchronize import Counter, Fence, Flush

INSTRUCTIONS: tuple[type[Instruction], ...] = (
    ConfigExecute,
    ConfigLoad,
    ConfigStore,
    MoveIn,
    MoveIn2,
    MoveIn3,
    MoveOut,
    Preload,
    ComputePreloaded,
    ComputeKept,
    Flush,
    Counter,
    Fence,
    LoopWs,
    LoopWsBounds,
    LoopWsAddressesAB,
    LoopWsAddressesDC,
    LoopWsStridesAB,
    LoopWsStridesDC,
    LoopConvWs,
    LoopConvConfig1,
    LoopConvConfig2,
    LoopConvConfig3,
    LoopConvConfig4,
    LoopConvConfig5,
    LoopConvConfig6,
    ConfigRequantize,
    ConfigPad,
    LoadScales,
    ConfigScales,
    LoadTable,
    ConfigTable,
    ConfigPool,
    MoveOutScratchpad,
    PreloadSparse,
    ComputeSparsePreloaded,
    ComputeSparseKept,
    RunQueue,
    Repeat,
    Step,
)

COMPUTES = (ComputePreloaded, ComputeKept, ComputeSparsePreloaded, ComputeSparseKept)
"""The commands with which the array multiplies."""
"""In the order of the documentation.

The position of a class is its operation number (`operations`).
"""

UNKNOWN = 255
"""The operation number of a command that no class encodes."""

_CONFIG_MASK = 3


def _lookup() -> npt.NDArray[np.uint8]:
    table = np.full((256, _CONFIG_MASK + 1), UNKNOWN, np.uint8)
    for number, instruction in enumerate(INSTRUCTIONS):
        if instruction.selector < 0:
            table[instruction.funct7] = number
        else:
            table[instruction.funct7, instruction.selector] = number
    return table


_OPERATIONS = _lookup()


def operations(commands: Commands) -> npt.NDArray[np.uint8]:
    """The operation number of each command.

    Its class's position in `INSTRUCTIONS`, or `UNKNOWN`.
    """
    selector = (commands["rs1"] & np.uint64(_CONFIG_MASK)).astype(np.intp)
    return _OPERATIONS[commands["funct7"].astype(np.intp), selector]


def operation(instruction: type[Instruction]) -> int:
    """The operation number of a class."""
    return INSTRUCTIONS.index(instruction)


def stray_bits(instruction: type[Instruction], commands: Commands) -> npt.NDArray[np.bool_]:
    """Which commands have a bit set that belongs to no field of `instruction`."""
    stray = np.zeros(len(commands), np.bool_)
    words: tuple[Word, Word] = ("rs1", "rs2")
    for word in words:
        known = _CONFIG_MASK if word == "rs1" and instruction.selector >= 0 else 0
        for bits in instruction.bits.values():
            if bits.word == word:
                known |= bits.mask << bits.low
        stray |= (commands[word] & np.uint64(~known & 0xFFFF_FFFF_FFFF_FFFF)) != 0
    return stray


def encode(instructions: "list[Instruction]") -> Commands:
    """A program from instructions, one by one.

    For many alike, `pack` of their class is the fast way.
    """
    program = np.zeros(len(instructions), COMMAND)
    for index, instruction in enumerate(instructions):
        program[index] = instruction.encode()
    return program


def decode(commands: Commands) -> "list[Instruction | None]":
    """The instructions of a program; None where no class encodes exactly this command."""
    numbers = operations(commands)
    decoded: list[Instruction | None] = [None] * len(commands)
    for number, instruction in enumerate(INSTRUCTIONS):
        where = np.flatnonzero(numbers == number)
        if not where.size:
            continue
        chosen = commands[where]
        stray = stray_bits(instruction, chosen)
        columns = {name: column.tolist() for name, column in instruction.unpack(chosen).items()}
        for position, index in enumerate(where):
            if not stray[position]:
                fields = {name: values[position] for name, values in columns.items()}
                decoded[int(index)] = instruction.from_fields(fields)
    return decoded


def relocate(commands: Commands, base: int) -> Commands:
    """The program with `base` added to every DRAM address but 0, which means padding."""
    moved = commands.copy()
    numbers = operations(commands)
    for number, instruction in enumerate(INSTRUCTIONS):
        for bits in instruction.bits.values():
            if bits.kind != "address":
                continue
            assert bits.width == 64, "an address fills its word"
            chosen = (numbers == number) & (moved[bits.word] != 0)
            moved[bits.word][chosen] += np.uint64(base & 0xFFFF_FFFF_FFFF_FFFF)
    return moved
