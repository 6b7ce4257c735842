"""Jitted event model of an accelerator in time: when each command is accepted, issued and done.

Rules, from the public sources of Gemmini and from recorded runs: one command at a time enters a
reservation station in program order and waits there for an entry of its class (load, execute,
store); each class issues in order; a command waits for those of other classes that touch the same
local rows; a class's unit works as a pipe whose next result comes its cost after the last. Times
are cycles from the model's start, as floats because some costs are averages.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .jit import kernel
from .operands import Codes, Operands, Record

HOST, ALLOCATED, LOAD_ISSUED, EX_ISSUED, STORE_ISSUED = 0, 1, 2, 3, 4
LOAD_DONE, ARRAY_DONE, RESULTS_DONE, STORE_DONE, DRAINED = 5, 6, 7, 8, 9
STORE_START, STORE_BANK, STORE_ROWS_PENDING, TABLES_DONE = 10, 11, 12, 13
PRELOAD_SLOT, PRELOAD_INDEX, PRELOAD_ISSUED = 14, 15, 16
PRELOAD_ROW, PRELOAD_ROWS, TARGET, TARGET_ROWS, RANDOM, FRONT_AT = 17, 18, 19, 20, 21, 22
LOAD_BUSY, ARRAY_BUSY, STORE_BUSY, RECENT_AT, RECENT_LOAD_AT = 23, 24, 25, 26, 27
WORDS = 28

RECENT = 8
"""Computes and loads whose overlap with others is kept track of."""

LOAD, EXECUTE, STORE = 0, 1, 2

_GARBAGE = 0xFFFFFFFF
_ROW_MASK = (1 << 26) - 1
_NEVER = 1e300


class Numbers(NamedTuple):
    """What a target file says of time (`mcc.runtime.target.Timing`, `Dma`), flat for the kernel."""

    dim: int
    scratchpad_bank_rows: int
    accumulator_bank_rows: int
    beat_bytes: int
    request_bytes: int
    dram_latency: float
    line_cycles: float
    line_bytes: int
    accept_to_allocate: float
    allocate_to_issue: float
    fence_idle: float
    fence_after_done: float
    fence_after_store: float
    load_latency: float
    load_zero_latency: float
    load_miss_latency: float
    load_command_gap: float
    load_zero_command_gap: float
    load_partial_request: float
    load_accumulate_row: float
    compute_kept_latency: float
    compute_new_latency: float
    compute_write_latency: float
    compute_minimum: float
    transpose: float
    store_latency: float
    store_unaligned_row: float
    store_pool_element: float
    store_scratchpad_row: float
    store_scratchpad_latency: float
    store_miss_line: float
    store_delays_load_row: float
    store_starved_factor: float
    extension_latency: float


class Clock(NamedTuple):
    """The model's state, which persists between runs."""

    words: npt.NDArray[np.float64]
    load_entries: npt.NDArray[np.float64]
    """When each entry of the reservation station is free again."""
    execute_entries: npt.NDArray[np.float64]
    store_entries: npt.NDArray[np.float64]
    front: npt.NDArray[np.float64]
    """When the last commands left the front queues."""
    store_row: npt.NDArray[np.float64]
    scratchpad: npt.NDArray[np.float64]
    """For each row, when the last load, execute and store that touched it is done.

    Shape (3, rows).
    """
    accumulator: npt.NDArray[np.float64]
    computes: npt.NDArray[np.float64]
    """The last computes.

    Start, end, bank of A, bank of B (or -1), start and end of writing, bank of C; (RECENT, 7).
    """
    loads: npt.NDArray[np.float64]
    """The last loads into the scratchpad.

    Start and end of writing, bank, rows; shape (RECENT, 4).
    """
    cache: npt.NDArray[np.int64]
    """Line numbers held by the cache, shape (sets, ways); -1 is empty."""
    config: npt.NDArray[np.void]
    """Operand records: three ConfigLoads, ConfigStore, ConfigExecute, ConfigPool."""
    extended: npt.NDArray[np.int64]
    """Whether scales, zero point, table are on."""


@kernel
def _take_entry(entries: npt.NDArray[np.float64]) -> int:
    """The entry that is free first."""
    best = 0
    for i in range(1, entries.size):
        if entries[i] < entries[best]:
            best = i
    return best


@kernel
def _wait(rows: npt.NDArray[np.float64], kind: int, first: int, count: int) -> float:
    """When the other two classes are done with these rows."""
    latest = 0.0
    for row in range(first, min(first + count, rows.shape[1])):
        for other in range(3):
            if other != kind:
                latest = max(latest, rows[other, row])
    return latest


