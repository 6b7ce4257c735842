"""Loops in hardware: commands that the machine unrolls into many (`unroll.py` says into which).

Configurations come first, each kept until it is given anew; the loop's own command starts it.
"""

from typing import TYPE_CHECKING

import numpy as np

from .configure import Refusals
from .encoding import Columns, Instruction, concatenate, dram_address, integer

if TYPE_CHECKING:
    from ..accelerator import Accelerator
    from .state import State


class _Loop(Instruction, mnemonic="loop", funct7=-1):
    """What all loop commands share: their effect is that of what they are unrolled into."""

    def execute(self, state: "State") -> None:
        from .table import decode

        # The unroller keeps what was configured last, which it has not seen here.
        commands = concatenate([state.store.commands(), state.execute.commands(), self.commands()])
        for instruction in decode(state.unroller.unroll(commands).commands):
            assert instruction is not None
            instruction.execute(state)


def _refuse_halves(fields: Columns) -> Refusals:
    chosen = np.maximum(fields["a_spad_id"], fields["b_spad_id"])
    yield chosen > 2, "a_spad_id and b_spad_id are 0, 1 or 2"


class LoopWsBounds(_Loop, mnemonic="loop_ws_bounds", funct7=9):
    """Sets the sizes of C[i,j] = A[i,k] * B[k,j] + D in tiles, and what the last tiles lack."""

    pad_i: int = integer("rs1", 15, 0, default=0)
    pad_j: int = integer("rs1", 31, 16, default=0)
    pad_k: int = integer("rs1", 47, 32, default=0)
    i: int = integer("rs2", 15, 0, default=0)
    j: int = integer("rs2", 31, 16, default=0)
    k: int = integer("rs2", 47, 32, default=0)


class LoopWsAddressesAB(_Loop, mnemonic="loop_ws_ab", funct7=10):
    """Sets where A and B lie in DRAM; 0 leaves a move out."""

    a: int = dram_address("rs1", 63, 0, default=0)
    b: int = dram_address("rs2", 63, 0, default=0)


class LoopWsAddressesDC(_Loop, mnemonic="loop_ws_dc", funct7=11):
    """Sets where D and C lie in DRAM; 0 leaves a move out."""

    d: int = dram_address("rs1", 63, 0, default=0)
    c: int = dram_address("rs2", 63, 0, default=0)


class LoopWsStridesAB(_Loop, mnemonic="loop_ws_strides_ab", funct7=12):
    """Sets the elements from one row of A and B in DRAM to the next."""

    a: int = integer("rs1", 31, 0, default=0)
    b: int = integer("rs2", 31, 0, default=0)


class LoopWsStridesDC(_Loop, mnemonic="loop_ws_strides_dc", funct7=13):
    """Sets the elements from one row of D and C in DRAM to the next."""

    d: int = integer("rs1", 31, 0, default=0)
    c: int = integer("rs2", 31, 0, default=0)


class LoopWs(_Loop, mnemonic="loop_ws", funct7=8):
    """Multiplies matrices tile by tile: moves A, B and D in, computes, and moves C out.

    Moves-in use load states 0 (A), 1 (B) and 2 (D); strides, scales and the activation are those of
    the configurations before. With `resadd` it adds A and B in the accumulator instead.
    """

    accumulate: int = integer("rs1", 0, 0, default=0)
    """Adds to what is in the accumulator, such as D; else the first product replaces it."""
    full_c: int = integer("rs1", 1, 1, default=0)
    low_d: int = integer("rs1", 2, 2, default=0)
    """D is int8."""
    activation: int = integer("rs1", 10, 8, default=0)
    b_spad_id: int = integer("rs1", 17, 16, default=0)
    """0: the half that is this loop's turn; 1: the first half; 2: the second."""
    a_spad_id: int = integer("rs1", 19, 18, default=0)
    transpose_a: int = integer("rs2", 0, 0, default=0)
    transpose_b: int = integer("rs2", 1, 1, default=0)
    resadd: int = integer("rs2", 2, 2, default=0)

    @classmethod
    def limits(cls, fields: Columns, machine: "Accelerator") -> Refusals:
        yield from _refuse_halves(fields)


class LoopConvConfig1(_Loop, mnemonic="loop_conv_1", funct7=16, extension="loop_conv"):
    """Sets a convolution's outer sizes: batch, images, channels, stride, padding."""

    batch: int = integer("rs1", 15, 0, default=0)
    in_rows: int = integer("rs1", 31, 16, default=0)
    in_channels: int = integer("rs1", 47, 32, default=0)
    out_channels: int = integer("rs1", 63, 48, default=0)
    out_rows: int = integer("rs2", 15, 0, default=0)
    pool_out_rows: int = integer("rs2", 31, 16, default=0)
    out_cols: int = integer("rs2", 47, 32, default=0)
    stride: int = integer("rs2", 55, 48, default=0)
    padding: int = integer("rs2", 63, 56, default=0)


