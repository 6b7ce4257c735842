"""Jitted array of the cycle model: preloads and computes, one after the other or overlapped."""

import numpy as np

from .clock import (
    ACCUMULATES,
    ARRAY_BUSY,
    ARRAY_END,
    ARRAY_FREE,
    ARRAY_POPS,
    ARRAY_START,
    ARRAY_WORK,
    BANK,
    BANK_A,
    BANK_B,
    BANK_SECOND,
    DESTINATION,
    EXECUTE,
    INTERVAL_AT,
    ISSUE,
    K_COMPUTE,
    K_CONFIG_EX,
    K_PRELOAD,
    MESH_AT,
    NEVER,
    NEW,
    Q_ENTRY,
    Q_ISSUED,
    Q_KIND,
    RECENT,
    RESULTS_DONE,
    RING,
    ROWS,
    SECOND_BANK,
    SPACE_AT,
    STRIDE,
    UNIT,
    Clock,
    Numbers,
)
from .jit import kernel
from .trace import begun, ended, worked
from .writer import results_written


@kernel
def _end(k: Clock, n: Numbers) -> int:
    """When the running work ends: a row that a load writes into a bank delays a read from it."""
    at, left = float(k.words[ARRAY_START]), float(k.words[ARRAY_WORK])
    for i in range(RECENT):
        load = k.intervals[(k.words[INTERVAL_AT] + i) % RECENT]
        bank = load[2]
        read = bank == k.words[BANK_A] or bank == k.words[BANK_B] or bank == k.words[BANK_SECOND]
        if load[1] <= at or not read:
            continue
        if load[0] > at:
            free = min(left, load[0] - at)
            left -= free
            at += free
            if left <= 0.0:
                break
        rate = max(1.0 - load[3] / max(load[1] - load[0], 1), 0.0)
        done = (load[1] - at) * rate
        if left <= done:
            return int(at + left / rate)
        left -= done
        at = float(load[1])
    return int(at + left)


@kernel
def delay_array(k: Clock, n: Numbers) -> None:
    """A load has been sent: it may write into banks that are being read."""
    if k.words[ARRAY_END] != NEVER and k.words[ARRAY_WORK] > 0:
        k.words[ARRAY_END] = _end(k, n)


@kernel
def _begin(
    k: Clock, n: Numbers, start: int, work: int, bank_a: int, second: int, bank_b: int, pops: int
) -> None:
    w, unit = k.words, k.classes[EXECUTE, UNIT]
    begun(k, k.queues[EXECUTE, unit % RING, Q_ENTRY], start)
    worked(k, k.queues[EXECUTE, unit % RING, Q_ENTRY], float(work))
    if pops == 2:
        begun(k, k.queues[EXECUTE, (unit + 1) % RING, Q_ENTRY], start)
    w[ARRAY_START], w[ARRAY_WORK], w[ARRAY_POPS] = start, work, pops
    w[BANK_A], w[BANK_SECOND], w[BANK_B] = bank_a, second, bank_b
    k.reals[ARRAY_BUSY] += work
    w[ARRAY_END] = _end(k, n)


@kernel
def array_at(k: Clock, n: Numbers) -> int:
    """When the array has something to do: end its work, or begin what waits."""
    w, c = k.words, k.classes[EXECUTE]
    if w[ARRAY_END] != NEVER:
        return int(w[ARRAY_END])
    if c[UNIT] == c[ISSUE]:
        return NEVER
    head = k.queues[EXECUTE, c[UNIT] % RING]
    ready = max(w[ARRAY_FREE], head[Q_ISSUED] + n.compute_start)
    if head[Q_KIND] == K_CONFIG_EX:
        return int(max(ready, w[RESULTS_DONE]))
    if head[Q_KIND] == K_PRELOAD:
        if c[UNIT] + 1 == c[ISSUE]:
            return NEVER
        follower = k.queues[EXECUTE, (c[UNIT] + 1) % RING]
        return int(max(ready, follower[Q_ISSUED] + n.compute_start))
    return int(max(ready, k.mesh[w[MESH_AT]] - n.compute_window))


