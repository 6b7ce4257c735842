"""Jitted kernels of the move-out pipe: from int32 to int8 in DRAM or scratchpad.

Each kernel answers the number of a fault (`faults.py`), 0 for none, with the fault's details in
`Memory.detail`. The meaning is that of the instruction classes, whose `execute` is the oracle of
the tests.
"""

import numpy as np

from .faults import (
    ACCUMULATOR_BOUNDS,
    DRAM_BOUNDS,
    MOVE_OVERLAPS,
    POOL_TOO_WIDE,
    READ_UNDEFINED_ACCUMULATOR,
    READ_UNDEFINED_SCALES,
    READ_UNDEFINED_SCRATCHPAD,
    READ_UNDEFINED_TABLE,
    SCALES_BOUNDS,
    SCRATCHPAD_BOUNDS,
    STORES_QUEUE,
    UNORDERED_ROW,
)
from .jit import kernel
from .memory import (
    EPOCH,
    POSITION,
    QUEUES_END,
    QUEUES_START,
    REQUANTIZE,
    SCALES,
    STORE,
    TABLE,
    Memory,
    Pool,
    columns_mask,
)

_ROW_MASK = (1 << 26) - 1
_ROUND = np.float32(1.5 * 2**23)  # adding and subtracting it rounds to even below 2**22
_FAR = np.float32(4096.0)  # beyond any int8, whatever the zero point


@kernel
def _requantize(m: Memory, width: int, block: int) -> int:
    """`Memory.sums` to `Memory.row`: relu, scale, round, zero point, clamp."""
    store, requantize, scales = m.config[STORE], m.config[REQUANTIZE], m.config[SCALES]
    zero = np.float32(requantize.config_requant_zero)
    low = np.float32(requantize.config_requant_low)
    high = np.float32(requantize.config_requant_high)
    scale = store.config_st_scale
    if store.config_st_activation == 1:
        for c in range(width):
            m.sums[c] = max(m.sums[c], np.int32(0))
    if scales.config_scales_enable:
        table = scales.config_scales_row + block
        if table >= m.scales.shape[0]:
            m.detail[0], m.detail[1] = table, m.scales.shape[0]
            return SCALES_BOUNDS
        for c in range(width):
            if not m.scales_valid[table * m.scales.shape[1] + c]:
                m.detail[0], m.detail[1] = table, c
                return READ_UNDEFINED_SCALES
            m.product[c] = np.float32(m.sums[c]) * m.scales[table, c]
    else:
        for c in range(width):
            m.product[c] = np.float32(m.sums[c]) * scale
    for c in range(width):
        near = min(max(m.product[c], -_FAR), _FAR)
        shifted = ((near + _ROUND) - _ROUND) + zero
        m.row[c] = np.int8(min(max(shifted, low), high))
    return 0


@kernel
def _look_up(m: Memory, width: int) -> int:
    config = m.config[TABLE]
    if config.config_table_enable:
        table = config.config_table_table
        if not m.tables_valid[table]:
            m.detail[0] = table
            return READ_UNDEFINED_TABLE
        for c in range(width):
            m.row[c] = m.tables[table, np.uint8(m.row[c])]
    return 0


@kernel
def _read(m: Memory, local: int, source: int, width: int) -> int:
    """One source row into `Memory.sums`."""
    mask = columns_mask(width)
    m.detail[0], m.detail[1], m.detail[2] = source, source, m.accumulator.shape[0]
    if (local >> 31) & 1:
        if source >= m.accumulator.shape[0]:
            return ACCUMULATOR_BOUNDS
        if m.accumulator_valid[source] & mask != mask:
            return READ_UNDEFINED_ACCUMULATOR
        if m.loaded[source] < 0:
            return UNORDERED_ROW
        m.loaded[source] = 0
        for c in range(width):
            m.sums[c] = m.accumulator[source, c]
        return 0
    m.detail[2] = m.scratchpad.shape[0]
    if source >= m.scratchpad.shape[0]:
        return SCRATCHPAD_BOUNDS
    if m.scratchpad_valid[source] & mask != mask:
        return READ_UNDEFINED_SCRATCHPAD
    for c in range(width):
        m.sums[c] = np.int32(m.scratchpad[source, c])
    return 0


@kernel
def _leave(m: Memory, local: int, source: int, width: int, block: int) -> int:
    """One source row into `Memory.row`, through the pipe up to the table."""
    fault = _read(m, local, source, width)
    if fault:
        return fault
    if (local >> 31) & 1:
        fault = _requantize(m, width, block)
        if fault:
            return fault
    else:
        for c in range(width):
            m.row[c] = np.int8(m.sums[c])
    return _look_up(m, width)


