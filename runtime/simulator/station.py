"""Jitted reservation station of the cycle model: who waits for whom.

A command waits for those before it, of other classes, that write local rows it touches or touch
rows it writes. Within a class commands issue in order.
"""

import numpy as np

from .clock import (
    ACCUMULATES,
    BANK,
    BYTES,
    COUNT,
    DRAM,
    END_0,
    END_1,
    EXECUTE,
    EXECUTE_CONFIG,
    FIRST_0,
    FIRST_1,
    FREE_AT,
    IN_FLIGHT,
    INDEX,
    K_COMPUTE,
    K_CONFIG,
    K_CONFIG_EX,
    K_LOAD,
    K_PRELOAD,
    K_STORE,
    K_TABLE,
    K_ZERO,
    KIND,
    LAST_DONE,
    LAST_STORE_DONE,
    LIVE,
    LOAD,
    LOCAL_ROWS,
    NEVER,
    NEW,
    POOL_CONFIG,
    Q_ENTRY,
    Q_KIND,
    READY,
    RING,
    ROWS,
    SECOND_BANK,
    SLOT_AT,
    STORE,
    STORE_CONFIG,
    STRIDE,
    TAIL,
    TO_SCRATCHPAD,
    WRITES_0,
    WRITES_1,
    Clock,
    Numbers,
)
from .jit import kernel
from .operands import Codes, Record
from .trace import allocated

_GARBAGE = 0xFFFFFFFF
_ROW_MASK = (1 << 26) - 1
_ACCUMULATOR = 1 << 40  # rows of the accumulator lie behind those of the scratchpad
_EMPTY = 1 << 50


@kernel
def first_entry(n: Numbers, group: int) -> int:
    if group == LOAD:
        return 0
    return n.load_entries if group == EXECUTE else n.load_entries + n.execute_entries


@kernel
def size_of(n: Numbers, group: int) -> int:
    if group == LOAD:
        return n.load_entries
    return n.execute_entries if group == EXECUTE else n.store_entries


@kernel
def class_of(codes: Codes, code: int) -> int:
    if (
        code == codes.preload
        or code == codes.compute_new
        or code == codes.compute_kept
        or code == codes.config_ex
        or code == codes.preload_sparse
        or code == codes.compute_sparse_new
        or code == codes.compute_sparse_kept
    ):
        return EXECUTE
    if (
        code == codes.mvin
        or code == codes.mvin2
        or code == codes.mvin3
        or code == codes.config_ld
        or code == codes.config_pad
        or code == codes.load_scales
        or code == codes.load_table
    ):
        return LOAD
    return STORE


@kernel
def _touches(k: Clock, entry: int, place: int, local: int, count: int, writes: int) -> None:
    e = k.entries[entry]
    first = local & _ROW_MASK
    if (local >> 31) & 1:
        first += _ACCUMULATOR
    e[FIRST_0 + place], e[END_0 + place], e[WRITES_0 + place] = first, first + count, writes


@kernel
def _meet(k: Clock, a: int, b: int) -> bool:
    x, y = k.entries[a], k.entries[b]
    met = (x[FIRST_0] < y[END_0]) & (y[FIRST_0] < x[END_0]) & (x[WRITES_0] | y[WRITES_0] != 0)
    met |= (x[FIRST_1] < y[END_0]) & (y[FIRST_0] < x[END_1]) & (x[WRITES_1] | y[WRITES_0] != 0)
    met |= (x[FIRST_0] < y[END_1]) & (y[FIRST_1] < x[END_0]) & (x[WRITES_0] | y[WRITES_1] != 0)
    met |= (x[FIRST_1] < y[END_1]) & (y[FIRST_1] < x[END_1]) & (x[WRITES_1] | y[WRITES_1] != 0)
    return bool(met)


