"""Jitted kernels of the moves: loads with padding and scaling, move-out with its whole pipe.

Each answers the number of a fault (`faults.py`), 0 for none, with the fault's details in
`Memory.detail`. The meaning is that of the instruction classes, whose `execute` is the oracle of
the tests.
"""

import numpy as np

from .faults import (
    ACCUMULATE_UNDEFINED,
    ACCUMULATOR_BOUNDS,
    BLOCKS_OVERLAP,
    DRAM_BOUNDS,
    MOVE_OVERLAPS,
    MOVE_TOO_WIDE,
    POOL_TOO_WIDE,
    READ_UNDEFINED_ACCUMULATOR,
    READ_UNDEFINED_SCALES,
    READ_UNDEFINED_SCRATCHPAD,
    READ_UNDEFINED_TABLE,
    SCALES_BOUNDS,
    SCRATCHPAD_BOUNDS,
    STALE_DRAM,
    UNORDERED_LOADS,
)
from .jit import kernel
from .memory import EPOCH, LOAD, PAD, REQUANTIZE, SCALES, STORE, TABLE, Memory, Pool
from .operands import Record

_ROW_MASK = (1 << 26) - 1
_ROUND = np.float32(1.5 * 2**23)  # adding and subtracting it rounds to even below 2**22
_FAR = np.float32(4096.0)  # beyond any int8, whatever the zero point


@kernel
def columns_mask(width: int) -> np.uint64:
    if width >= 64:
        return ~np.uint64(0)
    return (np.uint64(1) << np.uint64(width)) - np.uint64(1)


@kernel
def move_in(m: Memory, op: Record, state: int) -> int:
    config = m.config[LOAD + state]
    dim = m.scratchpad.shape[1]
    dram, cols, rows = op.mvin_dram, op.mvin_cols, op.mvin_rows
    to_accumulator = (op.mvin_local >> 31) & 1
    accumulate = (op.mvin_local >> 30) & 1
    first = op.mvin_local & _ROW_MASK
    blocks = (cols + dim - 1) // dim
    size = 4 if to_accumulator and not config.config_ld_shrink else 1
    step = config.config_ld_block_stride
    stride = config.config_ld_stride
    if cols * size > m.max_move_bytes:
        m.detail[0], m.detail[1] = cols * size, m.max_move_bytes
        return MOVE_TOO_WIDE
    if blocks > 1 and step < rows:
        m.detail[0], m.detail[1] = step, rows
        return BLOCKS_OVERLAP
    last = first + (blocks - 1) * step + rows - 1
    limit = m.accumulator.shape[0] if to_accumulator else m.scratchpad.shape[0]
    if last >= limit:
        m.detail[0], m.detail[1], m.detail[2] = first, last, limit
        return ACCUMULATOR_BOUNDS if to_accumulator else SCRATCHPAD_BOUNDS
    if dram != 0:
        end = dram + (rows - 1) * stride + cols * size
        if dram < 0 or stride < 0 or stride > m.dram.size or end > m.dram.size:
            m.detail[0], m.detail[1], m.detail[2] = dram, end, m.dram.size
            return DRAM_BOUNDS
        if m.stored.size:
            epoch = m.words[EPOCH]
            for row in range(rows):
                start = dram + row * stride
                stale = False
                for byte in range(start, start + cols * size):
                    stale |= m.stored[byte] == epoch
                if stale:
                    m.detail[0], m.detail[1] = start, start + cols * size
                    return STALE_DRAM
    scale = config.config_ld_scale
    scaled = dram != 0 and size == 1 and scale != np.float32(1.0)
    pad = np.int8(m.config[PAD + state].config_pad_pad)
    for block in range(blocks):
        width = min(dim, cols - block * dim)
        mask = columns_mask(width)
        for row in range(rows):
            target = first + block * step + row
            start = dram + row * stride + block * dim * size
            if not to_accumulator:
                m.scratchpad_valid[target] |= mask
                if dram == 0:
                    for c in range(width):
                        m.scratchpad[target, c] = pad
                elif scaled:
                    for c in range(width):
                        m.scratchpad[target, c] = _scaled(np.int8(m.dram[start + c]), scale)
                else:
                    for c in range(width):
                        m.scratchpad[target, c] = np.int8(m.dram[start + c])
                continue
            if accumulate:
                if m.accumulator_valid[target] & mask != mask:
                    m.detail[0] = target
                    return ACCUMULATE_UNDEFINED
                if m.stored.size and m.loaded[target] == m.words[EPOCH]:
                    m.detail[0] = target
                    return UNORDERED_LOADS
            m.accumulator_valid[target] |= mask
            m.loaded[target] = m.words[EPOCH]
            for c in range(width):
                value = np.int32(0)
                if dram != 0:
                    if size == 1:
                        value = np.int32(np.int8(m.dram[start + c]))
                        if scaled:
                            value = np.int32(_scaled(np.int8(value), scale))
                    else:
                        at = start + 4 * c
                        value = np.int32(
                            np.uint32(m.dram[at])
                            | np.uint32(m.dram[at + 1]) << np.uint32(8)
                            | np.uint32(m.dram[at + 2]) << np.uint32(16)
                            | np.uint32(m.dram[at + 3]) << np.uint32(24)
                        )
                if accumulate:
                    value = np.int32(m.accumulator[target, c] + value)
                m.accumulator[target, c] = value
    return 0


