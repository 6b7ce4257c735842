"""Jitted kernels of what comes from DRAM: moves-in, multipliers, tables.

Each kernel answers the number of a fault (`faults.py`), 0 for none, with the fault's details in
`Memory.detail`. The meaning is that of the instruction classes, whose `execute` is the oracle of
the tests.
"""

import numpy as np

from .faults import (
    ACCUMULATE_UNDEFINED,
    ACCUMULATOR_BOUNDS,
    BLOCKS_OVERLAP,
    DRAM_BOUNDS,
    MOVE_TOO_WIDE,
    PACKED_TO_ACCUMULATOR,
    REPEATS_TOO_WIDE,
    SCRATCHPAD_BOUNDS,
    STALE_DRAM,
    UNORDERED_LOADS,
    UNORDERED_ROW,
    WIDE_TO_SCRATCHPAD,
)
from .jit import kernel
from .memory import EPOCH, LOAD, PAD, Memory, columns_mask
from .operands import Record

_ROW_MASK = (1 << 26) - 1
_ROUND = np.float32(1.5 * 2**23)  # adding and subtracting it rounds to even below 2**22
_FAR = np.float32(4096.0)  # beyond any int8, whatever the zero point


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
    packed, wide = config.config_ld_packed != 0, config.config_ld_wide != 0
    if packed and to_accumulator:
        return PACKED_TO_ACCUMULATOR
    if wide and not to_accumulator:
        return WIDE_TO_SCRATCHPAD
    row_bytes = (cols + 1) // 2 if packed else cols * size
    if row_bytes > m.max_move_bytes:
        m.detail[0], m.detail[1] = row_bytes, m.max_move_bytes
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
        end = dram + (rows - 1) * stride + row_bytes
        if dram < 0 or stride < 0 or stride > m.dram.size or end > m.dram.size:
            m.detail[0], m.detail[1], m.detail[2] = dram, end, m.dram.size
            return DRAM_BOUNDS
        if m.stored.size:
            epoch = m.words[EPOCH]
            for row in range(rows):
                start = dram + row * stride
                stale = False
                for byte in range(start, start + row_bytes):
                    stale |= m.stored[byte] == epoch
                if stale:
                    m.detail[0], m.detail[1] = start, start + row_bytes
                    return STALE_DRAM
    repeats = config.config_ld_pixel_repeats
    if repeats > 1 and (to_accumulator or cols * repeats > dim):
        m.detail[0], m.detail[1], m.detail[2] = repeats, cols, dim
        return REPEATS_TOO_WIDE
    scale = config.config_ld_scale
    scaled = dram != 0 and size == 1 and scale != np.float32(1.0)
    pad = np.int8(m.config[PAD + state].config_pad_pad)
    tracked = m.stored.size > 0 and not wide  # a wide load is ordered with those around it
    for block in range(blocks):
        width = min(dim, cols - block * dim)
        mask = columns_mask(width)
        for row in range(rows):
            target = first + block * step + row
            start = dram + row * stride + (block * dim // 2 if packed else block * dim * size)
            if not to_accumulator:
                m.scratchpad_valid[target] |= mask
                if dram == 0:
                    for c in range(width):
                        m.scratchpad[target, c] = pad
                elif packed:
                    for c in range(width):
                        weight = _nibble(m, start, c)
                        m.scratchpad[target, c] = _scaled(weight, scale) if scaled else weight
                elif scaled:
                    for c in range(width):
                        m.scratchpad[target, c] = _scaled(np.int8(m.dram[start + c]), scale)
                else:
                    for c in range(width):
                        m.scratchpad[target, c] = np.int8(m.dram[start + c])
                for times in range(1, repeats):
                    _repeat(m, target, width, times)
                continue
            if accumulate:
                if m.accumulator_valid[target] & mask != mask:
                    m.detail[0] = target
                    return ACCUMULATE_UNDEFINED
                if m.loaded[target] < 0:
                    m.detail[0] = target
                    return UNORDERED_ROW
                if tracked and m.loaded[target] == m.words[EPOCH]:
                    m.detail[0] = target
                    return UNORDERED_LOADS
            m.accumulator_valid[target] |= mask
            epoch = m.words[EPOCH]
            if not tracked:
                m.loaded[target] = 0
            elif abs(m.loaded[target]) == epoch:
                m.loaded[target] = -epoch
            else:
                m.loaded[target] = epoch
            for c in range(width):
                value = np.int32(0)
                if dram != 0:
                    if size == 1:
                        value = np.int32(np.int8(m.dram[start + c]))
                        if scaled and wide:
                            value = _scaled_wide(np.int8(value), scale)
                        elif scaled:
                            value = np.int32(_scaled(np.int8(value), scale))
                    else:
                        value = np.int32(_word(m, start + 4 * c))
                if accumulate:
                    value = np.int32(m.accumulator[target, c] + value)
                m.accumulator[target, c] = value
    return 0


@kernel
def _repeat(m: Memory, row: int, width: int, times: int) -> None:
    """Writes what `row` got once more, `times` rows higher, but not above its half of the rows."""
    half = m.scratchpad.shape[0] // 2
    target = row - times
    if target < 0 or (row >= half and target < half):
        return
    place = times * width
    for c in range(width):
        m.scratchpad[target, place + c] = m.scratchpad[row, c]
    m.scratchpad_valid[target] |= columns_mask(width) << np.uint64(place)


@kernel
def _word(m: Memory, at: int) -> np.uint32:
    """Four bytes of DRAM, the lowest first, wherever they lie."""
    return np.uint32(
        np.uint32(m.dram[at])
        | np.uint32(m.dram[at + 1]) << np.uint32(8)
        | np.uint32(m.dram[at + 2]) << np.uint32(16)
        | np.uint32(m.dram[at + 3]) << np.uint32(24)
    )


@kernel
def _scaled(value: np.int8, scale: np.float32) -> np.int8:
    product = np.float32(value) * scale
    product = min(max(product, -_FAR), _FAR)
    rounded = (product + _ROUND) - _ROUND
    return np.int8(min(max(rounded, np.float32(-128.0)), np.float32(127.0)))


@kernel
def _scaled_wide(value: np.int8, scale: np.float32) -> np.int32:
    # The nearest even integer of a float32: beyond 2**22 the float32 may be the integer already.
    rounded = np.rint(np.float64(np.float32(value) * scale))
    return np.int32(min(max(rounded, -2147483648.0), 2147483647.0))


@kernel
def _nibble(m: Memory, start: int, place: int) -> np.int8:
    """The signed 4-bit value at `place` of those that begin at `start` (`isa.nibbles`)."""
    half = (int(m.dram[start + place // 2]) >> (4 * (place % 2))) & 15
    return np.int8((half ^ 8) - 8)


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
    for i in range(count):
        place = op.load_scales_row * dim + i
        bits = np.uint32(_word(m, start + 4 * i))
        m.scales[place // dim, place % dim] = bits.view(np.float32)
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