@kernel
def allocate(
    codes: Codes, op: Record, k: Clock, n: Numbers, group: int, index: int, now: int
) -> None:
    """Gives a command an entry. One of its class must be free."""
    base = first_entry(n, group)
    entry = base
    while (k.words[LIVE] >> entry) & 1:
        entry += 1
    e = k.entries[entry]
    k.words[LIVE] |= 1 << entry
    e[INDEX] = index
    e[READY] = now + n.allocate_to_issue
    e[FIRST_0] = e[FIRST_1] = _EMPTY
    e[END_0] = e[END_1] = e[WRITES_0] = e[WRITES_1] = 0
    e[KIND] = K_CONFIG
    if group == EXECUTE:
        _describe_execute(codes, op, k, n, entry)
    elif group == LOAD:
        _describe_load(codes, op, k, n, entry)
    else:
        _describe_store(codes, op, k, n, entry)
    moved = 0 * now
    if e[KIND] == K_LOAD or e[KIND] == K_TABLE or e[KIND] == K_STORE:
        # A row that is broadcast comes once.
        moved = e[BYTES] * (e[ROWS] if e[STRIDE] or e[KIND] == K_STORE else 1)
    allocated(k, entry, group, moved)
    if e[KIND] != K_CONFIG and e[KIND] != K_CONFIG_EX:
        mask = 0
        own = ((1 << size_of(n, group)) - 1) << base
        others = k.words[LIVE] & ~own
        other = int(np.int64(0))
        while others:
            if others & 1:
                kind = k.entries[other, KIND]
                tables = (kind == K_TABLE and e[KIND] == K_STORE) or (
                    kind == K_STORE and e[KIND] == K_TABLE
                )
                if tables or _meet(k, entry, other):
                    mask |= 1 << other
            others >>= 1
            other += 1
        k.depends[entry] = mask
    c = k.classes[group]
    k.queues[group, c[TAIL] % RING, Q_ENTRY] = entry
    k.queues[group, c[TAIL] % RING, Q_KIND] = e[KIND]
    c[TAIL] += 1
    c[COUNT] += 1


@kernel
def _describe_execute(codes: Codes, op: Record, k: Clock, n: Numbers, entry: int) -> None:
    e = k.entries[entry]
    code = op.operation
    config = k.config[EXECUTE_CONFIG]
    if code == codes.config_ex:
        k.config[EXECUTE_CONFIG] = op
        e[KIND] = K_CONFIG_EX
    elif code == codes.preload:
        transpose = n.transpose if config.config_ex_transpose_b else 0
        rows, target_rows = op.preload_rows, op.preload_destination_rows
        if config.config_ex_transpose_b:
            rows = op.preload_cols
        target = op.preload_destination
        _describe_preload(k, n, entry, op.preload_local, rows, target, target_rows, transpose)
    elif code == codes.preload_sparse:
        transpose = int(np.int64(0))
        rows = op.preload_sparse_rows + op.preload_sparse_rows // 4
        target, target_rows = op.preload_sparse_destination, op.preload_sparse_destination_rows
        local = op.preload_sparse_local
        _describe_preload(k, n, entry, local, rows, target, target_rows, transpose)
    else:
        e[KIND] = K_COMPUTE
        local, rows, read = op.compute_local, op.compute_rows, op.compute_rows
        if config.config_ex_transpose_a:
            read = op.compute_cols
        sparse = code == codes.compute_sparse_new or code == codes.compute_sparse_kept
        if sparse:
            local, rows = op.compute_sparse_local, op.compute_sparse_rows
            read = rows
        e[ROWS] = rows
        e[BANK] = e[SECOND_BANK] = (local & _ROW_MASK) // n.scratchpad_bank_rows
        height = read * config.config_ex_a_stride
        _touches(k, entry, 0, local, height, 0)
        if sparse:
            e[SECOND_BANK] = (op.compute_sparse_second & _ROW_MASK) // n.scratchpad_bank_rows
            _touches(k, entry, 3, op.compute_sparse_second, height, 0)


