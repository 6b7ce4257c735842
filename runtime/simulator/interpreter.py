"""The jitted loop that runs decoded commands one by one, in program order."""

import numpy as np

from .array import compute, preload, preload_sparse
from .jit import entry, kernel
from .loads import load_scales, load_table, move_in
from .memory import (
    EPOCH,
    EXECUTE,
    LOAD,
    PAD,
    POOL,
    POSITION,
    REQUANTIZE,
    SCALES,
    STORE,
    TABLE,
    Memory,
    Pool,
)
from .move_out import move_out
from .operands import CODES, Codes, Operands

_LAST_EPOCH = 65535  # `Memory.stored` counts in 16 bits


@kernel
def _pooling(m: Memory) -> Pool:
    p, s = m.config[POOL], m.config[STORE]
    if p.config_pool_mode:
        return Pool(
            1,
            int(p.config_pool_mode == 2),
            p.config_pool_height,
            p.config_pool_width,
            p.config_pool_stride_rows,
            p.config_pool_stride_cols,
            p.config_pool_pad_up,
            p.config_pool_pad_left,
            p.config_pool_image_rows,
            p.config_pool_image_cols,
            p.config_pool_output_rows,
            p.config_pool_output_cols,
            p.config_pool_output_pitch,
            p.config_pool_offset,
        )
    return Pool(
        int(s.config_st_pool_stride != 0),
        0,
        s.config_st_pool_size,
        s.config_st_pool_size,
        s.config_st_pool_stride,
        s.config_st_pool_stride,
        s.config_st_pool_up,
        s.config_st_pool_left,
        s.config_st_image_rows,
        s.config_st_image_cols,
        s.config_st_output_rows,
        s.config_st_output_cols,
        s.config_st_output_pitch,
        0,
    )


@kernel
def _fence(m: Memory) -> None:
    m.words[EPOCH] += 1
    if m.words[EPOCH] > _LAST_EPOCH:
        m.stored[:] = np.uint16(0)
        m.loaded[:] = 0
        m.words[EPOCH] = 1


@entry
def _run(codes: Codes, program: Operands, m: Memory, first: int) -> tuple[int, int]:
    """Answers how many commands ran and the fault of the one that did not, or 0."""
    # A typed zero: numba would compile `compute` for a literal one too.
    none = int(np.int64(0))
    for i in range(program.size):
        op = program[i]
        code = op.operation
        fault = 0
        if code == codes.preload:
            preload(m, op)
        elif code == codes.compute_new or code == codes.compute_kept:
            is_new = code == codes.compute_new
            local, cols, rows = op.compute_local, op.compute_cols, op.compute_rows
            fault = compute(m, is_new, local, cols, rows, none, none)
        elif code == codes.preload_sparse:
            preload_sparse(m, op)
        elif code == codes.compute_sparse_new or code == codes.compute_sparse_kept:
            is_new = code == codes.compute_sparse_new
            local, cols, rows = (
                op.compute_sparse_local,
                op.compute_sparse_cols,
                op.compute_sparse_rows,
            )
            second, second_cols = op.compute_sparse_second, op.compute_sparse_second_cols
            fault = compute(m, is_new, local, cols, rows, second, second_cols)
        elif code == codes.mvin or code == codes.mvin2 or code == codes.mvin3:
            # Variables, not literals: numba compiles a callee anew for each literal argument.
            state = 0
            if code != codes.mvin:
                state = 1 if code == codes.mvin2 else 2
            fault = move_in(m, op, state)
        elif code == codes.mvout or code == codes.mvout_spad:
            m.words[POSITION] = first + i
            to_dram = code == codes.mvout
            local, cols, rows = op.mvout_local, op.mvout_cols, op.mvout_rows
            base, row_step = op.mvout_dram, m.config[STORE].config_st_stride
            block_step = m.scratchpad.shape[1]
            if not to_dram:
                local, cols, rows = op.mvout_spad_local, op.mvout_spad_cols, op.mvout_spad_rows
                base, row_step = op.mvout_spad_destination, op.mvout_spad_row_stride
                block_step = op.mvout_spad_block_stride
            pool = _pooling(m)
            fault = move_out(m, local, cols, rows, to_dram, base, row_step, block_step, pool)
        elif code == codes.config_ld:
            m.config[LOAD + op.config_ld_state] = op
        elif code == codes.config_st:
            m.config[STORE] = op
        elif code == codes.config_ex:
            m.config[EXECUTE] = op
        elif code == codes.config_requant:
            m.config[REQUANTIZE] = op
        elif code == codes.config_scales:
            m.config[SCALES] = op
        elif code == codes.config_table:
            m.config[TABLE] = op
        elif code == codes.config_pool:
            m.config[POOL] = op
        elif code == codes.config_pad:
            m.config[PAD + op.config_pad_state] = op
        elif code == codes.load_scales:
            fault = load_scales(m, op)
        elif code == codes.load_table:
            fault = load_table(m, op)
        elif code == codes.fence:
            _fence(m)
        if fault:
            return i, fault
    return program.size, 0


def interpret(program: Operands, memory: Memory, first: int = 0) -> tuple[int, int]:
    """Runs `program`, whose first command is number `first` of the run, on `memory`.

    How many commands ran, and the fault of the next one (0: none).
    """
    done, fault = _run(CODES, program, memory, first)
    return int(done), int(fault)