@kernel
def _scaled(value: np.int8, scale: np.float32) -> np.int8:
    product = np.float32(value) * scale
    product = min(max(product, -_FAR), _FAR)
    rounded = (product + _ROUND) - _ROUND
    return np.int8(min(max(rounded, np.float32(-128.0)), np.float32(127.0)))


@kernel
def load_scales(m: Memory, op: Record) -> int:
    start, count = op.load_scales_dram, op.load_scales_count
    if start < 0 or start + 4 * count > m.dram.size:
        m.detail[0], m.detail[1], m.detail[2] = start, start + 4 * count, m.dram.size
        return DRAM_BOUNDS
    dim = m.scales.shape[1]
    if m.stored.size:
        for byte in range(start, start + 4 * count):
            if m.stored[byte] == m.words[EPOCH]:
                m.detail[0], m.detail[1] = start, start + 4 * count
                return STALE_DRAM
    words = m.dram[start : start + 4 * count].copy().view(np.float32)
    for i in range(count):
        place = op.load_scales_row * dim + i
        m.scales[place // dim, place % dim] = words[i]
        m.scales_valid[place] = 1
    return 0


@kernel
def load_table(m: Memory, op: Record) -> int:
    start = op.load_table_dram
    if start < 0 or start + 256 > m.dram.size:
        m.detail[0], m.detail[1], m.detail[2] = start, start + 256, m.dram.size
        return DRAM_BOUNDS
    for i in range(256):
        if m.stored.size and m.stored[start + i] == m.words[EPOCH]:
            m.detail[0], m.detail[1] = start, start + 256
            return STALE_DRAM
        m.tables[op.load_table_table, i] = np.int8(m.dram[start + i])
    m.tables_valid[op.load_table_table] = 1
    return 0


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
    total = np.full(cols, np.int32(p.offset))
    for c in range(cols):
        m.best[c] = np.int8(-128)
    for i in range(p.height):
        for j in range(p.width):
            row = out_row * p.stride_rows - p.pad_up + i
            col = out_col * p.stride_cols - p.pad_left + j
            if row < 0 or row >= p.image_rows or col < 0 or col >= p.image_cols:
                for c in range(cols):
                    m.best[c] = max(m.best[c], np.int8(pad))
                    total[c] += np.int32(pad)
                continue
            source = (local & _ROW_MASK) + row * p.image_cols + col
            if p.average:
                fault = _read(m, local, source, cols)
                if fault:
                    return fault
                for c in range(cols):
                    total[c] += m.sums[c]
            else:
                fault = _leave(m, local, source, cols, 0)
                if fault:
                    return fault
                for c in range(cols):
                    m.best[c] = max(m.best[c], m.row[c])
    if p.average:
        for c in range(cols):
            m.sums[c] = total[c]
        fault = _requantize(m, cols, 0)
        if fault:
            return fault
        return _look_up(m, cols)
    for c in range(cols):
        m.row[c] = m.best[c]
    return 0


@kernel
def _write_dram(m: Memory, start: int, width: int) -> int:
    if start < 0 or start + width > m.dram.size:
        m.detail[0], m.detail[1], m.detail[2] = start, start + width, m.dram.size
        return DRAM_BOUNDS
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
