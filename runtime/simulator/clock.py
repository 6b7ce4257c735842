"""The state of the cycle model, and its numbers.

Times are whole cycles from the model's start. A command stands in the reservation station from its
allocation to its completion; each entry of the station is one row of `Clock.entries`.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

LOAD, EXECUTE, STORE = 0, 1, 2
"""Classes of commands. Each has entries in the station, a queue, and a unit that serves it."""

NEVER = 1 << 60

KIND, READY, INDEX = 0, 4, 5
"""Columns of `Clock.entries`: what every command has."""
FIRST_0, END_0, WRITES_0, FIRST_1, END_1, WRITES_1 = 6, 7, 8, 9, 10, 11
"""Two ranges of local rows that it touches."""
DRAM, STRIDE, ROWS, BYTES, LOCAL_ROWS, BANK, NEW, ACCUMULATES = 12, 13, 14, 15, 16, 17, 18, 19
"""What its unit needs."""
OUTSTANDING, LAST_DATA, TO_SCRATCHPAD, SECOND_BANK = 20, 21, 22, 23
FIELDS = 24

K_CONFIG, K_LOAD, K_ZERO, K_TABLE = 0, 1, 2, 3
K_PRELOAD, K_COMPUTE, K_CONFIG_EX, K_STORE = 4, 5, 6, 7
"""Kinds of commands."""

UNIT, ISSUE, TAIL, FREE_AT, ISSUE_AT, SPACE_AT, COUNT, ISSUES = 0, 1, 2, 3, 4, 5, 6, 7
"""Columns of `Clock.classes`.

Positions in the class's queue of the next command for its unit, for issue, and of the next
allocated; when an entry got free, when the next may issue, when its queue got space; entries used;
when the next issues as far as is known.
"""
Q_ENTRY, Q_KIND, Q_ISSUED = 0, 1, 2
"""Columns of `Clock.queues`."""
RING = 64

NOW, ACCEPTED, ALLOCATED, COMMANDS, LAST_DONE, LAST_STORE_DONE, RANDOM = 0, 1, 2, 3, 4, 5, 6
READER_FREE, SLOT_AT, IN_FLIGHT, LOOP_ENTRY, LOOP_ORIGIN, LOOP_ADDRESS, LOOP_BYTES = range(7, 14)
ZERO_FREE, PAGE_AT, INTERVAL_AT, WRITE_AT, MESH_AT = 14, 15, 16, 17, 18
ARRAY_END, ARRAY_START, ARRAY_WORK, BANK_A, BANK_B, ARRAY_POPS = 19, 20, 21, 22, 23, 24
RESULTS_DONE, DESTINATION, ARRAY_FREE = 25, 26, 27
STORE_END, STORE_ENTRY, STORE_FREE = 28, 29, 31
CODE_AT, STORE_GAP, GAPS_START, GAPS_END, ROWS_START, ROWS_END = 32, 33, 34, 35, 36, 37
DOOR_AT, TAKEN, LIVE, BANK_SECOND, FETCHED_AT = 38, 39, 40, 41, 42
WORDS = 43
"""Places in `Clock.words`."""

DATA_FREE, DRAM_FREE, STORE_LEFT, STORE_REACHED, LOAD_BUSY, ARRAY_BUSY, STORE_BUSY = range(7)
LOOP_SERVICE, STORE_COST, FETCH_FREE = 7, 8, 9
REALS = 10
"""Places in `Clock.reals`."""

RECENT = 8
"""Loads and results whose writing of rows is kept track of."""

HOST_FROM, HOST_READY, GROUP, BEGIN, END, BUSY, MOVED, LINES, TRACED = range(9)
"""Columns of `Clock.trace` (`Trace` says what they are), and their number."""

STORE_CONFIG, EXECUTE_CONFIG, POOL_CONFIG, CONFIGS = 3, 4, 5, 6
"""Places in `Clock.config`, after the three load states."""


class Numbers(NamedTuple):
    """What a target file says of time (`mcc.runtime.target.Timing`, `Dma`), flat for the kernel."""

    dim: int
    scratchpad_bank_rows: int
    accumulator_bank_rows: int
    beat_bytes: int
    request_bytes: int
    line_bytes: int
    line_cycles: float
    dram_latency: int
    page_bytes: int
    loads_in_flight: int
    refill: float
    load_entries: int
    execute_entries: int
    store_entries: int
    load_queue: int
    execute_queue: int
    store_queue: int
    front: int
    host_line_bytes: int
    code_hit: int
    code_miss: int
    data_hit: int
    data_miss: int
    accept_to_allocate: int
    allocate_to_issue: int
    allocate_to_accept: int
    fence_idle: int
    fence_after_done: int
    fence_after_store: int
    load_send: int
    load_cache: int
    load_write: int
    load_accumulator: int
    load_zero: int
    load_miss: int
    load_page: int
    load_partial_request: float
    load_accumulate_row: float
    compute_start: int
    compute_write: int
    compute_least_rows: int
    computes_in_flight: int
    compute_window: int
    transpose: int
    config_ex: int
    store_unaligned_row: float
    store_pool_element: float
    store_scratchpad_row: float
    store_scratchpad_latency: int
    store_miss_line: float
    store_send: int
    store_starved_factor: float
    extension_latency: int


class Fetching(NamedTuple):
    """A run's commands on their way from DRAM into the queue (`mcc.runtime.isa.Fetch`)."""

    needs: npt.NDArray[np.int64]
    """For each command how many lines must be there; empty where the host issues all of them."""
    may: npt.NDArray[np.int64]
    lines: npt.NDArray[np.int64]
    arrived: npt.NDArray[np.int64]
    """When each line was there."""
    sent: npt.NDArray[np.int64]
    """One number: how many lines were asked for."""


