"""Jitted rules of load, array and store units: when a command issues and when it is done.

A unit works as a pipe: a command is done its latency and cost after its issue, and no sooner than
its cost after the command before it.
"""

from .clock import (
    ARRAY_BUSY,
    ARRAY_DONE,
    DRAINED,
    EXECUTE,
    EXECUTE_CONFIG,
    LOAD,
    LOAD_BUSY,
    LOAD_DONE,
    POOL_CONFIG,
    PRELOAD_ROW,
    PRELOAD_ROWS,
    RECENT,
    RECENT_AT,
    RECENT_LOAD_AT,
    RESULTS_DONE,
    STORE,
    STORE_BANK,
    STORE_BUSY,
    STORE_CONFIG,
    STORE_DONE,
    STORE_ROWS_PENDING,
    STORE_START,
    TABLES_DONE,
    TARGET,
    TARGET_ROWS,
    Clock,
    Numbers,
    mark,
    misses,
    overlap,
    wait,
)
from .jit import kernel
from .operands import Record

_GARBAGE = 0xFFFFFFFF
_ROW_MASK = (1 << 26) - 1


@kernel
def _load_beats(n: Numbers, start: int, size: int) -> float:
    """Beats of a row: of the aligned requests that bring most bytes each, the smallest at a tie."""
    beats = 0.0
    while size > 0:
        best, best_bytes = n.beat_bytes, 0
        request = n.beat_bytes
        while request <= n.request_bytes:
            useful = min(request - start % request, size)
            if useful > best_bytes:
                best, best_bytes = request, useful
            request *= 2
        beats += best // n.beat_bytes
        if best == n.request_bytes and best_bytes < best:
            beats += n.load_partial_request
        start += best_bytes
        size -= best_bytes
    return beats


