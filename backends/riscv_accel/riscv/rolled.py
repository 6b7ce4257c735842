"""A kernel's loops as C: the commands of each tile op, their operands affine in the loop counters.

The operands are read off the program's own commands: for each tile op, a constant and a step for
every loop around it are found, and every one of its commands is compared with that formula. So the
C code issues exactly the stream that the simulator runs.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mcc.ir import Op
from mcc.runtime import isa

from ..expand import width
from ..structure import For

Words = npt.NDArray[np.uint64]

_FENCE = isa.Fence.funct7
_WORDS = ("rs1", "rs2")


@dataclass(frozen=True)
class Loop:
    """A loop around a tile op: how often, and how many commands lie between two iterations."""

    count: int
    pace: int


@dataclass(frozen=True)
class Roller:
    """Prints ops of one kernel.

    Args:
        commands: Theirs, all loops counted out.
        constant_end: DRAM addresses below are constants, those from here on are activations.
    """

    commands: isa.Commands
    constant_end: int

    def lines(self, ops: Iterable[Op]) -> list[str]:
        """The statements of ops at a kernel's top level."""
        lines, end = self._ops(ops, 0, ())
        if end != len(self.commands):
            raise ValueError(f"the loops stand for {end} commands of {len(self.commands)}")
        return lines

    def _ops(self, ops: Iterable[Op], start: int, loops: tuple[Loop, ...]) -> tuple[list[str], int]:
        lines: list[str] = []
        position = start
        indent = "  " * (len(loops) + 1)
        for op in ops:
            if isinstance(op, For):
                pace = sum(width(inner) for inner in op.body)
                index = f"i{len(loops)}"
                body, _ = self._ops(op.body, position, (*loops, Loop(op.count, pace)))
                lines.append(
                    f"{indent}for (uint64_t {index} = 0; {index} < {op.count}; {index}++) {{"
                )
                lines += [*body, f"{indent}}}"]
                position += op.count * pace
            else:
                count = width(op)
                for offset in range(count):
                    lines.append(indent + self._statement(position + offset, loops))
                position += count
        return lines, position

    def _statement(self, first: int, loops: tuple[Loop, ...]) -> str:
        """One command in all iterations."""
        where = np.array(first, np.int64)
        for loop in loops:
            where = where[..., None] + np.arange(loop.count) * loop.pace
        commands = self.commands[where.reshape(-1)].reshape(where.shape or (1,))
        if (commands["funct7"] != commands["funct7"].flat[0]).any():
            raise ValueError(f"command {first} is not the same instruction in every iteration")
        return statement(commands, self.constant_end)


def flat_lines(commands: isa.Commands, constant_end: int) -> list[str]:
    """Commands outside any kernel, one a line."""
    return [f"  {statement(commands[i : i + 1], constant_end)}" for i in range(len(commands))]


def statement(commands: isa.Commands, constant_end: int) -> str:
    """The C statement that issues these commands, axis i of the array counting loop i."""
    funct7 = int(commands["funct7"].flat[0])
    if funct7 == _FENCE:
        return "ACCEL_FENCE();"
    moved = isa.relocate(commands.reshape(-1), 1 << 40).reshape(commands.shape)
    operands = (
        _operand(np.asarray(commands[word]), np.asarray(moved[word]), constant_end)
        for word in _WORDS
    )
    return f"ACCEL({funct7}, {', '.join(operands)});"


def _operand(words: Words, moved: Words, constant_end: int) -> str:
    """A 64-bit operand as an expression; one that relocation moves is an address."""
    steps = [int(step) for step in _steps(words)]
    base = int(words.flat[0])
    total = np.full((1,) * words.ndim, base, np.uint64)
    for axis, step in enumerate(steps):
        shape = [1] * words.ndim
        shape[axis] = -1
        counts = np.arange(words.shape[axis], dtype=np.uint64).reshape(shape)
        total = total + counts * np.uint64(step & 0xFFFF_FFFF_FFFF_FFFF)
    if (np.broadcast_to(total, words.shape) != words).any():
        raise ValueError("an operand is not affine in the loop counters")
    terms = "".join(_term(axis, step) for axis, step in enumerate(steps) if step)
    if (moved == words).all():
        return f"{base:#x}u{terms}" if base or not terms else terms.removeprefix(" + ")
    if (moved == words).any():
        raise ValueError("an operand is an address in some iterations only")
    constant = int(words.max()) < constant_end
    if not constant and int(words.min()) < constant_end:
        raise ValueError("an address leaves the constants")
    return place(base, constant_end) + terms


def place(address: int, constant_end: int) -> str:
    """A DRAM address of the program as an expression."""
    if address < constant_end:
        return f"WEIGHTS({address})"
    return f"ARENA({address - constant_end})"


def _steps(words: Words) -> Iterator[int]:
    """The difference that one more turn of each loop makes."""
    for axis in range(words.ndim):
        if words.shape[axis] < 2:
            yield 0
            continue
        second = [0] * words.ndim
        second[axis] = 1
        difference = (int(words[tuple(second)]) - int(words.flat[0])) & 0xFFFF_FFFF_FFFF_FFFF
        yield difference - (1 << 64) if difference >> 63 else difference


def _term(axis: int, step: int) -> str:
    sign = "+" if step > 0 else "-"
    factor = "" if abs(step) == 1 else f"{abs(step):#x}u * "
    return f" {sign} {factor}i{axis}"
