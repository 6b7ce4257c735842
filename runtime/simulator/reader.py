"""Jitted DMA read engine of the cycle model: from a load's issue to its last row written.

A load is cut into aligned requests, one a cycle. The cache takes as many as it has slots for. While
it refuses, two requests take turns before its door (a retry comes back two cycles later), so that
one of them can be overtaken by all that follow: with an even number of cycles between two requests
taken, always the newer one goes in.
"""

from .cache import misses
from .clock import (
    BANK,
    BYTES,
    DATA_FREE,
    DOOR_AT,
    DRAM,
    DRAM_FREE,
    GAPS_END,
    GAPS_START,
    IN_FLIGHT,
    INTERVAL_AT,
    K_LOAD,
    K_TABLE,
    K_ZERO,
    KIND,
    LAST_DATA,
    LOAD_BUSY,
    LOCAL_ROWS,
    LOOP_ADDRESS,
    LOOP_BYTES,
    LOOP_ENTRY,
    LOOP_ORIGIN,
    LOOP_SERVICE,
    NEVER,
    OUTSTANDING,
    PAGE_AT,
    READER_FREE,
    RECENT,
    ROWS,
    ROWS_END,
    ROWS_START,
    STORE_END,
    STORE_GAP,
    STRIDE,
    TAKEN,
    TO_SCRATCHPAD,
    ZERO_FREE,
    Clock,
    Numbers,
)
from .jit import kernel
from .trace import begun, ended, fetched, worked


@kernel
def _opportunity(k: Clock, n: Numbers) -> int:
    """When the cache takes the next request."""
    at = max(k.words[LOOP_ORIGIN] + 1, k.door[k.words[DOOR_AT]])
    end = k.words[GAPS_END]
    if k.words[STORE_END] != NEVER:
        end = k.words[STORE_END] + n.store_send
    if k.words[GAPS_START] <= at < end:
        # Stores go first: a load's request finds a gap between their rows, or waits for the end.
        at = min(max(at, k.words[LOOP_ORIGIN] + k.words[STORE_GAP]), end)
    return int(at)


@kernel
def _answer(
    k: Clock, n: Numbers, entry: int, address: int, size: int, service: float, at: int
) -> None:
    """The cache takes a request: when its data arrive."""
    slot = 0
    for i in range(1, k.slots.size):
        if k.slots[i] < k.slots[slot]:
            slot = i
    # The queue before the cache is left in order.
    at = max(at, k.slots[slot], k.words[TAKEN])
    k.words[TAKEN] = at
    k.door[k.words[DOOR_AT]] = at
    k.words[DOOR_AT] = (k.words[DOOR_AT] + 1) % k.door.size
    start = max(float(at + n.load_cache), k.reals[DATA_FREE])
    missing = misses(k, address, size, n.line_bytes)
    # A line that comes in occupies the cache's memory too.
    busy = service + missing * n.refill
    k.reals[DATA_FREE] = start + busy
    k.reals[LOAD_BUSY] += busy
    worked(k, entry, busy)
    fetched(k, entry, missing)
    if missing:
        bus = max(float(at), k.reals[DRAM_FREE])
        k.reals[DRAM_FREE] = bus + missing * n.line_cycles
        start = max(start, bus + n.load_cache + n.dram_latency + n.load_miss)
    k.slots[slot] = int(start)
    done = int(whole_above(start + service))
    e = k.entries[entry]
    e[LAST_DATA] = max(e[LAST_DATA], done)
    finish(k, n, entry)


@kernel
def whole_above(value: float) -> float:
    whole = float(int(value))
    return whole if whole == value else whole + 1.0


@kernel
def finish(k: Clock, n: Numbers, entry: int) -> None:
    """One request less; the last makes the load's completion known."""
    e = k.entries[entry]
    e[OUTSTANDING] -= 1
    if e[OUTSTANDING] == 0:
        extra = 0 if e[TO_SCRATCHPAD] else n.load_accumulator
        k.done[entry] = e[LAST_DATA] + n.load_write + extra
        ended(k, entry, e[LAST_DATA])


@kernel
def parked_at(k: Clock, n: Numbers) -> int:
    """When a request that waits alone goes in: every other cycle it is at the door."""
    if k.words[LOOP_ENTRY] < 0:
        return NEVER
    at = _opportunity(k, n)
    return int(at + 1 - (at - k.words[LOOP_ORIGIN]) % 2)


@kernel
def release(k: Clock, n: Numbers, at: int) -> None:
    """Lets the waiting request in."""
    entry = k.words[LOOP_ENTRY]
    k.words[LOOP_ENTRY] = -1
    k.words[LOOP_ORIGIN] = at
    _answer(k, n, entry, k.words[LOOP_ADDRESS], k.words[LOOP_BYTES], k.reals[LOOP_SERVICE], at)


