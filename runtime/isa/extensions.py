"""The instructions that `riscv-accel` adds, each naming the extension that a machine must have.

After reset every extension is off: zero point 0, clamp -128 to 127, pad 0, no per-column scales, no
table, no ConfigPool. A configuration stays until the next one of its kind.
"""

from typing import TYPE_CHECKING

import numpy as np

from .configure import Refusals
from .encoding import Columns, Instruction, dram_address, integer, local_address, signed
from .locals import GARBAGE, row_of
from .moves import refuse_odd_local, source_limits

if TYPE_CHECKING:
    from ..accelerator import Accelerator
    from .state import State


class ConfigRequantize(Instruction, mnemonic="config_requant", funct7=32, extension="zero_point"):
    """Sets the output zero point, the clamp and the pad of pooling.

    `y = clamp(rne(float32(acc) * m) + zero, low, high)`.
    """

    zero: int = signed("rs1", 7, 0, default=0)
    low: int = signed("rs1", 15, 8, default=-128)
    high: int = signed("rs1", 23, 16, default=127)
    pad: int = signed("rs1", 31, 24, default=0)
    """What a pooling window sees outside the image.

    -128 for a maximum, the input's zero point for an average.
    """

    def execute(self, state: "State") -> None:
        state.requantize = self

    @classmethod
    def limits(cls, fields: Columns, machine: "Accelerator") -> Refusals:
        yield fields["low"] > fields["high"], "the clamp's low is above its high"


class ConfigPad(Instruction, mnemonic="config_pad", funct7=33, extension="zero_point"):
    """Sets the byte that moves into the scratchpad from DRAM address 0 write, by load state."""

    state: int = integer("rs1", 1, 0, default=0)
    pad: int = signed("rs1", 15, 8, default=0)

    def execute(self, state: "State") -> None:
        state.pads[self.state] = self.pad

    @classmethod
    def limits(cls, fields: Columns, machine: "Accelerator") -> Refusals:
        yield fields["state"] > 2, "there are only load states 0, 1 and 2"


class LoadScales(Instruction, mnemonic="load_scales", funct7=34, extension="per_channel"):
    """Fills rows of the per-channel table with `count` consecutive float32 from DRAM."""

    dram: int = dram_address("rs1", 63, 0, default=0)
    row: int = integer("rs2", 15, 0, default=0)
    """The first table row; each holds `dim` multipliers."""
    count: int = integer("rs2", 47, 16, default=0)

    def execute(self, state: "State") -> None:
        data = state.dram[self.dram : self.dram + 4 * self.count].view(np.float32)
        flat = state.scales.reshape(-1)
        flat[self.row * state.dim : self.row * state.dim + self.count] = data

    @classmethod
    def limits(cls, fields: Columns, machine: "Accelerator") -> Refusals:
        yield fields["dram"] == 0, "a table needs a DRAM address"
        last = fields["row"].astype(np.int64) * machine.dim + fields["count"].astype(np.int64)
        yield (
            (last > machine.scale_rows * machine.dim) | (fields["count"] < 1),
            f"the table has {machine.scale_rows} rows of {machine.dim}",
        )


class ConfigScales(Instruction, mnemonic="config_scales", funct7=35, extension="per_channel"):
    """Chooses the multipliers of the following move-outs; off, it is config_st's one scale.

    Block b of columns takes table row `row + b`.
    """

    enable: int = integer("rs1", 0, 0, default=0)
    row: int = integer("rs1", 31, 16, default=0)

    def execute(self, state: "State") -> None:
        state.scales_config = self

    @classmethod
    def limits(cls, fields: Columns, machine: "Accelerator") -> Refusals:
        yield fields["row"] >= machine.scale_rows, f"the table has {machine.scale_rows} rows"


class LoadTable(Instruction, mnemonic="load_table", funct7=36, extension="lut"):
    """Fills a table with 256 int8 from DRAM.

    Entry i answers the value whose bits are i as an unsigned byte.
    """

    dram: int = dram_address("rs1", 63, 0, default=0)
    table: int = integer("rs2", 15, 0, default=0)

    def execute(self, state: "State") -> None:
        state.tables[self.table] = state.dram[self.dram : self.dram + 256].view(np.int8)

    @classmethod
    def limits(cls, fields: Columns, machine: "Accelerator") -> Refusals:
        yield fields["dram"] == 0, "a table needs a DRAM address"
        yield fields["table"] >= machine.tables, f"there are {machine.tables} tables"