@kernel
def _mark(rows: npt.NDArray[np.float64], kind: int, first: int, count: int, done: float) -> None:
    for row in range(first, min(first + count, rows.shape[1])):
        rows[kind, row] = max(rows[kind, row], done)


@kernel
def _misses(k: Clock, start: int, size: int, line_bytes: int) -> int:
    """How many lines of these bytes the cache lacks.

    They are brought in, each in place of a random one.
    """
    if k.cache.size == 0:
        return (start + size - 1) // line_bytes - start // line_bytes + 1
    missing = 0
    for line in range(start // line_bytes, (start + size - 1) // line_bytes + 1):
        place = line % k.cache.shape[0]
        found = False
        for way in range(k.cache.shape[1]):
            found |= k.cache[place, way] == line
        if not found:
            missing += 1
            # Marsaglia's 32-bit xorshift; a float holds 32 bits exactly.
            bits = int(k.words[RANDOM])
            bits ^= (bits << 13) & 0xFFFFFFFF
            bits ^= bits >> 17
            bits ^= (bits << 5) & 0xFFFFFFFF
            k.words[RANDOM] = bits
            k.cache[place, (bits >> 8) % k.cache.shape[1]] = line
    return missing


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
def _load(k: Clock, n: Numbers, op: Record, state: int, ready: float) -> tuple[float, float]:
    """Issue and completion of a move-in."""
    config = k.config[state]
    to_accumulator = (op.mvin_local >> 31) & 1
    accumulate = (op.mvin_local >> 30) & 1
    first, rows, cols = op.mvin_local & _ROW_MASK, op.mvin_rows, op.mvin_cols
    blocks = (cols + n.dim - 1) // n.dim
    span = (blocks - 1) * config.config_ld_block_stride + rows
    local = k.accumulator if to_accumulator else k.scratchpad
    issue = max(ready, _wait(local, LOAD, first, span))
    size = cols * (4 if to_accumulator and not config.config_ld_shrink else 1)
    latency = n.load_latency
    if op.mvin_dram == 0:
        cost = max(float(blocks * rows), n.load_zero_command_gap)
        latency = n.load_zero_latency
    elif config.config_ld_stride == 0:
        # One request; its data are written row by row.
        missing = _misses(k, op.mvin_dram, size, n.line_bytes)
        cost = float(max(rows, 1)) * blocks
        if missing:
            cost, latency = max(cost, missing * n.line_cycles), n.dram_latency + n.load_miss_latency
        cost = max(cost, n.load_command_gap)
    else:
        # A missing line takes its time on the DRAM bus, in which rows of lines before it arrive.
        cost, missing, bus = 0.0, 0, 0.0
        for row in range(rows):
            start = op.mvin_dram + row * config.config_ld_stride
            lines = _misses(k, start, size, n.line_bytes)
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
    _mark(local, LOAD, first, span, done)
    if not to_accumulator:
        _delay_array(k, n, done - cost, done, first // n.scratchpad_bank_rows, blocks * rows)
    return issue, done


@kernel
def _overlap(start: float, end: float, other_start: float, other_end: float) -> float:
    return max(0.0, min(end, other_end) - max(start, other_start))


@kernel
def _delay_array(k: Clock, n: Numbers, start: float, end: float, bank: int, rows: int) -> None:
    """Each row that a load writes into a bank takes a cycle from a compute that reads the bank."""
    at = int(k.words[RECENT_LOAD_AT])
    k.loads[at] = start, end, float(bank), float(rows)
    k.words[RECENT_LOAD_AT] = (at + 1) % RECENT
    delay = 0.0
    for i in range(RECENT):
        if k.computes[i, 2] == bank or k.computes[i, 3] == bank:
            shared = _overlap(start, end, k.computes[i, 0], k.computes[i, 1])
            delay += rows * shared / max(end - start, 1.0)
    k.words[ARRAY_DONE] += delay
    k.words[RESULTS_DONE] += delay


@kernel
def _delayed_by_loads(k: Clock, start: float, end: float, bank: float) -> float:
    """The same from the side of a compute: rows written meanwhile into its bank."""
    delay = 0.0
    for i in range(RECENT):
        if k.loads[i, 2] == bank:
            shared = _overlap(start, end, k.loads[i, 0], k.loads[i, 1])
            delay += k.loads[i, 3] * shared / max(k.loads[i, 1] - k.loads[i, 0], 1.0)
    return delay


@kernel
def _table_load(k: Clock, n: Numbers, start: int, size: int, ready: float) -> tuple[float, float]:
    """A table loads like a move-in of the same bytes.

    The move-outs before and after it are ordered with it.
    """
    issue = max(ready, k.words[STORE_DONE])
    cost = float(-(-size // n.beat_bytes))
    latency = n.load_latency
    missing = _misses(k, start, size, n.line_bytes)
    if missing:
        cost, latency = max(cost, missing * n.line_cycles), n.dram_latency + n.load_miss_latency
    done = max(issue + latency + cost, k.words[LOAD_DONE] + cost)
    k.words[LOAD_DONE] = done
    k.words[LOAD_BUSY] += cost
    k.words[TABLES_DONE] = max(k.words[TABLES_DONE], done)
    return issue, done


@kernel
def _compute(
    k: Clock, n: Numbers, is_new: bool, local: int, rows: int, ready: float
) -> tuple[float, float]:
    """Issue and completion of a compute; its preload is done `compute_write_latency` later."""
    config = k.config[4]
    first = local & _ROW_MASK
    span = (rows - 1) * config.config_ex_a_stride + 1
    issue = max(ready, _wait(k.scratchpad, EXECUTE, first, span))
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
    _mark(k.scratchpad, EXECUTE, first, span, done)
    if weights >= 0 and weights != _GARBAGE:
        _mark(k.scratchpad, EXECUTE, weights & _ROW_MASK, int(k.words[PRELOAD_ROWS]), results)
    target = int(k.words[TARGET])
    if target != _GARBAGE:
        place = target & _ROW_MASK
        height = int(k.words[TARGET_ROWS] - 1) * config.config_ex_c_stride + 1
        _mark(k.accumulator, EXECUTE, place, height, results)
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
    shared = _overlap(start, end, k.words[STORE_START], k.words[STORE_DONE])
    k.words[STORE_DONE] += shared * (1.0 - 1.0 / n.store_starved_factor)


@kernel
def _store_cost(
    k: Clock, n: Numbers, local: int, cols: int, rows: int, dram: int, to_dram: bool
) -> tuple[float, int]:
    """Cycles of a move-out, and the rows it writes."""
    pool, store = k.config[5], k.config[3]
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
        return n.store_scratchpad_latency + n.store_scratchpad_row * rows * blocks, 0
    per_row = k.store_row[min((cols + 15) // 16, 4) - 1]
    cost, missing = 0.0, 0
    for row in range(rows):
        start = dram + row * store.config_st_stride
        crosses = start // n.beat_bytes != (start + cols - 1) // n.beat_bytes
        cost += n.store_unaligned_row if cols <= n.beat_bytes and crosses else per_row
        lines = _misses(k, start, cols, n.line_bytes)
        missing += 0 if cols == n.line_bytes and start % n.line_bytes == 0 else lines
    return max(cost, missing * n.store_miss_line), rows


@kernel
def _store(
    k: Clock, n: Numbers, op_local: int, span: int, cost: float, stored: int, ready: float
) -> tuple[float, float]:
    """Issue and completion of a move-out of `span` local rows."""
    in_accumulator = (op_local >> 31) & 1
    first = op_local & _ROW_MASK
    local = k.accumulator if in_accumulator else k.scratchpad
    issue = max(ready, k.words[STORE_DONE], k.words[TABLES_DONE])
    issue = max(issue, _wait(local, STORE, first, span))
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
    _mark(local, STORE, first, span, done)
    return issue, done


@kernel
def _span(k: Clock, n: Numbers, cols: int, rows: int) -> int:
    """Local rows that a move-out reads."""
    pool, store = k.config[5], k.config[3]
    if pool.config_pool_mode:
        return int(pool.config_pool_image_rows * pool.config_pool_image_cols)
    if store.config_st_pool_stride:
        return int(store.config_st_image_rows * store.config_st_image_cols)
    return int((cols + n.dim - 1) // n.dim - 1) * n.dim + rows


@kernel
def advance(
    codes: Codes,
    program: Operands,
    gaps: npt.NDArray[np.float64],
    k: Clock,
    n: Numbers,
    times: npt.NDArray[np.float64],
) -> None:
    """Runs the model over `program`. `gaps[i]` is what the host needs before command i.

    `times[i]` becomes (accepted, allocated, issued, done).
    """
    w = k.words
    for i in range(program.size):
        op = program[i]
        code = op.operation
        if code == codes.fence:
            asked = w[HOST] + gaps[i]
            finished = max(w[LOAD_DONE], w[RESULTS_DONE], w[ALLOCATED])
            w[HOST] = max(
                asked + n.fence_idle,
                finished + n.fence_after_done,
                w[STORE_DONE] + n.fence_after_store,
            )
            times[i] = asked, asked, asked, w[HOST]
            continue
        at = int(w[FRONT_AT])
        accepted = max(w[HOST] + gaps[i], k.front[at])
        w[HOST] = accepted
        is_execute = (
            code == codes.preload
            or code == codes.compute_new
            or code == codes.compute_kept
            or code == codes.config_ex
        )
        is_load = (
            code == codes.mvin
            or code == codes.mvin2
            or code == codes.mvin3
            or code == codes.config_ld
            or code == codes.config_pad
            or code == codes.load_scales
            or code == codes.load_table
        )
        entries = k.store_entries
        last = STORE_ISSUED
        if is_execute:
            entries, last = k.execute_entries, EX_ISSUED
        elif is_load:
            entries, last = k.load_entries, LOAD_ISSUED
        slot = _take_entry(entries)
        allocated = max(max(accepted + n.accept_to_allocate, w[ALLOCATED] + 1.0), entries[slot])
        w[ALLOCATED] = allocated
        k.front[at] = allocated
        w[FRONT_AT] = (at + 1) % k.front.size
        ready = max(allocated + n.allocate_to_issue, w[last] + 1.0)
        issue, done = ready, ready
        if code == codes.mvin:
            issue, done = _load(k, n, op, 0, ready)
        elif code == codes.mvin2:
            issue, done = _load(k, n, op, 1, ready)
        elif code == codes.mvin3:
            issue, done = _load(k, n, op, 2, ready)
        elif code == codes.preload:
            w[PRELOAD_ROW], w[PRELOAD_ROWS] = op.preload_local, op.preload_rows
            w[TARGET], w[TARGET_ROWS] = op.preload_destination, op.preload_destination_rows
            if op.preload_local != _GARBAGE:
                rows = _wait(k.scratchpad, EXECUTE, op.preload_local & _ROW_MASK, op.preload_rows)
                issue = max(issue, rows)
            if op.preload_destination != _GARBAGE:
                place = op.preload_destination & _ROW_MASK
                height = (op.preload_destination_rows - 1) * k.config[4].config_ex_c_stride + 1
                issue = max(issue, _wait(k.accumulator, EXECUTE, place, height))
            done = _NEVER
            w[PRELOAD_SLOT], w[PRELOAD_INDEX] = slot, i
        elif code == codes.compute_new or code == codes.compute_kept:
            if code == codes.compute_new:
                issue, done = _compute(k, n, True, op.compute_new_local, op.compute_new_rows, ready)
            else:
                issue, done = _compute(
                    k, n, False, op.compute_kept_local, op.compute_kept_rows, ready
                )
            if w[PRELOAD_SLOT] >= 0.0:
                entries[int(w[PRELOAD_SLOT])] = w[RESULTS_DONE]
                if w[PRELOAD_INDEX] >= 0.0:
                    times[int(w[PRELOAD_INDEX]), 3] = w[RESULTS_DONE]
                w[PRELOAD_SLOT] = -1.0
        elif code == codes.config_ex:
            k.config[4] = op
            done = max(issue + 2.0, w[RESULTS_DONE])
            w[DRAINED] = done
        elif code == codes.mvout:
            cost, stored = _store_cost(
                k, n, op.mvout_local, op.mvout_cols, op.mvout_rows, op.mvout_dram, True
            )
            span = _span(k, n, op.mvout_cols, op.mvout_rows)
            issue, done = _store(k, n, op.mvout_local, span, cost, stored, ready)
        elif code == codes.mvout_spad:
            cost, stored = _store_cost(
                k, n, op.mvout_spad_local, op.mvout_spad_cols, op.mvout_spad_rows, 0, False
            )
            span = _span(k, n, op.mvout_spad_cols, op.mvout_spad_rows)
            target = op.mvout_spad_destination & _ROW_MASK
            blocks = (op.mvout_spad_cols + n.dim - 1) // n.dim
            height = (
                max(op.mvout_spad_rows - 1, 0) * op.mvout_spad_row_stride
                + (blocks - 1) * op.mvout_spad_block_stride
                + 1
            )
            ready = max(ready, _wait(k.scratchpad, STORE, target, height))
            issue, done = _store(k, n, op.mvout_spad_local, span, cost, 0, ready)
            _mark(k.scratchpad, STORE, target, height, done)
        elif code == codes.load_scales:
            issue, done = _table_load(k, n, op.load_scales_dram, 4 * op.load_scales_count, ready)
        elif code == codes.load_table:
            issue, done = _table_load(k, n, op.load_table_dram, 256, ready)
        elif code == codes.config_ld:
            k.config[op.config_ld_state] = op
        elif code == codes.config_st:
            k.config[3] = op
        elif code == codes.config_pool:
            k.config[5] = op
        elif code == codes.config_scales:
            k.extended[0] = op.config_scales_enable
        elif code == codes.config_requant:
            k.extended[1] = 1
        elif code == codes.config_table:
            k.extended[2] = op.config_table_enable
        w[last] = issue
        entries[slot] = done
        times[i] = accepted, allocated, issue, done
