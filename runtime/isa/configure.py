"""CONFIG_EX, CONFIG_LD and CONFIG_ST: how the following moves and computes are done."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .encoding import Columns, Instruction, integer, real

if TYPE_CHECKING:
    from ..accelerator import Accelerator
    from .state import State

Refusals = Iterator[tuple[npt.NDArray[np.bool_], str]]


class ConfigExecute(Instruction, mnemonic="config_ex", funct7=0, selector=0):
    """Configures the array: transposes and row strides of A and C. Waits for the array to drain."""

    dataflow: int = integer("rs1", 2, 2, default=1)
    """1 is weight-stationary, the only one in the portable subset."""
    activation: int = integer("rs1", 4, 3, default=0)
    """Of results written to the scratchpad, which the portable subset never does."""
    set_only_strides: int = integer("rs1", 7, 7, default=0)
    transpose_a: int = integer("rs1", 8, 8, default=0)
    transpose_b: int = integer("rs1", 9, 9, default=0)
    a_stride: int = integer("rs1", 31, 16, default=1)
    """Scratchpad rows from one row of A to the next."""
    scale: float = real("rs1", 63, 32, default=1.0)
    """Of the accumulator read as A, which the portable subset never does."""
    shift: int = integer("rs2", 31, 0, default=0)
    """Rounding shift of output-stationary results."""
    relu6_shift: int = integer("rs2", 47, 32, default=0)
    c_stride: int = integer("rs2", 63, 48, default=1)
    """Accumulator rows from one row of C to the next."""

    def execute(self, state: "State") -> None:
        state.execute = self

    @classmethod
    def limits(cls, fields: Columns, machine: "Accelerator") -> Refusals:
        yield (
            fields["dataflow"] != 1,
            "only the weight-stationary dataflow (dataflow=1) is portable",
        )
        yield fields["activation"] != 0, "activation belongs to config_st"
        yield fields["set_only_strides"] != 0, "set_only_strides is not portable"
        yield (
            (fields["transpose_a"] == 1) & (fields["transpose_b"] == 1),
            "only one of A and B may be transposed",
        )


class ConfigLoad(Instruction, mnemonic="config_ld", funct7=0, selector=1):
    """Configures one of three load states: DRAM row stride, block stride, scale.

    State 0 is for mvin, 1 for mvin2, 2 for mvin3.
    """

    shrink: int = integer("rs1", 2, 2, default=0)
    """1: moves into the accumulator read int8 from DRAM, else int32."""
    state: int = integer("rs1", 4, 3, default=0)
    packed: int = integer("rs1", 5, 5, default=0)
    """1: moves into the scratchpad read 4 bits a column, the lower half of a byte first (extension
    int4)."""
    wide: int = integer("rs1", 6, 6, default=0)
    """1: int8 moved into the accumulator is scaled as `rne(x * scale)` in int32, where it would
    saturate to int8, and such loads are ordered with others (extension wide_move_in)."""
    pixel_repeats: int = integer("rs1", 15, 8, default=1)
    """Times that each row of int8 is written into the scratchpad: after the first, each time one
    row higher and `cols` columns further (for convolutions of few channels). The hardware reads 0
    as 1; other values need the extension pixel_repeats."""
    block_stride: int = integer("rs1", 31, 16, default=16)
    """Local rows from one block of `dim` columns to the next."""
    scale: float = real("rs1", 63, 32, default=1.0)
    """Of int8 data: `sat8(rne(x * scale))`, unless `wide`; int32 is never scaled."""
    stride: int = integer("rs2", 63, 0, default=0)
    """DRAM bytes from one row to the next; 0 repeats the same row."""

    def execute(self, state: "State") -> None:
        state.load[self.state] = self

    @classmethod
    def limits(cls, fields: Columns, machine: "Accelerator") -> Refusals:
        yield fields["state"] > 2, "there are only load states 0, 1 and 2"
        packed, wide = fields["packed"] == 1, fields["wide"] == 1
        repeated = fields["pixel_repeats"] > 1
        if "pixel_repeats" not in machine.extensions:
            yield repeated, "pixel repeats are not portable"
        if "int4" not in machine.extensions:
            yield packed, "packed needs the extension int4"
        if "wide_move_in" not in machine.extensions:
            yield wide, "wide needs the extension wide_move_in"
        yield packed & (repeated | (fields["shrink"] == 1)), "packed excludes shrink and repeats"
        yield wide & (fields["shrink"] == 0), "wide says how int8 is scaled, so it needs shrink"


class ConfigStore(Instruction, mnemonic="config_st", funct7=0, selector=2):
    """Configures move-out: DRAM row stride, activation, scale, square max pooling up to 3."""

    activation: int = integer("rs1", 3, 2, default=0)
    """0 none, 1 relu (on the int32 sum, before scaling)."""
    pool_stride: int = integer("rs1", 5, 4, default=0)
    """0 is no pooling."""
    pool_size: int = integer("rs1", 7, 6, default=0)
    pool_up: int = integer("rs1", 9, 8, default=0)
    pool_left: int = integer("rs1", 11, 10, default=0)
    output_pitch: int = integer("rs1", 31, 24, default=0)
    """Output columns from one pooled row to the next."""
    output_rows: int = integer("rs1", 39, 32, default=0)
    output_cols: int = integer("rs1", 47, 40, default=0)
    image_rows: int = integer("rs1", 55, 48, default=0)
    image_cols: int = integer("rs1", 63, 56, default=0)
    stride: int = integer("rs2", 31, 0, default=0)
    """DRAM bytes from one row (or pooled element) to the next."""
    scale: float = real("rs2", 63, 32, default=1.0)
    """`sat8(rne(float32(acc) * scale))`, both steps in float32; at least 0."""

    def execute(self, state: "State") -> None:
        state.store = self

    @classmethod
    def limits(cls, fields: Columns, machine: "Accelerator") -> Refusals:
        yield fields["activation"] > 1, "only no activation and relu are portable"
        # Written so that a NaN is refused too.
        yield ~(fields["scale"].astype(np.float32) >= 0), "the scale must not be negative"
        pooled = fields["pool_stride"] != 0
        yield pooled & (fields["pool_size"] == 0), "pooling needs a window of at least 1"
        padded = (fields["pool_up"] != 0) | (fields["pool_left"] != 0)
        if "zero_point" not in machine.extensions:
            yield (
                pooled & padded & (fields["activation"] != 1),
                "pooling pads with 0, which is right after relu only",
            )
