"""Jitted kernel of the systolic array.

Weights from the scratchpad, products into the accumulator.
"""

import numpy as np

from .faults import (
    ACCUMULATE_UNDEFINED,
    ACCUMULATOR_BOUNDS,
    NO_PRELOAD,
    READ_UNDEFINED_SCRATCHPAD,
    SCRATCHPAD_BOUNDS,
)
from .jit import kernel
from .memory import (
    EXECUTE,
    MACS,
    PRELOAD_COLS,
    PRELOAD_ROW,
    PRELOAD_ROWS,
    TARGET,
    TARGET_COLS,
    TARGET_ROWS,
    Memory,
    columns_mask,
)
from .operands import Record

_GARBAGE = 0xFFFFFFFF
_ROW_MASK = (1 << 26) - 1


@kernel
def preload(m: Memory, op: Record) -> None:
    m.words[PRELOAD_ROW] = op.preload_local
    m.words[PRELOAD_COLS] = op.preload_cols
    m.words[PRELOAD_ROWS] = op.preload_rows
    m.words[TARGET] = op.preload_destination
    m.words[TARGET_COLS] = op.preload_destination_cols
    m.words[TARGET_ROWS] = op.preload_destination_rows


@kernel
def _check_scratchpad(m: Memory, first: int, step: int, rows: int, cols: int) -> int:
    if rows <= 0 or cols <= 0:
        return 0
    last = first + (rows - 1) * step
    if last >= m.scratchpad.shape[0]:
        m.detail[0], m.detail[1], m.detail[2] = first, last, m.scratchpad.shape[0]
        return SCRATCHPAD_BOUNDS
    mask = columns_mask(cols)
    for i in range(rows):
        if m.scratchpad_valid[first + i * step] & mask != mask:
            m.detail[0] = first + i * step
            return READ_UNDEFINED_SCRATCHPAD
    return 0


@kernel
def _load_weights(m: Memory) -> int:
    source = m.words[PRELOAD_ROW]
    rows, cols = m.words[PRELOAD_ROWS], m.words[PRELOAD_COLS]
    m.weights[:, :] = np.float32(0.0)
    if source == _GARBAGE:
        return 0
    fault = _check_scratchpad(m, source, 1, rows, cols)
    if fault:
        return fault
    if m.config[EXECUTE].config_ex_transpose_b:
        for k in range(rows):
            for c in range(cols):
                m.weights[c, k] = np.float32(m.scratchpad[source + k, c])
    else:
        for k in range(rows):
            for c in range(cols):
                m.weights[k, c] = np.float32(m.scratchpad[source + k, c])
    return 0


@kernel
def _multiply_row(m: Memory, source: int, depth: int) -> None:
    """`Memory.product` = one row of A times the weights."""
    dim = m.weights.shape[0]
    if dim == 16:
        # A constant trip count keeps the row of sums in vector registers.
        sums = m.product[:16]
        for c in range(16):
            sums[c] = np.float32(0.0)
        for k in range(depth):
            a = np.float32(m.scratchpad[source, k])
            for c in range(16):
                sums[c] += a * m.weights[k, c]
        return
    for c in range(dim):
        m.product[c] = np.float32(0.0)
    for k in range(depth):
        a = np.float32(m.scratchpad[source, k])
        for c in range(dim):
            m.product[c] += a * m.weights[k, c]


@kernel
def _multiply_transposed_row(m: Memory, first: int, step: int, column: int, rows: int) -> None:
    """The same with A given by columns: row `column` of A's transpose."""
    dim = m.weights.shape[0]
    for c in range(dim):
        m.product[c] = np.float32(0.0)
    for k in range(rows):
        a = np.float32(m.scratchpad[first + k * step, column])
        for c in range(dim):
            m.product[c] += a * m.weights[k, c]


@kernel
def compute(m: Memory, is_new: bool, local: int, cols: int, rows: int) -> int:
    if m.words[PRELOAD_ROW] < 0:
        return NO_PRELOAD
    if is_new:
        fault = _load_weights(m)
        if fault:
            return fault
    config = m.config[EXECUTE]
    step, out_step = config.config_ex_a_stride, config.config_ex_c_stride
    transposed = config.config_ex_transpose_a
    fault = _check_scratchpad(m, local, step, rows, cols)
    if fault:
        return fault
    target = m.words[TARGET]
    out_cols, out_rows = m.words[TARGET_COLS], m.words[TARGET_ROWS]
    m.words[PRELOAD_ROW] = -1  # every compute needs its own
    if target == _GARBAGE or out_rows == 0 or out_cols == 0:
        return 0
    m.words[MACS] += rows * cols * out_cols
    first = target & _ROW_MASK
    accumulate = (target >> 30) & 1
    last = first + (out_rows - 1) * out_step
    if last >= m.accumulator.shape[0]:
        m.detail[0], m.detail[1], m.detail[2] = first, last, m.accumulator.shape[0]
        return ACCUMULATOR_BOUNDS
    mask = columns_mask(out_cols)
    given = cols if transposed else rows
    for i in range(out_rows):
        place = first + i * out_step
        if accumulate and m.accumulator_valid[place] & mask != mask:
            m.detail[0] = place
            return ACCUMULATE_UNDEFINED
        if i >= given:
            for c in range(out_cols):
                m.product[c] = np.float32(0.0)
        elif transposed:
            _multiply_transposed_row(m, local, step, i, rows)
        else:
            _multiply_row(m, local + i * step, cols)
        if accumulate:
            for c in range(out_cols):
                m.accumulator[place, c] = np.int32(m.accumulator[place, c] + np.int32(m.product[c]))
        else:
            for c in range(out_cols):
                m.accumulator[place, c] = np.int32(m.product[c])
        m.accumulator_valid[place] |= mask
        m.loaded[place] = 0
    return 0
