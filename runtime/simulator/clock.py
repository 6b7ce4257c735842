"""The state of the cycle model, its numbers, and how its kernels read and mark it."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .jit import kernel

HOST, ALLOCATED, LOAD_ISSUED, EX_ISSUED, STORE_ISSUED = 0, 1, 2, 3, 4
LOAD_DONE, ARRAY_DONE, RESULTS_DONE, STORE_DONE, DRAINED = 5, 6, 7, 8, 9
STORE_START, STORE_BANK, STORE_ROWS_PENDING, TABLES_DONE = 10, 11, 12, 13
PRELOAD_SLOT, PRELOAD_INDEX = 14, 15
PRELOAD_ROW, PRELOAD_ROWS, TARGET, TARGET_ROWS, RANDOM, FRONT_AT = 16, 17, 18, 19, 20, 21
LOAD_BUSY, ARRAY_BUSY, STORE_BUSY, RECENT_AT, RECENT_LOAD_AT = 22, 23, 24, 25, 26
WORDS = 27

RECENT = 8
"""Computes and loads whose overlap with others is kept track of."""

LOAD, EXECUTE, STORE = 0, 1, 2

STORE_CONFIG, EXECUTE_CONFIG, POOL_CONFIG, CONFIGS = 3, 4, 5, 6
"""Places in `Clock.config`, after the three load states."""


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
def take_entry(entries: npt.NDArray[np.float64]) -> int:
    """The entry that is free first."""
    best = 0
    for i in range(1, entries.size):
        if entries[i] < entries[best]:
            best = i
    return best


@kernel
def wait(rows: npt.NDArray[np.float64], kind: int, first: int, count: int) -> float:
    """When the other two classes are done with these rows."""
    latest = 0.0
    for row in range(first, min(first + count, rows.shape[1])):
        for other in range(3):
            if other != kind:
                latest = max(latest, rows[other, row])
    return latest


@kernel
def mark(rows: npt.NDArray[np.float64], kind: int, first: int, count: int, done: float) -> None:
    for row in range(first, min(first + count, rows.shape[1])):
        rows[kind, row] = max(rows[kind, row], done)


@kernel
def misses(k: Clock, start: int, size: int, line_bytes: int) -> int:
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
def overlap(start: float, end: float, other_start: float, other_end: float) -> float:
    return max(0.0, min(end, other_end) - max(start, other_start))
