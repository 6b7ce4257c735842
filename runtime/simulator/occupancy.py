"""Which local rows a program needs, and from when to when.

A row is occupied from the command that writes it to the last that uses what was written.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .jit import entry, kernel
from .operands import CODES, Codes, Operands, Record

if TYPE_CHECKING:
    from ..accelerator import Accelerator

_GARBAGE = 0xFFFFFFFF
_ROW_MASK = (1 << 26) - 1
_NOBODY = -1


@dataclass(frozen=True)
class Occupancy:
    """For each command how many rows it is the first, and how many the last, to need.

    Shape (n, 2): of the scratchpad, of the accumulator.
    """

    taken: npt.NDArray[np.int64]
    left: npt.NDArray[np.int64]


def occupancy(program: Operands, machine: "Accelerator") -> Occupancy:
    """The rows that `program` takes and leaves. Rows that it finds written count from their use."""
    taken, left = np.zeros((2, len(program), 2), np.int64)
    rows = max(machine.scratchpad.total_rows, machine.accumulator.total_rows)
    last = np.full((2, rows), _NOBODY, np.int64)
    steps, images = np.full(3, machine.dim, np.int64), np.zeros((2, 4), np.int64)
    _walk(CODES, program, machine.dim, last, taken, left, steps, images)
    for memory in range(2):
        users = last[memory][last[memory] != _NOBODY]
        left[:, memory] += np.bincount(users, minlength=len(program))
    return Occupancy(taken, left)


@kernel
def _touch(
    index: int,
    local: int,
    rows: int,
    step: int,
    renews: bool,
    last: npt.NDArray[np.int64],
    taken: npt.NDArray[np.int64],
    left: npt.NDArray[np.int64],
) -> None:
    """Command `index` uses rows `step` apart; `renews` what they hold, or needs it."""
    memory = (local >> 31) & 1
    for i in range(rows):
        row = (local & _ROW_MASK) + i * step
        if row >= last.shape[1]:
            return
        before = last[memory, row]
        if renews and before != _NOBODY:
            left[before, memory] += 1
        if renews or before == _NOBODY:
            taken[index, memory] += 1
        last[memory, row] = index


@kernel
def _image(codes: Codes, op: Record, image: npt.NDArray[np.int64]) -> None:
    """Notes the image of a pooling: rows read; rows, columns and pitch of what is written."""
    image[:] = 0
    if op.operation == codes.config_st and op.config_st_pool_stride:
        image[0] = op.config_st_image_rows * op.config_st_image_cols
        image[1], image[2] = op.config_st_output_rows, op.config_st_output_cols
        image[3] = op.config_st_output_pitch
    elif op.operation == codes.config_pool and op.config_pool_mode:
        image[0] = op.config_pool_image_rows * op.config_pool_image_cols
        image[1], image[2] = op.config_pool_output_rows, op.config_pool_output_cols
        image[3] = op.config_pool_output_pitch


@entry
def _walk(
    codes: Codes,
    program: Operands,
    dim: int,
    last: npt.NDArray[np.int64],
    taken: npt.NDArray[np.int64],
    left: npt.NDArray[np.int64],
    steps: npt.NDArray[np.int64],
    images: npt.NDArray[np.int64],
) -> None:
    # Variables, not literals: numba compiles a callee anew for each literal argument.
    renews, needs, one = dim > 0, dim < 0, dim // dim
    a_step, c_step, a_turned, b_turned = one, one, one - one, one - one
    for i in range(program.size):
        op = program[i]
        code = op.operation
        if code == codes.config_ld:
            steps[op.config_ld_state] = op.config_ld_block_stride
        elif code == codes.config_ex:
            a_step, c_step = op.config_ex_a_stride, op.config_ex_c_stride
            a_turned, b_turned = op.config_ex_transpose_a, op.config_ex_transpose_b
        elif code == codes.config_st:
            _image(codes, op, images[0])
        elif code == codes.config_pool:
            _image(codes, op, images[1])
        elif code == codes.mvin or code == codes.mvin2 or code == codes.mvin3:
            state = 0
            if code != codes.mvin:
                state = 1 if code == codes.mvin2 else 2
            fresh = (op.mvin_local >> 30) & 1 == 0
            for block in range((op.mvin_cols + dim - 1) // dim):
                local = op.mvin_local + block * steps[state]
                _touch(i, local, op.mvin_rows, one, fresh, last, taken, left)
        elif code == codes.preload:
            if op.preload_local != _GARBAGE:
                rows = op.preload_cols if b_turned else op.preload_rows
                _touch(i, op.preload_local, rows, one, needs, last, taken, left)
            if op.preload_destination != _GARBAGE:
                fresh = (op.preload_destination >> 30) & 1 == 0
                rows = op.preload_destination_rows
                _touch(i, op.preload_destination, rows, c_step, fresh, last, taken, left)
        elif code == codes.compute_new or code == codes.compute_kept:
            rows = op.compute_cols if a_turned else op.compute_rows
            _touch(i, op.compute_local, rows, a_step, needs, last, taken, left)
        elif code == codes.preload_sparse:
            if op.preload_sparse_local != _GARBAGE:
                rows = op.preload_sparse_rows + op.preload_sparse_rows // 4
                _touch(i, op.preload_sparse_local, rows, one, needs, last, taken, left)
            target = op.preload_sparse_destination
            if target != _GARBAGE:
                fresh = (target >> 30) & 1 == 0
                rows = op.preload_sparse_destination_rows
                _touch(i, target, rows, c_step, fresh, last, taken, left)
        elif code == codes.compute_sparse_new or code == codes.compute_sparse_kept:
            rows = op.compute_sparse_rows
            _touch(i, op.compute_sparse_local, rows, a_step, needs, last, taken, left)
            _touch(i, op.compute_sparse_second, rows, a_step, needs, last, taken, left)
        elif code == codes.mvout or code == codes.mvout_spad:
            local, cols, rows = op.mvout_local, op.mvout_cols, op.mvout_rows
            if code == codes.mvout_spad:
                local, cols, rows = op.mvout_spad_local, op.mvout_spad_cols, op.mvout_spad_rows
            image = images[1] if images[1, 0] else images[0]
            for block in range((cols + dim - 1) // dim):
                read = image[0] if image[0] else rows
                _touch(i, local + block * dim, read, one, needs, last, taken, left)
                if code == codes.mvout:
                    continue
                target = op.mvout_spad_destination + block * op.mvout_spad_block_stride
                step = op.mvout_spad_row_stride
                if not image[0]:
                    _touch(i, target, rows, step, renews, last, taken, left)
                for row in range(image[1]):
                    start = target + row * image[3] * step
                    _touch(i, start, image[2], step, renews, last, taken, left)
