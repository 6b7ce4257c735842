"""Local addresses: one 32-bit number names a row of the scratchpad or of the accumulator."""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

Row = TypeVar("Row", int, npt.NDArray[np.int64], int | npt.NDArray[np.int64])

GARBAGE = 0xFFFFFFFF
"""No address: zeros as a source, nothing as a destination, the kept weights in a preload."""

ACCUMULATOR_BIT = 31
ACCUMULATE_BIT = 30
FULL_WIDTH_BIT = 29
ROW_BITS = 26
"""Below the flags and the three bits of the normalisation commands."""

ROW_MASK = (1 << ROW_BITS) - 1


def scratchpad(row: Row) -> Row:
    """The local address of a scratchpad row, or of many."""
    return row


def accumulator(row: Row, *, accumulate: bool = False) -> Row:
    """The local address of an accumulator row.

    `accumulate` adds what is written to what is there.
    """
    return row + ((1 << ACCUMULATOR_BIT) + (int(accumulate) << ACCUMULATE_BIT))


def in_accumulator(local: int) -> bool:
    return bool(local >> ACCUMULATOR_BIT & 1)


def accumulates(local: int) -> bool:
    return bool(local >> ACCUMULATE_BIT & 1)


def row_of(local: int) -> int:
    return local & ROW_MASK


def format_local(local: int) -> str:
    """`sp[3]`, `acc[3]`, `acc+[3]`, `none`; a number where other bits are set."""
    if local == GARBAGE:
        return "none"
    if local == scratchpad(row_of(local)):
        return f"sp[{row_of(local)}]"
    if local == accumulator(row_of(local)):
        return f"acc[{row_of(local)}]"
    if local == accumulator(row_of(local), accumulate=True):
        return f"acc+[{row_of(local)}]"
    return f"{local:#x}"


def parse_local(text: str) -> int:
    """The inverse of `format_local`. `ValueError` for anything else."""
    if text == "none":
        return GARBAGE
    space, bracket, rest = text.partition("[")
    if not bracket:
        return int(text, 0)
    if not rest.endswith("]") or space not in ("sp", "acc", "acc+"):
        raise ValueError(f"{text!r} is not sp[ROW], acc[ROW], acc+[ROW] or none")
    row = int(rest[:-1], 0)
    return scratchpad(row) if space == "sp" else accumulator(row, accumulate=space == "acc+")
