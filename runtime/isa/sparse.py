"""The instructions for 2:4 weights: a tile twice as deep in the time of a dense one.

A has twice the array's depth too, in two halves that may lie anywhere: two blocks of channels, or
two pixels of one block. So a depthwise convolution, whose diagonal tiles have one weight a column,
takes two taps of its window at once. How weights lie in memory says `sparsity.py`.
"""

from typing import TYPE_CHECKING

import numpy as np

from .array import load_weights, multiply, preload_limits
from .configure import Refusals
from .encoding import Columns, Instruction, integer, local_address
from .locals import ACCUMULATOR_BIT, GARBAGE
from .moves import refuse_odd_local

if TYPE_CHECKING:
    from ..accelerator import Accelerator
    from .state import State


class PreloadSparse(Instruction, mnemonic="preload_sparse", funct7=40, extension="sparse_2_4"):
    """Names 2:4 weights B and the destination C of the next compute, like preload."""

    local: int = local_address("rs1", 31, 0, default=GARBAGE)
    """The first of `rows` kept rows in the scratchpad; `rows / 4` rows of indices follow them."""
    cols: int = integer("rs1", 47, 32, default=0)
    rows: int = integer("rs1", 63, 48, default=0)
    destination: int = local_address("rs2", 31, 0, default=GARBAGE)
    """C in the accumulator; `none` discards."""
    destination_cols: int = integer("rs2", 47, 32, default=0)
    destination_rows: int = integer("rs2", 63, 48, default=0)

    def execute(self, state: "State") -> None:
        state.preload, state.preload_sparse = (self.local, self.cols, self.rows), True
        state.destination = (self.destination, self.destination_cols, self.destination_rows)

    @classmethod
    def limits(cls, fields: Columns, machine: "Accelerator") -> Refusals:
        yield from preload_limits(fields, machine)
        yield fields["rows"].astype(np.int64) % 4 != 0, "rows must be a multiple of 4"


class _ComputeSparse(Instruction, mnemonic="compute_sparse", funct7=-1):
    """What both computes share."""

    local: int = local_address("rs1", 31, 0, default=0)
    """A's first half in the scratchpad; row i comes from row `local + i * a_stride`."""
    cols: int = integer("rs1", 47, 32, default=0)
    rows: int = integer("rs1", 63, 48, default=0)
    second: int = local_address("rs2", 31, 0, default=0)
    """A's second half, of as many rows."""
    second_cols: int = integer("rs2", 47, 32, default=0)

    def _halves(self) -> tuple[tuple[int, int], tuple[int, int]]:
        return (self.local, self.cols), (self.second, self.second_cols)

    @classmethod
    def limits(cls, fields: Columns, machine: "Accelerator") -> Refusals:
        for name in ("cols", "rows", "second_cols"):
            yield (
                (fields[name] > machine.dim) | (fields[name] < 1),
                f"{name} must be 1 to {machine.dim}",
            )
        for name in ("local", "second"):
            source = fields[name].astype(np.int64)
            in_acc = source >> ACCUMULATOR_BIT & 1 == 1
            yield (
                in_acc | (source == GARBAGE) | refuse_odd_local(source),
                "A must come from rows of the scratchpad",
            )


class ComputeSparsePreloaded(
    _ComputeSparse, mnemonic="compute_sparse_new", funct7=41, extension="sparse_2_4"
):
    """Loads the preloaded weights; then C = A * B, or C += A * B, with A in two halves.

    Rows and columns that are not given count as zeros. Transposes do not apply.
    """

    def execute(self, state: "State") -> None:
        load_weights(state)
        multiply(state, self._halves(), self.rows)


class ComputeSparseKept(
    _ComputeSparse, mnemonic="compute_sparse_kept", funct7=42, extension="sparse_2_4"
):
    """The same with the weights that are in the array already."""

    def execute(self, state: "State") -> None:
        multiply(state, self._halves(), self.rows)
