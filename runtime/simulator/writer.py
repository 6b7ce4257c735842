"""Jitted move-out engine of the cycle model."""

from .cache import misses
from .clock import (
    BANK,
    BYTES,
    DRAM,
    GAPS_END,
    GAPS_START,
    NEVER,
    RECENT,
    ROWS,
    STORE_BUSY,
    STORE_END,
    STORE_ENTRY,
    STORE_FREE,
    STORE_GAP,
    STORE_LEFT,
    STORE_REACHED,
    STRIDE,
    WRITE_AT,
    Clock,
    Numbers,
)
from .jit import kernel
from .reader import whole_above
from .trace import begun, ended, fetched, worked


@kernel
def _progress(k: Clock, n: Numbers, start: int, end: int) -> None:
    """The running store up to `end`.

    From `start` on results are accumulated in the bank that it reads.
    """
    r = k.reals
    free = start - r[STORE_REACHED]
    if free > 0:
        if r[STORE_LEFT] <= free:
            return
        r[STORE_LEFT] -= free
        r[STORE_REACHED] = start
    span = end - r[STORE_REACHED]
    if span <= 0:
        return
    done = min(span / n.store_starved_factor, r[STORE_LEFT])
    r[STORE_LEFT] -= done
    r[STORE_REACHED] += done * n.store_starved_factor


@kernel
def results_written(k: Clock, n: Numbers, start: int, end: int, bank: int) -> None:
    """Notes accumulating writes to an accumulator bank, which starve the store that reads it."""
    w = k.words
    at = w[WRITE_AT]
    k.writes[at, 0], k.writes[at, 1], k.writes[at, 2] = start, end, bank
    w[WRITE_AT] = (at + 1) % RECENT
    if w[STORE_END] != NEVER and k.entries[w[STORE_ENTRY], BANK] == bank:
        _progress(k, n, start, end)
        w[STORE_END] = int(whole_above(k.reals[STORE_REACHED] + k.reals[STORE_LEFT]))


@kernel
def begin_store(k: Clock, n: Numbers, entry: int, now: int) -> None:
    w, r, e = k.words, k.reals, k.entries[entry]
    cost = k.costs[entry]
    missing = 0
    # BYTES is 0 where the store ends in the scratchpad.
    if e[BYTES]:
        for row in range(e[ROWS]):
            start = e[DRAM] + row * e[STRIDE]
            lines = misses(k, start, e[BYTES], n.line_bytes)
            if e[BYTES] != n.line_bytes or start % n.line_bytes:
                missing += lines
    cost = max(cost, missing * n.store_miss_line)
    r[STORE_BUSY] += cost
    begun(k, entry, now)
    worked(k, entry, cost)
    fetched(k, entry, missing)
    r[STORE_LEFT], r[STORE_REACHED] = cost, float(now)
    w[STORE_ENTRY] = entry
    if now + n.store_send > w[GAPS_END]:
        w[GAPS_START] = now + n.store_send
    # A load's request waits until a row's beats have passed.
    w[STORE_GAP] = max((e[BYTES] + n.beat_bytes - 1) // n.beat_bytes, 2) if e[BYTES] else 1
    for i in range(RECENT):
        written = k.writes[(w[WRITE_AT] + i) % RECENT]
        if written[2] == e[BANK] and written[1] > now:
            _progress(k, n, written[0], written[1])
    w[STORE_END] = int(whole_above(r[STORE_REACHED] + r[STORE_LEFT]))


@kernel
def end_store(k: Clock, n: Numbers, now: int) -> None:
    w = k.words
    k.done[w[STORE_ENTRY]] = now
    ended(k, w[STORE_ENTRY], now)
    w[STORE_END] = NEVER
    w[STORE_FREE] = now
    w[GAPS_END] = now + n.store_send