@kernel
def _describe_preload(
    k: Clock,
    n: Numbers,
    entry: int,
    local: int,
    rows: int,
    target: int,
    target_rows: int,
    transpose: int,
) -> None:
    e = k.entries[entry]
    e[KIND] = K_PRELOAD
    e[NEW] = local != _GARBAGE
    e[BANK] = (local & _ROW_MASK) // n.scratchpad_bank_rows
    e[STRIDE] = transpose
    if e[NEW]:
        _touches(k, entry, 3, local, rows, 0)
    e[ACCUMULATES] = 0
    e[ROWS] = target_rows
    if target != _GARBAGE:
        height = target_rows * k.config[EXECUTE_CONFIG].config_ex_c_stride
        _touches(k, entry, 0, target, height, 1)
        if (target >> 30) & 1:
            e[ACCUMULATES] = 1 + (target & _ROW_MASK) // n.accumulator_bank_rows


@kernel
def _describe_load(codes: Codes, op: Record, k: Clock, n: Numbers, entry: int) -> None:
    e = k.entries[entry]
    code = op.operation
    k.costs[entry] = 0.0
    e[TO_SCRATCHPAD] = 0
    if code == codes.config_ld:
        k.config[op.config_ld_state] = op
        return
    if code == codes.config_pad:
        return
    if code == codes.load_scales or code == codes.load_table:
        e[KIND], e[ROWS], e[LOCAL_ROWS], e[STRIDE] = K_TABLE, 1, 1, 0
        e[DRAM], e[BYTES] = op.load_table_dram, 256
        if code == codes.load_scales:
            e[DRAM], e[BYTES] = op.load_scales_dram, 4 * op.load_scales_count
        return
    # Variables, not literals: numba compiles a callee anew for each literal argument.
    state = 0
    if code != codes.mvin:
        state = 1 if code == codes.mvin2 else 2
    config = k.config[state]
    to_accumulator = (op.mvin_local >> 31) & 1
    blocks = (op.mvin_cols + n.dim - 1) // n.dim
    span = (blocks - 1) * config.config_ld_block_stride + op.mvin_rows
    _touches(k, entry, 0, op.mvin_local, span, 1)
    e[KIND] = K_LOAD if op.mvin_dram else K_ZERO
    e[DRAM], e[STRIDE], e[ROWS] = op.mvin_dram, config.config_ld_stride, op.mvin_rows
    e[BYTES] = op.mvin_cols * (4 if to_accumulator and not config.config_ld_shrink else 1)
    if config.config_ld_packed:
        e[BYTES] = (op.mvin_cols + 1) // 2
    repeats = max(config.config_ld_pixel_repeats, 1)
    e[LOCAL_ROWS] = blocks * op.mvin_rows * repeats
    e[TO_SCRATCHPAD] = not to_accumulator
    e[BANK] = (op.mvin_local & _ROW_MASK) // n.scratchpad_bank_rows
    if e[STRIDE] == 0:
        k.costs[entry] = float(e[LOCAL_ROWS])
    elif to_accumulator and (
        config.config_ld_wide or (config.config_ld_shrink and (op.mvin_local >> 30) & 1)
    ):
        k.costs[entry] = n.load_accumulate_row * blocks
    elif config.config_ld_packed:
        # Half the bytes, and still a row of the scratchpad a cycle.
        k.costs[entry] = float(blocks)
    else:
        k.costs[entry] = float(repeats)


@kernel
def _describe_store(codes: Codes, op: Record, k: Clock, n: Numbers, entry: int) -> None:
    code = op.operation
    if code == codes.config_st:
        k.config[STORE_CONFIG] = op
    elif code == codes.config_pool:
        k.config[POOL_CONFIG] = op
    elif code == codes.config_scales:
        k.extended[0] = op.config_scales_enable
    elif code == codes.config_requant:
        k.extended[1] = 1
    elif code == codes.config_table:
        k.extended[2] = op.config_table_enable
    elif code == codes.mvout:
        _describe_move_out(k, n, entry, op.mvout_local, op.mvout_cols, op.mvout_rows)
        k.entries[entry, DRAM] = op.mvout_dram
        k.costs[entry] = _move_out_cost(k, n, entry, op.mvout_cols, op.mvout_dram)
    elif code == codes.mvout_spad:
        cols, rows = op.mvout_spad_cols, op.mvout_spad_rows
        _describe_move_out(k, n, entry, op.mvout_spad_local, cols, rows)
        e = k.entries[entry]
        e[BYTES] = 0
        blocks = (cols + n.dim - 1) // n.dim
        height = (
            max(e[ROWS] - 1, 0) * op.mvout_spad_row_stride
            + (blocks - 1) * op.mvout_spad_block_stride
            + 1
        )
        _touches(k, entry, 3, op.mvout_spad_destination & _ROW_MASK, height, 1)
        cost = n.store_scratchpad_row * e[ROWS] * blocks
        k.costs[entry] = n.store_scratchpad_latency + max(cost, k.costs[entry])


