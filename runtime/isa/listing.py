"""A queue's records as text for people: loops indented, and what a turn adds to which field."""

import numpy as np

from .assembly import disassemble
from .encoding import COMMAND, Instruction, Word
from .queue import Records, Repeat, Step
from .table import INSTRUCTIONS, UNKNOWN, operations


def list_records(records: Records) -> list[str]:
    """A line a record, in the words of the assembler.

    `# each turn of loop 1: dram +1024` behind a command says what it holds of steps; loop 0 is the
    innermost one around it.
    """
    commands = np.zeros(len(records), COMMAND)
    for name in COMMAND.names or ():
        commands[name] = records[name]
    texts = disassemble(commands).splitlines()
    numbers: list[int] = operations(commands).tolist()
    lines: list[str] = []
    ends: list[int] = []
    waiting: list[tuple[int, int, int]] = []
    for place, (text, number) in enumerate(zip(texts, numbers, strict=True)):
        while ends and ends[-1] <= place:
            ends.pop()
        record = records[place]
        indent = "  " * len(ends)
        kind = None if number == UNKNOWN else INSTRUCTIONS[number]
        loop, rs1, rs2 = int(record["loop"]), int(record["rs1"]), int(record["rs2"])
        if kind is Step:
            waiting.append((loop, _signed(rs1), _signed(rs2)))
            text += f"  # in loop {loop}"
        elif kind is Repeat:
            ends.append(place + 1 + rs1)
        else:
            waiting.append((loop, int(record["rs1_step"]), int(record["rs2_step"])))
            notes = [_note(kind, *step) for step in waiting if any(step[1:])]
            text += f"  # {'; '.join(notes)}" if notes else ""
            waiting = []
        lines.append(indent + text)
    return lines


def _note(kind: type[Instruction] | None, loop: int, first: int, second: int) -> str:
    words: tuple[tuple[Word, int], ...] = (("rs1", first), ("rs2", second))
    parts = [_field(kind, word, step) for word, step in words if step]
    return f"each turn of loop {loop}: {', '.join(parts)}"


def _field(kind: type[Instruction] | None, word: Word, step: int) -> str:
    """The field of a word that a step changes: the highest one whose multiple it is."""
    found: str = word
    by = step
    for name, bits in sorted(kind.bits.items() if kind else (), key=lambda item: item[1].low):
        if bits.word == word and step % (1 << bits.low) == 0:
            found, by = name, step >> bits.low
    return f"{found} {by:+}"


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word
