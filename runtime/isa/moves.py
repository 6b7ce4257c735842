"""Moves between DRAM and the two local memories."""

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from .configure import Refusals
from .encoding import Columns, Instruction, dram_address, integer, local_address
from .locals import (
    ACCUMULATOR_BIT,
    FULL_WIDTH_BIT,
    GARBAGE,
    ROW_BITS,
    accumulates,
    in_accumulator,
    row_of,
)
from .nibbles import unpack_nibbles

if TYPE_CHECKING:
    from ..accelerator import Accelerator
    from .state import State


def refuse_odd_local(local: npt.NDArray[np.number]) -> npt.NDArray[np.bool_]:
    """Which local addresses carry flags that no portable move or compute has."""
    row = local.astype(np.int64)
    in_acc = row >> ACCUMULATOR_BIT & 1
    flags = row >> ROW_BITS & 0xF
    odd = (flags != 0) | ((in_acc == 0) & (row >> ROW_BITS != 0))
    return np.asarray(odd & (row != GARBAGE), np.bool_)


class MoveIn(Instruction, mnemonic="mvin", funct7=2):
    """Moves rows from DRAM into the scratchpad or the accumulator; from address 0 comes padding.

    The scratchpad takes int8, or int4 where the load state says packed; the accumulator int32, or
    int8 where it shrinks.

    Columns beyond `dim` go to further blocks of rows, `block_stride` apart. Columns not given keep
    what they held.
    """

    load_state: ClassVar[int] = 0

    dram: int = dram_address("rs1", 63, 0, default=0)
    """0: the scratchpad gets the load state's pad byte (0 on stock), the accumulator 0."""
    local: int = local_address("rs2", 31, 0, default=0)
    cols: int = integer("rs2", 47, 32, default=0)
    rows: int = integer("rs2", 63, 48, default=0)

    def execute(self, state: "State") -> None:
        config = state.load[self.load_state]
        to_accumulator = in_accumulator(self.local)
        half = state.scratchpad.shape[0] // 2
        for row in range(self.rows):
            data = self._incoming(state, row)
            for block, width in state.blocks(self.cols):
                target = row_of(self.local) + block * config.block_stride + row
                part = data[block * state.dim : block * state.dim + width]
                if not to_accumulator:
                    state.scratchpad[target, :width] = part
                    floor = half if target >= half else 0
                    for times in range(1, config.pixel_repeats):
                        if target - times >= floor:
                            place = slice(times * self.cols, times * self.cols + width)
                            state.scratchpad[target - times, place] = part
                elif accumulates(self.local):
                    state.accumulator[target, :width] += part
                else:
                    state.accumulator[target, :width] = part

    def _incoming(self, state: "State", row: int) -> npt.NDArray[np.int8] | npt.NDArray[np.int32]:
        """A row of padding, or of DRAM's data, unpacked and scaled."""
        config, to_accumulator = state.load[self.load_state], in_accumulator(self.local)
        if not self.dram:
            if to_accumulator:
                return np.zeros(self.cols, np.int32)
            return np.full(self.cols, state.pads[self.load_state], np.int8)
        data = state.dram[self.dram + row * config.stride :]
        if to_accumulator and not config.shrink:
            return data[: 4 * self.cols].view(np.int32)
        if config.packed:
            values = unpack_nibbles(data[: (self.cols + 1) // 2])[: self.cols]
        else:
            values = data[: self.cols].view(np.int8)
        if config.scale == 1.0:
            return values
        scaled = np.rint(values.astype(np.float32) * np.float32(config.scale))
        if config.wide:
            whole = np.clip(scaled.astype(np.float64), -(2**31), 2**31 - 1)
            return np.asarray(whole, np.int32)
        return np.asarray(np.clip(scaled, -128, 127), np.int8)

    @classmethod
    def limits(cls, fields: Columns, machine: "Accelerator") -> Refusals:
        # Whether a load state packs is not known here; bytes are looked at when a move runs.
        widest = machine.max_move_bytes * (2 if "int4" in machine.extensions else 1)
        yield from _shape_limits(fields, machine, widest)
        wide = fields["local"].astype(np.int64)
        yield (
            refuse_odd_local(wide) | (wide == GARBAGE),
            "the destination must be a row of the scratchpad or the accumulator",
        )


class MoveIn2(MoveIn, mnemonic="mvin2", funct7=1):
    """Like mvin, with load state 1."""

    load_state: ClassVar[int] = 1


class MoveIn3(MoveIn, mnemonic="mvin3", funct7=14):
    """Like mvin, with load state 2."""

    load_state: ClassVar[int] = 2


class MoveOut(Instruction, mnemonic="mvout", funct7=3):
    """Moves rows to DRAM as int8: accumulator rows scaled, scratchpad rows as they are.

    In this order: an average window's sum; relu on int32; float32(acc); times the scale in float32;
    round half to even; plus zero point; clamp; table; a maximum window. Scratchpad rows skip from
    the sum to the table. Blocks of columns lie `dim` rows apart. Pooling takes one block and its
    own image size; `rows` is then 0 or ignored.
    """

    dram: int = dram_address("rs1", 63, 0, default=0)
    local: int = local_address("rs2", 31, 0, default=0)
    cols: int = integer("rs2", 47, 32, default=0)
    rows: int = integer("rs2", 63, 48, default=0)

    def execute(self, state: "State") -> None:
        for row, block, values in state.outgoing(self.local, self.cols, self.rows):
            start = self.dram + row * state.store.stride + block * state.dim
            state.dram[start : start + values.size] = values.view(np.uint8)

    @classmethod
    def limits(cls, fields: Columns, machine: "Accelerator") -> Refusals:
        yield from _shape_limits(fields, machine, machine.max_move_bytes, rows_may_be_none=True)
        yield fields["dram"] == 0, "a move-out needs a DRAM address"
        yield from source_limits(fields)


def source_limits(fields: Columns) -> Refusals:
    """What a move-out may not read."""
    wide = fields["local"].astype(np.int64)
    yield (
        (wide >> FULL_WIDTH_BIT & 1 == 1) & (wide != GARBAGE),
        "full-width move-out is not portable",
    )
    yield (
        refuse_odd_local(wide) | (wide == GARBAGE),
        "the source must be a row of the scratchpad or the accumulator",
    )


def _shape_limits(
    fields: Columns, machine: "Accelerator", widest: int, *, rows_may_be_none: bool = False
) -> Refusals:
    rows, cols = fields["rows"].astype(np.int64), fields["cols"].astype(np.int64)
    least = 0 if rows_may_be_none else 1
    yield (rows < least) | (rows > machine.dim), f"rows must be {least} to {machine.dim}"
    yield (cols < 1) | (cols > widest), f"cols must be 1 to {widest}"