class LoopConvConfig2(_Loop, mnemonic="loop_conv_2", funct7=17, extension="loop_conv"):
    """Sets its kernel and pooling, and the tile's batches and output after pooling."""

    pool_padding: int = integer("rs1", 7, 0, default=0)
    pool_stride: int = integer("rs1", 15, 8, default=0)
    pool_size: int = integer("rs1", 31, 16, default=0)
    pool_out_cols: int = integer("rs1", 47, 32, default=0)
    kernel: int = integer("rs1", 63, 48, default=0)
    tile_channels: int = integer("rs2", 15, 0, default=0)
    tile_pool_cols: int = integer("rs2", 31, 16, default=0)
    tile_pool_rows: int = integer("rs2", 47, 32, default=0)
    tile_batches: int = integer("rs2", 63, 48, default=0)


class LoopConvConfig3(_Loop, mnemonic="loop_conv_3", funct7=18, extension="loop_conv"):
    """Sets the tile's window and padding."""

    pad_left: int = integer("rs1", 15, 0, default=0)
    tile_in_channels: int = integer("rs1", 31, 16, default=0)
    tile_kernel_cols: int = integer("rs1", 47, 32, default=0)
    tile_kernel_rows: int = integer("rs1", 63, 48, default=0)
    in_cols: int = integer("rs2", 15, 0, default=0)
    pool_pad_left: int = integer("rs2", 23, 16, default=0)
    pad_down: int = integer("rs2", 31, 24, default=0)
    pad_up: int = integer("rs2", 47, 32, default=0)
    pad_right: int = integer("rs2", 63, 48, default=0)


class LoopConvConfig4(_Loop, mnemonic="loop_conv_4", funct7=19, extension="loop_conv"):
    """Sets dilation, the tile's output before pooling, and strides of pixels in DRAM."""

    dilation: int = integer("rs1", 9, 0, default=1)
    pool_pad_down: int = integer("rs1", 20, 10, default=0)
    pool_pad_up: int = integer("rs1", 31, 21, default=0)
    pool_pad_right: int = integer("rs1", 47, 32, default=0)
    tile_rows: int = integer("rs1", 63, 48, default=0)
    tile_cols: int = integer("rs2", 15, 0, default=0)
    out_stride: int = integer("rs2", 31, 16, default=0)
    weight_stride: int = integer("rs2", 47, 32, default=0)
    in_stride: int = integer("rs2", 63, 48, default=0)


class LoopConvConfig5(_Loop, mnemonic="loop_conv_5", funct7=20, extension="loop_conv"):
    """Sets where weights and output lie in DRAM."""

    weights: int = dram_address("rs1", 63, 0, default=0)
    output: int = dram_address("rs2", 63, 0, default=0)


class LoopConvConfig6(_Loop, mnemonic="loop_conv_6", funct7=21, extension="loop_conv"):
    """Sets where bias and input lie in DRAM."""

    bias: int = dram_address("rs1", 63, 0, default=0)
    input: int = dram_address("rs2", 63, 0, default=0)


class LoopConvWs(_Loop, mnemonic="loop_conv", funct7=15, extension="loop_conv"):
    """Convolves a tile: moves bias, weights and input in, computes, and moves out, pooled or not.

    It sets the load states, with scale 1, and for pooling the store configuration.
    """

    no_bias: int = integer("rs1", 0, 0, default=0)
    rotate: int = integer("rs1", 1, 1, default=0)
    """Turns the window by 180 degrees."""
    transpose_output: int = integer("rs1", 2, 2, default=0)
    transpose_weights_1203: int = integer("rs1", 3, 3, default=0)
    transpose_weights_0132: int = integer("rs1", 4, 4, default=0)
    transpose_input: int = integer("rs1", 5, 5, default=0)
    depthwise: int = integer("rs1", 6, 6, default=0)
    pixels_per_row: int = integer("rs1", 15, 8, default=1)
    b_spad_id: int = integer("rs1", 17, 16, default=0)
    """0: the half that is this loop's turn; 1: the first half; 2: the second."""
    a_spad_id: int = integer("rs1", 19, 18, default=0)
    no_pool: int = integer("rs2", 0, 0, default=0)
    downsample: int = integer("rs2", 1, 1, default=0)
    dilate_input: int = integer("rs2", 2, 2, default=0)
    activation: int = integer("rs2", 4, 3, default=0)

    @classmethod
    def limits(cls, fields: Columns, machine: "Accelerator") -> Refusals:
        yield from _refuse_halves(fields)
