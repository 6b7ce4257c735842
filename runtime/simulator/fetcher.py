"""Jitted fetches of the command queue: lines of records come through the loads' port.

A line goes before the loads' requests, which wait for its beats; so it takes from their rate and
hardly waits itself.
"""

from .cache import misses
from .clock import ACCEPTED, DATA_FREE, DRAM_FREE, FETCH_FREE, FETCHED_AT, Clock, Fetching, Numbers
from .jit import kernel
from .reader import whole_above


@kernel
def fetched(k: Clock, n: Numbers, f: Fetching, index: int) -> int:
    """Asks for the lines that the buffer has room for; when those that a command needs are there.

    The room is there since the command before was decoded.
    """
    while f.sent[0] < f.may[index]:
        line = f.sent[0]
        at = max(k.words[ACCEPTED], k.words[FETCHED_AT] + 1)
        k.words[FETCHED_AT] = at
        beats = float(n.request_bytes // n.beat_bytes)
        start = max(float(at + n.load_cache), k.reals[FETCH_FREE])
        missing = misses(k, int(f.lines[line]), n.request_bytes, n.line_bytes)
        if missing:
            bus = max(float(at), k.reals[DRAM_FREE])
            k.reals[DRAM_FREE] = bus + missing * n.line_cycles
            start = max(start, bus + n.load_cache + n.dram_latency + n.load_miss)
        k.reals[FETCH_FREE] = start + beats
        k.reals[DATA_FREE] = max(k.reals[DATA_FREE], float(at + n.load_cache)) + beats
        f.arrived[line] = int(whole_above(start + beats))
        f.sent[0] += 1
    return int(f.arrived[f.needs[index] - 1])
