"""The systolic array: preload names the weights and the destination, compute does the product."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .configure import Refusals
from .encoding import Columns, Instruction, integer, local_address
from .locals import ACCUMULATOR_BIT, GARBAGE, accumulates, row_of
from .moves import refuse_odd_local
from .sparsity import unpack_sparse

if TYPE_CHECKING:
    from ..accelerator import Accelerator
    from .state import State


class Preload(Instruction, mnemonic="preload", funct7=6):
    """Names the weights B and the destination C of the next compute.

    Every compute needs one before it.
    """

    local: int = local_address("rs1", 31, 0, default=GARBAGE)
    """B in the scratchpad, row k holding its row k; its column k where B is to be transposed.

    `none` keeps the weights in the array (with compute_kept).
    """
    cols: int = integer("rs1", 47, 32, default=0)
    """Of B as it is multiplied, transposed or not."""
    rows: int = integer("rs1", 63, 48, default=0)
    destination: int = local_address("rs2", 31, 0, default=GARBAGE)
    """C in the accumulator; `none` discards."""
    destination_cols: int = integer("rs2", 47, 32, default=0)
    destination_rows: int = integer("rs2", 63, 48, default=0)

    def execute(self, state: "State") -> None:
        state.preload, state.preload_sparse = (self.local, self.cols, self.rows), False
        state.destination = (self.destination, self.destination_cols, self.destination_rows)

    @classmethod
    def limits(cls, fields: Columns, machine: "Accelerator") -> Refusals:
        yield from preload_limits(fields, machine)


def preload_limits(fields: Columns, machine: "Accelerator") -> Refusals:
    """What every preload must keep to."""
    for name in ("cols", "rows", "destination_cols", "destination_rows"):
        yield fields[name] > machine.dim, f"{name} must be at most {machine.dim}"
    source = fields["local"].astype(np.int64)
    in_acc = source >> ACCUMULATOR_BIT & 1 == 1
    yield (
        (source != GARBAGE) & (in_acc | refuse_odd_local(source)),
        "weights must come from a row of the scratchpad",
    )
    target = fields["destination"].astype(np.int64)
    in_acc = target >> ACCUMULATOR_BIT & 1 == 1
    yield (
        (target != GARBAGE) & (~in_acc | refuse_odd_local(target)),
        "results must go to a row of the accumulator",
    )


def load_weights(state: "State") -> None:
    """Brings the preloaded weights into the array; zeros where none are given."""
    (source, cols, rows), dim = state.preload, state.dim
    state.weights[:] = 0
    if source == GARBAGE:
        return
    first = row_of(source)
    if state.preload_sparse:
        given = state.scratchpad[first : first + rows + rows // 4]
        state.weights[:, :cols] = unpack_sparse(given, rows)[:, :cols]
        return
    transposed = state.execute.transpose_b
    height, width = (cols, rows) if transposed else (rows, cols)
    weights = np.zeros((dim, dim), np.int32)
    weights[:height, :width] = state.scratchpad[first : first + height, :width]
    state.weights[:dim] = weights.T if transposed else weights


def multiply(
    state: "State", halves: Sequence[tuple[int, int]], rows: int, *, transposes: bool = False
) -> None:
    """C = A * B, or C += A * B, for the preloaded destination.

    `halves` gives for each `dim` of A's depth the first row in the scratchpad and how many columns.
    """
    destination, cols, out_rows = state.destination
    state.preload = state.destination = (GARBAGE, 0, 0)
    if destination == GARBAGE:
        return
    dim = state.dim
    transposed = transposes and state.execute.transpose_a
    left = np.zeros((dim, 2 * dim), np.int32)
    for half, (local, cols_of_a) in enumerate(halves):
        height, width = (cols_of_a, rows) if transposed else (rows, cols_of_a)
        for i in range(height):
            source = row_of(local) + i * state.execute.a_stride
            left[i, half * dim : half * dim + width] = state.scratchpad[source, :width]
    if transposed:
        left[:, :dim] = left[:, :dim].T.copy()
    product = left @ state.weights
    for i in range(out_rows):
        target = row_of(destination) + i * state.execute.c_stride
        if accumulates(destination):
            state.accumulator[target, :cols] += product[i, :cols]  # wraps around
        else:
            state.accumulator[target, :cols] = product[i, :cols]


class _Compute(Instruction, mnemonic="compute", funct7=-1):
    """What both computes share."""

    local: int = local_address("rs1", 31, 0, default=0)
    """A in the scratchpad; row i of the product comes from row `local + i * a_stride`.

    Where A is to be transposed, such a row holds its column i.
    """
    cols: int = integer("rs1", 47, 32, default=0)
    """Of A as it is multiplied, transposed or not."""
    rows: int = integer("rs1", 63, 48, default=0)
    bias: int = local_address("rs2", 31, 0, default=GARBAGE)
    """D; always `none` in the portable subset."""
    bias_cols: int = integer("rs2", 47, 32, default=0)
    bias_rows: int = integer("rs2", 63, 48, default=0)

    def _multiply(self, state: "State") -> None:
        multiply(state, [(self.local, self.cols)], self.rows, transposes=True)

    @classmethod
    def limits(cls, fields: Columns, machine: "Accelerator") -> Refusals:
        for name in ("cols", "rows"):
            yield (
                (fields[name] > machine.dim) | (fields[name] < 1),
                f"{name} must be 1 to {machine.dim}",
            )
        source = fields["local"].astype(np.int64)
        in_acc = source >> ACCUMULATOR_BIT & 1 == 1
        yield (
            in_acc | (source == GARBAGE) | refuse_odd_local(source),
            "A must come from a row of the scratchpad",
        )
        yield fields["bias"] != GARBAGE, "D must be none; move a bias into the accumulator instead"


class ComputePreloaded(_Compute, mnemonic="compute_new", funct7=4):
    """Loads the preloaded weights; then C = A * B, or C += A * B where C's address accumulates.

    Rows and columns of A and B that are not given count as zeros. The sum wraps around in int32.
    """

    def execute(self, state: "State") -> None:
        load_weights(state)
        self._multiply(state)


class ComputeKept(_Compute, mnemonic="compute_kept", funct7=5):
    """The same with the weights that are in the array already (COMPUTE_ACCUMULATED)."""

    def execute(self, state: "State") -> None:
        self._multiply(state)