@kernel
def _describe_move_out(k: Clock, n: Numbers, entry: int, local: int, cols: int, rows: int) -> None:
    """What both move-outs share. `Clock.costs` becomes what pooling costs."""
    e = k.entries[entry]
    pool, store = k.config[POOL_CONFIG], k.config[STORE_CONFIG]
    blocks = (cols + n.dim - 1) // n.dim
    window, span = 0, (blocks - 1) * n.dim + rows
    if pool.config_pool_mode:
        rows = pool.config_pool_output_rows * pool.config_pool_output_cols
        window = pool.config_pool_height * pool.config_pool_width
        span = pool.config_pool_image_rows * pool.config_pool_image_cols
    elif store.config_st_pool_stride:
        rows = store.config_st_output_rows * store.config_st_output_cols
        window = store.config_st_pool_size * store.config_st_pool_size
        span = store.config_st_image_rows * store.config_st_image_cols
    e[KIND] = K_STORE
    e[ROWS], e[STRIDE] = rows, store.config_st_stride
    e[BYTES] = cols
    e[BANK] = (local & _ROW_MASK) // n.accumulator_bank_rows if (local >> 31) & 1 else -1
    k.costs[entry] = n.store_pool_element * rows * window * blocks
    _touches(k, entry, 0, local, span, 0)


@kernel
def _move_out_cost(k: Clock, n: Numbers, entry: int, cols: int, dram: int) -> float:
    """Cycles of a move-out to DRAM without misses."""
    e = k.entries[entry]
    if k.costs[entry] > 0.0:
        return float(k.costs[entry])
    per_row = k.store_row[min((cols + 15) // 16, 4) - 1]
    cost = 0.0
    for row in range(e[ROWS]):
        start = dram + row * e[STRIDE]
        crosses = start // n.beat_bytes != (start + cols - 1) // n.beat_bytes
        cost += n.store_unaligned_row if cols <= n.beat_bytes and crosses else per_row
    return cost


@kernel
def complete(k: Clock, n: Numbers, entry: int) -> None:
    """Frees the entry; what waited for it may issue a cycle later."""
    w, e = k.words, k.entries[entry]
    done, kind = k.done[entry], e[KIND]
    k.done[entry] = NEVER
    w[LIVE] &= ~(1 << entry)
    group = LOAD
    if entry >= n.load_entries:
        group = EXECUTE if entry < n.load_entries + n.execute_entries else STORE
    c = k.classes[group]
    c[COUNT] -= 1
    c[FREE_AT] = done + 1
    w[LAST_DONE] = max(w[LAST_DONE], done)
    if kind in (K_CONFIG, K_CONFIG_EX):
        return
    if kind == K_STORE and e[BYTES]:
        latency = n.extension_latency if k.extended.any() else 0
        w[LAST_STORE_DONE] = max(w[LAST_STORE_DONE], done + latency)
    if kind in (K_LOAD, K_ZERO, K_TABLE):
        w[IN_FLIGHT] -= 1
        w[SLOT_AT] = done
    bit = 1 << entry
    for other in range(k.depends.size):
        if k.depends[other] & bit:
            k.depends[other] ^= bit
            k.entries[other, READY] = max(k.entries[other, READY], done + 1)