class ConfigTable(Instruction, mnemonic="config_table", funct7=37, extension="lut"):
    """Chooses the table of the following move-outs, or none."""

    enable: int = integer("rs1", 0, 0, default=0)
    table: int = integer("rs1", 31, 16, default=0)

    def execute(self, state: "State") -> None:
        state.table_config = self

    @classmethod
    def limits(cls, fields: Columns, machine: "Accelerator") -> Refusals:
        yield fields["table"] >= machine.tables, f"there are {machine.tables} tables"


class ConfigPool(Instruction, mnemonic="config_pool", funct7=38, extension="pool"):
    """Sets pooling of the following move-outs: maximum or average, windows up to 15.

    It takes the place of config_st's.

    The image lies in `image_rows * image_cols` local rows, one pixel a row. A maximum is taken
    after scaling; an average sums int8 or int32 first, adds `offset`, and sends the sum through
    relu, scale, zero point, clamp and table.
    """

    mode: int = integer("rs1", 1, 0, default=0)
    """0 off, 1 maximum, 2 average."""
    height: int = integer("rs1", 7, 4, default=1)
    width: int = integer("rs1", 11, 8, default=1)
    stride_rows: int = integer("rs1", 15, 12, default=1)
    stride_cols: int = integer("rs1", 19, 16, default=1)
    pad_up: int = integer("rs1", 23, 20, default=0)
    pad_left: int = integer("rs1", 27, 24, default=0)
    output_pitch: int = integer("rs1", 47, 32, default=0)
    """Output columns from one output row to the next."""
    offset: int = signed("rs1", 63, 48, default=0)
    """Minus the window's area times the input's zero point."""
    output_rows: int = integer("rs2", 15, 0, default=0)
    output_cols: int = integer("rs2", 31, 16, default=0)
    image_rows: int = integer("rs2", 47, 32, default=0)
    image_cols: int = integer("rs2", 63, 48, default=0)

    def execute(self, state: "State") -> None:
        state.pool = self

    @classmethod
    def limits(cls, fields: Columns, machine: "Accelerator") -> Refusals:
        on = fields["mode"] != 0
        yield fields["mode"] > 2, "the mode is 0 (off), 1 (maximum) or 2 (average)"
        for name in ("height", "width", "stride_rows", "stride_cols"):
            yield on & (fields[name] == 0), f"{name} must be at least 1"
        yield on & (fields["pad_up"] >= fields["height"]), "pad_up must be less than the height"
        yield on & (fields["pad_left"] >= fields["width"]), "pad_left must be less than the width"


class MoveOutScratchpad(
    Instruction, mnemonic="mvout_spad", funct7=39, extension="move_out_scratchpad"
):
    """Moves out like mvout, but into scratchpad rows.

    Row i of block b goes to `destination + i * row_stride + b * block_stride`.
    """

    destination: int = local_address("rs1", 31, 0, default=0)
    row_stride: int = integer("rs1", 47, 32, default=1)
    block_stride: int = integer("rs1", 63, 48, default=16)
    local: int = local_address("rs2", 31, 0, default=0)
    cols: int = integer("rs2", 47, 32, default=0)
    rows: int = integer("rs2", 63, 48, default=0)

    def execute(self, state: "State") -> None:
        # What is read was there before the first write, also where the two overlap.
        for row, block, values in list(state.outgoing(self.local, self.cols, self.rows)):
            target = row_of(self.destination) + row * self.row_stride + block * self.block_stride
            state.scratchpad[target, : values.size] = values

    @classmethod
    def limits(cls, fields: Columns, machine: "Accelerator") -> Refusals:
        rows, cols = fields["rows"].astype(np.int64), fields["cols"].astype(np.int64)
        yield rows > machine.dim, f"rows must be 0 to {machine.dim}"
        yield (
            (cols < 1) | (cols > machine.max_move_bytes),
            f"cols must be 1 to {machine.max_move_bytes}",
        )
        yield from source_limits(fields)
        target = fields["destination"].astype(np.int64)
        yield (
            (target == GARBAGE) | (target >> 31 == 1) | refuse_odd_local(target),
            "the destination must be a row of the scratchpad",
        )
