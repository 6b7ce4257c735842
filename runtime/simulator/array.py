"""Jitted kernel of the systolic array.

Weights from the scratchpad, products into the accumulator.
"""

import numpy as np
import numpy.typing as npt

from .faults import (
    ACCUMULATE_UNDEFINED,
    ACCUMULATOR_BOUNDS,
    NO_PRELOAD,
    READ_UNDEFINED_SCRATCHPAD,
    READ_UNDEFINED_WEIGHTS,
    SCRATCHPAD_BOUNDS,
    UNORDERED_ROW,
)
from .jit import kernel
from .memory import (
    EXECUTE,
    MACS,
    PRELOAD_COLS,
    PRELOAD_ROW,
    PRELOAD_ROWS,
    PRELOAD_SPARSE,
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
    m.words[PRELOAD_SPARSE] = 0
    m.words[TARGET] = op.preload_destination
    m.words[TARGET_COLS] = op.preload_destination_cols
    m.words[TARGET_ROWS] = op.preload_destination_rows


@kernel
def preload_sparse(m: Memory, op: Record) -> None:
    m.words[PRELOAD_ROW] = op.preload_sparse_local
    m.words[PRELOAD_COLS] = op.preload_sparse_cols
    m.words[PRELOAD_ROWS] = op.preload_sparse_rows
    m.words[PRELOAD_SPARSE] = 1
    m.words[TARGET] = op.preload_sparse_destination
    m.words[TARGET_COLS] = op.preload_sparse_destination_cols
    m.words[TARGET_ROWS] = op.preload_sparse_destination_rows


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
    m.weights[:, :] = np.int16(0)
    if source == _GARBAGE:
        return 0
    transposed = m.config[EXECUTE].config_ex_transpose_b and not m.words[PRELOAD_SPARSE]
    if transposed:
        rows, cols = cols, rows
    fault = _check_scratchpad(m, source, 1, rows, cols)
    if fault:
        return READ_UNDEFINED_WEIGHTS if fault == READ_UNDEFINED_SCRATCHPAD else fault
    if m.words[PRELOAD_SPARSE]:
        return _unpack_weights(m, source, rows, cols)
    if transposed:
        for c in range(rows):
            for k in range(cols):
                m.weights[k, c] = np.int16(m.scratchpad[source + c, k])
    else:
        for k in range(rows):
            for c in range(cols):
                m.weights[k, c] = np.int16(m.scratchpad[source + k, c])
    return 0


@kernel
def _unpack_weights(m: Memory, source: int, rows: int, cols: int) -> int:
    """2:4 weights: `rows` rows of those that are kept, then their indices (`isa.sparsity`)."""
    dim = m.weights.shape[1]
    fault = _check_scratchpad(m, source + rows, 1, rows // 4, dim)
    if fault:
        return READ_UNDEFINED_WEIGHTS if fault == READ_UNDEFINED_SCRATCHPAD else fault
    for row in range(rows):
        for c in range(cols):
            byte = m.scratchpad[source + rows + row // 4, row % 4 * (dim // 4) + c // 4]
            depth = row // 2 * 4 + ((int(byte) >> (2 * (c % 4))) & 3)
            m.weights[depth, c] += np.int16(m.scratchpad[source + row, c])
    return 0


@kernel
def _multiply_row(m: Memory, a: npt.NDArray[np.int8]) -> None:
    """`Memory.sums` = one row of A, `dim` long, times the weights."""
    dim = m.weights.shape[1]
    if dim == 16:
        # With constant trip counts this becomes a few vector instructions.
        for c in range(16):
            total = np.int32(0)
            for k in range(16):
                total = np.int32(total + np.int32(np.int32(a[k]) * np.int32(m.weights[k, c])))
            m.sums[c] = total
        return
    for c in range(dim):
        m.sums[c] = np.int32(0)
    for k in range(dim):
        value = np.int32(a[k])
        for c in range(dim):
            m.sums[c] += np.int32(value * np.int32(m.weights[k, c]))


@kernel
def _accumulate_tile(
    scratchpad: npt.NDArray[np.int8],
    local: int,
    step: int,
    weights: npt.NDArray[np.int16],
    accumulator: npt.NDArray[np.int32],
    first: int,
    out_step: int,
    rows: int,
) -> None:
    """Whole rows of a 16x16 tile, which most are.

    One function with constant trip counts: so the weights stay in vector registers.
    """
    for i in range(rows):
        source, place = local + i * step, first + i * out_step
        for c in range(16):
            total = accumulator[place, c]
            for k in range(16):
                product = np.int32(np.int32(scratchpad[source, k]) * np.int32(weights[k, c]))
                total = np.int32(total + product)
            accumulator[place, c] = total


@kernel
def _gather_row(m: Memory, first: int, step: int, i: int, cols: int, transposed: bool) -> None:
    """`Memory.row` = row i of A with zeros behind."""
    m.row[:] = np.int8(0)
    if transposed:
        for k in range(cols):
            m.row[k] = m.scratchpad[first + k * step, i]
    else:
        for k in range(cols):
            m.row[k] = m.scratchpad[first + i * step, k]


@kernel
def _add_second_half(m: Memory, first: int, step: int, cols: int) -> None:
    """Adds to `Memory.sums` a row of A's second half times the weights' second half."""
    dim = m.weights.shape[1]
    for k in range(cols):
        value = np.int32(m.scratchpad[first + step, k])
        for c in range(dim):
            m.sums[c] += np.int32(value * np.int32(m.weights[dim + k, c]))


@kernel
def _compute(
    m: Memory, is_new: bool, local: int, cols: int, rows: int, second: int, second_cols: int
) -> int:
    if m.words[PRELOAD_ROW] < 0:
        return NO_PRELOAD
    if is_new:
        fault = _load_weights(m)
        if fault:
            return fault
    config = m.config[EXECUTE]
    dim = m.weights.shape[1]
    step, out_step = config.config_ex_a_stride, config.config_ex_c_stride
    transposed = config.config_ex_transpose_a and second_cols == 0
    if transposed:
        fault = _check_scratchpad(m, local, step, cols, rows)
    else:
        fault = _check_scratchpad(m, local, step, rows, cols)
    if fault == 0 and second_cols:
        fault = _check_scratchpad(m, second, step, rows, second_cols)
    if fault:
        return fault
    target = m.words[TARGET]
    out_cols, out_rows = m.words[TARGET_COLS], m.words[TARGET_ROWS]
    if target == _GARBAGE or out_rows == 0 or out_cols == 0:
        return 0
    # Of two halves of A the array multiplies as many weights as of one.
    m.words[MACS] += rows * out_cols * ((cols + second_cols + 1) // 2 if second_cols else cols)
    first = target & _ROW_MASK
    accumulate = (target >> 30) & 1
    last = first + (out_rows - 1) * out_step
    if last >= m.accumulator.shape[0]:
        m.detail[0], m.detail[1], m.detail[2] = first, last, m.accumulator.shape[0]
        return ACCUMULATOR_BOUNDS
    mask = columns_mask(out_cols)
    whole = dim == 16 and cols == 16 and out_cols == 16 and not transposed
    for i in range(out_rows):
        place = first + i * out_step
        if accumulate and m.accumulator_valid[place] & mask != mask:
            m.detail[0] = place
            return ACCUMULATE_UNDEFINED
        if accumulate and m.loaded[place] < 0:
            m.detail[0] = place
            return UNORDERED_ROW
        m.accumulator_valid[place] |= mask
        m.loaded[place] = 0
    if whole and rows >= out_rows and (second_cols == 0 or second_cols == 16):
        if not accumulate:
            for i in range(out_rows):
                m.accumulator[first + i * out_step, :] = np.int32(0)
        _accumulate_tile(
            m.scratchpad, local, step, m.weights, m.accumulator, first, out_step, out_rows
        )
        if second_cols:
            weights = m.weights[16:]
            _accumulate_tile(
                m.scratchpad, second, step, weights, m.accumulator, first, out_step, out_rows
            )
        return 0
    for i in range(out_rows):
        place = first + i * out_step
        m.sums[:] = np.int32(0)
        if i < rows:
            _gather_row(m, local, step, i, cols, transposed)
            _multiply_row(m, m.row)
            _add_second_half(m, second, step * i, second_cols)
        for c in range(out_cols):
            before = m.accumulator[place, c] if accumulate else np.int32(0)
            m.accumulator[place, c] = np.int32(before + m.sums[c])
    return 0


@kernel
def compute(
    m: Memory, is_new: bool, local: int, cols: int, rows: int, second: int, second_cols: int
) -> int:
    """One product; `second` is where A's second half lies, of `second_cols` columns or none."""
    fault = _compute(m, is_new, local, cols, rows, second, second_cols)
    if not fault:
        m.words[PRELOAD_ROW] = -1  # every compute needs its own
    return fault