@kernel
def array_step(k: Clock, n: Numbers, now: int) -> None:
    w, c = k.words, k.classes[EXECUTE]
    if w[ARRAY_END] != NEVER:
        _finish(k, n, now)
        return
    # Not literals: numba compiles a callee anew for each literal argument.
    none, one = int(np.int64(-1)), int(np.int64(1))
    head = k.queues[EXECUTE, c[UNIT] % RING]
    e = k.entries[head[Q_ENTRY]]
    if head[Q_KIND] == K_CONFIG_EX:
        k.done[head[Q_ENTRY]] = now + n.config_ex - 1
        _begin(k, n, now, none - none, none, none, none, one)
        w[ARRAY_END] = now + n.config_ex - 1
        return
    if head[Q_KIND] == K_PRELOAD:
        work = n.dim if e[NEW] else n.compute_least_rows
        _begin(k, n, now, work, none, none, e[BANK], one)
        return
    rows = max(e[ROWS], n.compute_least_rows)
    first, second = e[BANK], e[SECOND_BANK]
    if c[ISSUE] - c[UNIT] >= 3:
        preload = k.queues[EXECUTE, (c[UNIT] + 1) % RING]
        follower = k.queues[EXECUTE, (c[UNIT] + 2) % RING]
        if (
            preload[Q_KIND] == K_PRELOAD
            and follower[Q_KIND] == K_COMPUTE
            and follower[Q_ISSUED] + n.compute_start <= now
        ):
            p = k.entries[preload[Q_ENTRY]]
            if not p[NEW]:
                _begin(k, n, now, rows, first, second, none, one + 1)
            elif p[BANK] == first or p[BANK] == second:
                # Both read the one port of a bank, row by row.
                _begin(k, n, now, e[ROWS] + n.dim, first, second, none, one + 1)
            else:
                _begin(k, n, now, max(rows, n.dim), first, second, p[BANK], one + 1)
            return
    _begin(k, n, now, rows, first, second, none, one)


@kernel
def _finish(k: Clock, n: Numbers, now: int) -> None:
    w, c = k.words, k.classes[EXECUTE]
    head = k.queues[EXECUTE, c[UNIT] % RING]
    entry = head[Q_ENTRY]
    ended(k, entry, now)
    if w[ARRAY_POPS] == 2:
        ended(k, k.queues[EXECUTE, (c[UNIT] + 1) % RING, Q_ENTRY], now)
    if c[ISSUE] - c[UNIT] >= n.execute_queue:
        c[SPACE_AT] = now + 2
    if head[Q_KIND] == K_PRELOAD:
        if w[DESTINATION] >= 0:
            k.done[w[DESTINATION]] = now + 1  # a preload that another one replaces
        w[DESTINATION] = entry
    elif head[Q_KIND] == K_COMPUTE:
        k.done[entry] = now + 1
        if w[DESTINATION] >= 0:
            # STRIDE of a preload holds what transposing adds.
            p = k.entries[w[DESTINATION]]
            results = now + 1 + n.compute_write + p[STRIDE]
            k.done[w[DESTINATION]] = results
            w[RESULTS_DONE] = max(w[RESULTS_DONE], results)
            k.mesh[w[MESH_AT]] = results
            w[MESH_AT] = (w[MESH_AT] + 1) % k.mesh.size
            if p[ACCUMULATES]:
                results_written(k, n, results - p[ROWS], results, p[ACCUMULATES] - 1)
        w[DESTINATION] = -1
        if w[ARRAY_POPS] == 2:
            w[DESTINATION] = k.queues[EXECUTE, (c[UNIT] + 1) % RING, Q_ENTRY]
    c[UNIT] += w[ARRAY_POPS]
    w[ARRAY_FREE] = now
    w[ARRAY_END] = NEVER