@kernel
def load(k: Clock, n: Numbers, op: Record, state: int, ready: float) -> tuple[float, float]:
    """Issue and completion of a move-in."""
    config = k.config[state]
    to_accumulator = (op.mvin_local >> 31) & 1
    accumulate = (op.mvin_local >> 30) & 1
    first, rows, cols = op.mvin_local & _ROW_MASK, op.mvin_rows, op.mvin_cols
    blocks = (cols + n.dim - 1) // n.dim
    span = (blocks - 1) * config.config_ld_block_stride + rows
    local = k.accumulator if to_accumulator else k.scratchpad
    issue = max(ready, wait(local, LOAD, first, span))
    size = cols * (4 if to_accumulator and not config.config_ld_shrink else 1)
    latency = n.load_latency
    if op.mvin_dram == 0:
        cost = max(float(blocks * rows), n.load_zero_command_gap)
        latency = n.load_zero_latency
    elif config.config_ld_stride == 0:
        # One request; its data are written row by row.
        missing = misses(k, op.mvin_dram, size, n.line_bytes)
        cost = float(max(rows, 1)) * blocks
        if missing:
            cost, latency = max(cost, missing * n.line_cycles), n.dram_latency + n.load_miss_latency
        cost = max(cost, n.load_command_gap)
    else:
        # A missing line takes its time on the DRAM bus, in which rows of lines before it arrive.
        cost, missing, bus = 0.0, 0, 0.0
        for row in range(rows):
            start = op.mvin_dram + row * config.config_ld_stride
            lines = misses(k, start, size, n.line_bytes)
            if lines:
                missing += lines
                cost = max(cost, bus)
                bus = cost + lines * n.line_cycles
            if to_accumulator and accumulate and config.config_ld_shrink:
                cost += n.load_accumulate_row
            else:
                cost += _load_beats(n, start, size)
        if missing:
            latency = n.dram_latency + n.load_miss_latency
        cost = max(cost, bus, n.load_command_gap)
    done = max(issue + latency + cost, k.words[LOAD_DONE] + cost)
    if op.mvin_dram != 0 and k.words[STORE_ROWS_PENDING] > 0 and k.words[STORE_DONE] > issue:
        # A store at the same time keeps the cache busy, once per stored row.
        done += k.words[STORE_ROWS_PENDING] * n.store_delays_load_row
        k.words[STORE_ROWS_PENDING] = 0.0
    k.words[LOAD_DONE] = done
    k.words[LOAD_BUSY] += cost
    mark(local, LOAD, first, span, done)
    if not to_accumulator:
        _delay_array(k, n, done - cost, done, first // n.scratchpad_bank_rows, blocks * rows)
    return issue, done


@kernel
def _delay_array(k: Clock, n: Numbers, start: float, end: float, bank: int, rows: int) -> None:
    """Each row that a load writes into a bank takes a cycle from a compute that reads the bank."""
    at = int(k.words[RECENT_LOAD_AT])
    k.loads[at] = start, end, float(bank), float(rows)
    k.words[RECENT_LOAD_AT] = (at + 1) % RECENT
    delay = 0.0
    for i in range(RECENT):
        if k.computes[i, 2] == bank or k.computes[i, 3] == bank:
            shared = overlap(start, end, k.computes[i, 0], k.computes[i, 1])
            delay += rows * shared / max(end - start, 1.0)
    k.words[ARRAY_DONE] += delay
    k.words[RESULTS_DONE] += delay


@kernel
def _delayed_by_loads(k: Clock, start: float, end: float, bank: float) -> float:
    """The same from the side of a compute: rows written meanwhile into its bank."""
    delay = 0.0
    for i in range(RECENT):
        if k.loads[i, 2] == bank:
            shared = overlap(start, end, k.loads[i, 0], k.loads[i, 1])
            delay += k.loads[i, 3] * shared / max(k.loads[i, 1] - k.loads[i, 0], 1.0)
    return delay


@kernel
def table_load(k: Clock, n: Numbers, start: int, size: int, ready: float) -> tuple[float, float]:
    """A table loads like a move-in of the same bytes.

    The move-outs before and after it are ordered with it.
    """
    issue = max(ready, k.words[STORE_DONE])
    cost = float(-(-size // n.beat_bytes))
    latency = n.load_latency
    missing = misses(k, start, size, n.line_bytes)
    if missing:
        cost, latency = max(cost, missing * n.line_cycles), n.dram_latency + n.load_miss_latency
    done = max(issue + latency + cost, k.words[LOAD_DONE] + cost)
    k.words[LOAD_DONE] = done
    k.words[LOAD_BUSY] += cost
    k.words[TABLES_DONE] = max(k.words[TABLES_DONE], done)
    return issue, done


@kernel
def compute(
    k: Clock, n: Numbers, is_new: bool, local: int, rows: int, ready: float
) -> tuple[float, float]:
    """Issue and completion of a compute; its preload is done `compute_write_latency` later."""
    config = k.config[EXECUTE_CONFIG]
    first = local & _ROW_MASK
    span = (rows - 1) * config.config_ex_a_stride + 1
    issue = max(ready, wait(k.scratchpad, EXECUTE, first, span))
    weights = int(k.words[PRELOAD_ROW])
    if is_new:
        latency, cost = n.compute_new_latency, float(n.dim)
        same = first // n.scratchpad_bank_rows == weights // n.scratchpad_bank_rows
        if weights != _GARBAGE and same:
            latency += n.dim
            cost += rows
        if config.config_ex_transpose_b:
            latency += n.transpose
            cost += n.transpose
    else:
        latency = n.compute_kept_latency + rows
        cost = max(float(rows), n.compute_minimum)
    done = max(max(issue, k.words[DRAINED]) + latency, k.words[ARRAY_DONE] + cost)
    bank, weights_bank = float(first // n.scratchpad_bank_rows), -1.0
    delay = _delayed_by_loads(k, done - cost, done, bank)
    if is_new and weights != _GARBAGE:
        weights_bank = float(weights // n.scratchpad_bank_rows)
        if weights_bank != bank:
            delay += _delayed_by_loads(k, done - cost, done, weights_bank)
    done += delay
    results = done + n.compute_write_latency
    k.words[ARRAY_DONE] = done
    k.words[RESULTS_DONE] = results
    k.words[ARRAY_BUSY] += cost
    mark(k.scratchpad, EXECUTE, first, span, done)
    if weights >= 0 and weights != _GARBAGE:
        mark(k.scratchpad, EXECUTE, weights & _ROW_MASK, int(k.words[PRELOAD_ROWS]), results)
    target = int(k.words[TARGET])
    if target != _GARBAGE:
        place = target & _ROW_MASK
        height = int(k.words[TARGET_ROWS] - 1) * config.config_ex_c_stride + 1
        mark(k.accumulator, EXECUTE, place, height, results)
        bank_of_c = float(place // n.accumulator_bank_rows)
        written = results - int(k.words[TARGET_ROWS])
        at = int(k.words[RECENT_AT])
        k.computes[at] = done - cost, done, bank, weights_bank, written, results, bank_of_c
        k.words[RECENT_AT] = (at + 1) % RECENT
        if k.words[STORE_BANK] == bank_of_c:
            _starve(k, n, written, results)
    return issue, done


@kernel
def _starve(k: Clock, n: Numbers, start: float, end: float) -> None:
    """Slows the running store while results are written to the accumulator bank that it reads."""
    shared = overlap(start, end, k.words[STORE_START], k.words[STORE_DONE])
    k.words[STORE_DONE] += shared * (1.0 - 1.0 / n.store_starved_factor)


@kernel
def store_cost(
    k: Clock, n: Numbers, cols: int, rows: int, dram: int, to_dram: bool
) -> tuple[float, int]:
    """Cycles of a move-out, and the rows it writes."""
    pool, store = k.config[POOL_CONFIG], k.config[STORE_CONFIG]
    blocks = (cols + n.dim - 1) // n.dim
    if pool.config_pool_mode:
        written = pool.config_pool_output_rows * pool.config_pool_output_cols
        window = pool.config_pool_height * pool.config_pool_width
        return n.store_pool_element * written * window * blocks, written
    if store.config_st_pool_stride:
        written = store.config_st_output_rows * store.config_st_output_cols
        window = store.config_st_pool_size * store.config_st_pool_size
        return n.store_pool_element * written * window * blocks, written
    if not to_dram:
        return n.store_scratchpad_latency + n.store_scratchpad_row * rows * blocks, rows
    per_row = k.store_row[min((cols + 15) // 16, 4) - 1]
    cost, missing = 0.0, 0
    for row in range(rows):
        start = dram + row * store.config_st_stride
        crosses = start // n.beat_bytes != (start + cols - 1) // n.beat_bytes
        cost += n.store_unaligned_row if cols <= n.beat_bytes and crosses else per_row
        lines = misses(k, start, cols, n.line_bytes)
        missing += 0 if cols == n.line_bytes and start % n.line_bytes == 0 else lines
    return max(cost, missing * n.store_miss_line), rows


@kernel
def store(
    k: Clock, n: Numbers, op_local: int, span: int, cost: float, stored: int, ready: float
) -> tuple[float, float]:
    """Issue and completion of a move-out of `span` local rows."""
    in_accumulator = (op_local >> 31) & 1
    first = op_local & _ROW_MASK
    local = k.accumulator if in_accumulator else k.scratchpad
    issue = max(ready, k.words[STORE_DONE], k.words[TABLES_DONE])
    issue = max(issue, wait(local, STORE, first, span))
    latency = n.store_latency
    if k.extended[0] or k.extended[1] or k.extended[2]:
        latency += n.extension_latency
    done = issue + latency + cost
    k.words[STORE_START], k.words[STORE_DONE] = issue, done
    k.words[STORE_BANK] = first // n.accumulator_bank_rows if in_accumulator else -1.0
    k.words[STORE_ROWS_PENDING] = stored
    k.words[STORE_BUSY] += cost
    if in_accumulator:
        for i in range(RECENT):
            # From the oldest on: each one's delay lets the store meet the next.
            compute = k.computes[(int(k.words[RECENT_AT]) + i) % RECENT]
            if compute[6] == k.words[STORE_BANK]:
                _starve(k, n, compute[4], compute[5])
    done = k.words[STORE_DONE]
    mark(local, STORE, first, span, done)
    return issue, done


@kernel
def read_span(k: Clock, n: Numbers, cols: int, rows: int) -> int:
    """Local rows that a move-out reads."""
    pool, store = k.config[POOL_CONFIG], k.config[STORE_CONFIG]
    if pool.config_pool_mode:
        return int(pool.config_pool_image_rows * pool.config_pool_image_cols)
    if store.config_st_pool_stride:
        return int(store.config_st_image_rows * store.config_st_image_cols)
    return int((cols + n.dim - 1) // n.dim - 1) * n.dim + rows