@kernel
def _pool(m: Memory, local: int, cols: int, out_row: int, out_col: int, p: Pool) -> int:
    """One pooled pixel into `Memory.row`."""
    pad = m.config[REQUANTIZE].config_requant_pad
    for c in range(cols):
        m.best[c] = np.int8(-128)
        m.total[c] = np.int32(p.offset)
    for i in range(p.height):
        for j in range(p.width):
            row = out_row * p.stride_rows - p.pad_up + i
            col = out_col * p.stride_cols - p.pad_left + j
            if row < 0 or row >= p.image_rows or col < 0 or col >= p.image_cols:
                for c in range(cols):
                    m.best[c] = max(m.best[c], np.int8(pad))
                    m.total[c] += np.int32(pad)
                continue
            source = (local & _ROW_MASK) + row * p.image_cols + col
            if p.average:
                fault = _read(m, local, source, cols)
                if fault:
                    return fault
                for c in range(cols):
                    m.total[c] += m.sums[c]
            else:
                fault = _leave(m, local, source, cols, 0)
                if fault:
                    return fault
                for c in range(cols):
                    m.best[c] = max(m.best[c], m.row[c])
    if p.average:
        for c in range(cols):
            m.sums[c] = m.total[c]
        fault = _requantize(m, cols, 0)
        if fault:
            return fault
        return _look_up(m, cols)
    for c in range(cols):
        m.row[c] = m.best[c]
    return 0


@kernel
def _in_queue(m: Memory, start: int, end: int) -> bool:
    """Whether bytes belong to a queue that is not done."""
    if start >= m.words[QUEUES_END] or end <= m.words[QUEUES_START]:
        return False
    for queue in m.queues:
        if start < queue[1] and queue[0] < end and m.words[POSITION] < queue[2]:
            return True
    return False


@kernel
def _write_dram(m: Memory, start: int, width: int) -> int:
    if start < 0 or start + width > m.dram.size:
        m.detail[0], m.detail[1], m.detail[2] = start, start + width, m.dram.size
        return DRAM_BOUNDS
    if _in_queue(m, start, start + width):
        m.detail[0], m.detail[1] = start, start + width
        return STORES_QUEUE
    for c in range(width):
        m.dram[start + c] = np.uint8(m.row[c])
    if m.stored.size:
        for c in range(width):
            m.stored[start + c] = m.words[EPOCH]
    return 0


@kernel
def _write_scratchpad(m: Memory, target: int, width: int) -> int:
    if target >= m.scratchpad.shape[0]:
        m.detail[0], m.detail[1], m.detail[2] = target, target, m.scratchpad.shape[0]
        return SCRATCHPAD_BOUNDS
    m.scratchpad_valid[target] |= columns_mask(width)
    for c in range(width):
        m.scratchpad[target, c] = m.row[c]
    return 0


@kernel
def move_out(
    m: Memory,
    local: int,
    cols: int,
    rows: int,
    to_dram: bool,
    base: int,
    row_step: int,
    block_step: int,
    p: Pool,
) -> int:
    """To DRAM bytes or scratchpad rows, from `base`.

    `p` is the pooling in force.
    """
    dim = m.scratchpad.shape[1]
    if p.on:
        if cols > dim:
            m.detail[0], m.detail[1] = cols, dim
            return POOL_TOO_WIDE
        out_rows, out_cols = p.output_rows, p.output_cols
        read = p.image_rows * p.image_cols
    else:
        out_rows, out_cols = rows, 1
        read = (cols + dim - 1) // dim * dim
    if not to_dram and not (local >> 31) & 1:
        source = local & _ROW_MASK
        written = (out_rows - 1) * (p.output_pitch if p.on else 1) + out_cols - 1
        end = base + written * row_step + (cols - 1) // dim * block_step
        if base < source + read and source <= end:
            m.detail[0], m.detail[1] = source, base
            return MOVE_OVERLAPS
    for row in range(out_rows):
        for col in range(out_cols):
            for block in range((cols + dim - 1) // dim):
                width = min(dim, cols - block * dim)
                if p.on:
                    place = row * p.output_pitch + col
                    fault = _pool(m, local, cols, row, col, p)
                else:
                    place = row
                    source = (local & _ROW_MASK) + block * dim + row
                    fault = _leave(m, local, source, width, block)
                if fault:
                    return fault
                target = base + place * row_step + block * block_step
                if to_dram:
                    fault = _write_dram(m, target, width)
                else:
                    fault = _write_scratchpad(m, target, width)
                if fault:
                    return fault
    return 0