@kernel
def _request(
    k: Clock, n: Numbers, entry: int, address: int, size: int, service: float, at: int
) -> int:
    """A request comes to the door at `at`; answers when the next may come."""
    w = k.words
    k.entries[entry, OUTSTANDING] += 1
    while w[LOOP_ENTRY] >= 0:
        chance = _opportunity(k, n)
        if chance < at:
            alone = chance + 1 - (chance - w[LOOP_ORIGIN]) % 2
            if alone < at:
                release(k, n, alone)
                break
            chance = max(alone, at)
        if (chance - w[LOOP_ORIGIN]) % 2:
            release(k, n, chance)
            w[LOOP_ENTRY] = entry
            w[LOOP_ADDRESS], w[LOOP_BYTES] = address, size
            k.reals[LOOP_SERVICE] = service
            return max(at + 1, chance + 1)
        w[LOOP_ORIGIN] = chance
        _answer(k, n, entry, address, size, service, chance)
        return max(at + 1, chance + 1)
    w[LOOP_ENTRY] = entry
    w[LOOP_ORIGIN] = max(w[LOOP_ORIGIN], at - 1)
    w[LOOP_ADDRESS], w[LOOP_BYTES] = address, size
    k.reals[LOOP_SERVICE] = service
    return at + 1


@kernel
def _page_miss(k: Clock, n: Numbers, address: int) -> int:
    page = address // n.page_bytes
    for i in range(k.pages.size):
        if k.pages[i] == page:
            return 0
    k.pages[k.words[PAGE_AT]] = page
    k.words[PAGE_AT] = (k.words[PAGE_AT] + 1) % k.pages.size
    return n.load_page


@kernel
def _row(k: Clock, n: Numbers, entry: int, start: int, size: int, least: float, at: int) -> int:
    """The requests of a row: those that bring most bytes each, the smallest at a tie."""
    at += _page_miss(k, n, start)
    while size > 0:
        best, best_bytes = n.beat_bytes, 0
        request = n.beat_bytes
        while request <= n.request_bytes:
            useful = min(request - start % request, size)
            if useful > best_bytes:
                best, best_bytes = request, useful
            request *= 2
        service = float(best // n.beat_bytes)
        if best == n.request_bytes and best_bytes < best:
            service += n.load_partial_request
        at = _request(k, n, entry, start, best_bytes, max(service, least), at)
        start += best_bytes
        size -= best_bytes
    return at


@kernel
def send(k: Clock, n: Numbers, entry: int, start: int) -> None:
    """Sends a load that its controller takes up at `start`."""
    w, e = k.words, k.entries[entry]
    at = max(start + n.load_send, w[READER_FREE])
    begun(k, entry, start)
    if e[KIND] == K_ZERO:
        # Rows that come from memory are written first.
        begin = max(at - n.load_send + n.load_zero, w[ZERO_FREE])
        if begin < w[ROWS_END] and begin + e[LOCAL_ROWS] > w[ROWS_START]:
            begin = w[ROWS_END]
        w[ZERO_FREE] = k.done[entry] = begin + e[LOCAL_ROWS]
        k.reals[LOAD_BUSY] += e[LOCAL_ROWS]
        worked(k, entry, float(e[LOCAL_ROWS]))
        ended(k, entry, k.done[entry])
        w[READER_FREE] = at + e[ROWS]
        w[IN_FLIGHT] += 1
        _written(k, n, entry, begin, begin + e[LOCAL_ROWS])
        return
    e[OUTSTANDING] = 1
    e[LAST_DATA] = 0
    w[IN_FLIGHT] += 1
    first = max(float(at + n.load_cache), k.reals[DATA_FREE])
    if e[KIND] == K_LOAD and e[STRIDE]:
        if first + n.load_write > w[ROWS_END]:
            w[ROWS_START] = int(first) + n.load_write
        for row in range(e[ROWS]):
            at = _row(k, n, entry, e[DRAM] + row * e[STRIDE], e[BYTES], k.costs[entry], at)
        w[ROWS_END] = int(k.reals[DATA_FREE]) + n.load_write
    else:
        # One request: a table, or a row that is written again and again.
        at = _row(k, n, entry, e[DRAM], e[BYTES], k.costs[entry], at)
    w[READER_FREE] = at
    finish(k, n, entry)
    if e[KIND] != K_TABLE:
        _written(k, n, entry, int(first), int(k.reals[DATA_FREE]) + n.load_cache)


@kernel
def _written(k: Clock, n: Numbers, entry: int, start: int, end: int) -> None:
    e = k.entries[entry]
    if e[TO_SCRATCHPAD]:
        at = k.words[INTERVAL_AT]
        k.intervals[at, 0], k.intervals[at, 1] = start, end
        k.intervals[at, 2], k.intervals[at, 3] = e[BANK], e[LOCAL_ROWS]
        k.words[INTERVAL_AT] = (at + 1) % RECENT