class Clock(NamedTuple):
    """The model's state, which persists between runs."""

    words: npt.NDArray[np.int64]
    reals: npt.NDArray[np.float64]
    entries: npt.NDArray[np.int64]
    """The reservation station: load, execute, then store entries; shape (entries, FIELDS)."""
    done: npt.NDArray[np.int64]
    """Per entry, when its command is done; `NEVER` while that is not known, and in free ones."""
    depends: npt.NDArray[np.int64]
    """Per entry, a bit for each entry that its command waits for."""
    classes: npt.NDArray[np.int64]
    queues: npt.NDArray[np.int64]
    """Per class the commands from allocation to their unit; shape (3, RING, 3)."""
    front: npt.NDArray[np.int64]
    """When the last commands were allocated."""
    costs: npt.NDArray[np.float64]
    """Per entry, the cycles of a store or of a row of a load."""
    slots: npt.NDArray[np.int64]
    """When each of the cache's request slots is free again."""
    door: npt.NDArray[np.int64]
    """When the last requests left the queue before the cache."""
    intervals: npt.NDArray[np.int64]
    """The last loads into the scratchpad: start and end of writing, bank, rows."""
    writes: npt.NDArray[np.int64]
    """The last accumulating results: start and end of writing, bank."""
    mesh: npt.NDArray[np.int64]
    """When the last computes' results were done."""
    pages: npt.NDArray[np.int64]
    """Pages that the DMA's translation buffer holds."""
    cache: npt.NDArray[np.int64]
    """Lines held by the cache before DRAM, shape (sets, ways); -1 is empty."""
    host_code: npt.NDArray[np.int64]
    """Lines held by the host's instruction cache."""
    host_data: npt.NDArray[np.int64]
    store_row: npt.NDArray[np.float64]
    config: npt.NDArray[np.void]
    """Operand records: three ConfigLoads, ConfigStore, ConfigExecute, ConfigPool."""
    extended: npt.NDArray[np.int64]
    """Whether scales, zero point, table are on."""
    trace: npt.NDArray[np.float64]
    """What a command did to its unit, shape (n, TRACED); empty where nobody asks."""
