"""Jitted event loop of the cycle model.

Commands come from the host in program order, pass a queue, get an entry of the reservation station,
are issued to their class's unit, and are done. The loop goes from one cycle in which something
happens to the next, so that units meet in time as they do in hardware: rows that a load writes
delay a compute, results starve a store, a request overtakes another.
"""

import numpy as np
import numpy.typing as npt

from .cache import host_stall
from .clock import (
    ACCEPTED,
    ALLOCATED,
    CODE_AT,
    COMMANDS,
    COUNT,
    EXECUTE,
    FREE_AT,
    HOST_FROM,
    HOST_READY,
    IN_FLIGHT,
    INDEX,
    ISSUE,
    ISSUE_AT,
    ISSUES,
    K_CONFIG,
    LAST_DONE,
    LAST_STORE_DONE,
    LIVE,
    LOAD,
    NEVER,
    NOW,
    Q_ENTRY,
    Q_ISSUED,
    Q_KIND,
    READER_FREE,
    READY,
    RING,
    SLOT_AT,
    SPACE_AT,
    STORE,
    STORE_END,
    STORE_FREE,
    TAIL,
    UNIT,
    Clock,
    Fetching,
    Numbers,
)
from .fetcher import fetched
from .jit import entry, kernel
from .operands import Codes, Operands
from .reader import parked_at, release, send
from .sequencer import array_at, array_step, delay_array
from .station import allocate, class_of, complete, size_of
from .writer import begin_store, end_store


@kernel
def _plan_issue(k: Clock, n: Numbers) -> int:
    """Notes when each class's next command issues, as far as is known; the first of these times."""
    first = NEVER
    for group in range(3):
        c = k.classes[group]
        c[ISSUES] = NEVER
        if c[ISSUE] == c[TAIL]:
            continue
        queue = n.load_queue
        if group != LOAD:
            queue = n.execute_queue if group == EXECUTE else n.store_queue
        entry = k.queues[group, c[ISSUE] % RING, Q_ENTRY]
        if c[ISSUE] - c[UNIT] < queue and k.depends[entry] == 0:
            c[ISSUES] = max(k.entries[entry, READY], c[ISSUE_AT], c[SPACE_AT])
            first = min(first, c[ISSUES])
    return int(first)


@kernel
def _issue(k: Clock, group: int, now: int, times: npt.NDArray[np.float64]) -> None:
    c = k.classes[group]
    q = k.queues[group, c[ISSUE] % RING]
    q[Q_ISSUED] = now
    e = k.entries[q[Q_ENTRY]]
    if e[INDEX] >= 0:
        times[e[INDEX], 2] = now
    if q[Q_KIND] == K_CONFIG:
        k.done[q[Q_ENTRY]] = now
    c[ISSUE] += 1
    c[ISSUE_AT] = now + 1


@kernel
def _reader_at(k: Clock, n: Numbers) -> int:
    """When the load at the head of the queue is taken up."""
    c = k.classes[LOAD]
    if c[UNIT] == c[ISSUE]:
        return NEVER
    q = k.queues[LOAD, c[UNIT] % RING]
    start = max(q[Q_ISSUED], k.words[READER_FREE] - n.load_send)
    if q[Q_KIND] == K_CONFIG:
        return int(start)
    if k.words[IN_FLIGHT] >= n.loads_in_flight:
        return NEVER
    return int(max(start, k.words[SLOT_AT]))


@kernel
def _reader_step(k: Clock, n: Numbers, now: int) -> None:
    w, c = k.words, k.classes[LOAD]
    q = k.queues[LOAD, c[UNIT] % RING]
    if c[ISSUE] - c[UNIT] >= n.load_queue:
        c[SPACE_AT] = now + 1
    c[UNIT] += 1
    if q[Q_KIND] == K_CONFIG:
        w[READER_FREE] = max(w[READER_FREE], now + n.load_send) + 1
        return
    send(k, n, q[Q_ENTRY], now)
    delay_array(k, n)


@kernel
def _writer_at(k: Clock, n: Numbers) -> int:
    c = k.classes[STORE]
    if k.words[STORE_END] != NEVER:
        return int(k.words[STORE_END])
    if c[UNIT] == c[ISSUE]:
        return NEVER
    return int(max(k.queues[STORE, c[UNIT] % RING, Q_ISSUED], k.words[STORE_FREE]))


@kernel
def _writer_step(k: Clock, n: Numbers, now: int) -> None:
    c = k.classes[STORE]
    if k.words[STORE_END] == NEVER:
        q = k.queues[STORE, c[UNIT] % RING]
        if q[Q_KIND] != K_CONFIG:
            begin_store(k, n, q[Q_ENTRY], now)
            return
    else:
        end_store(k, n, now)
    if c[ISSUE] - c[UNIT] >= n.store_queue:
        c[SPACE_AT] = now - 1
    c[UNIT] += 1


@kernel
def _accepted(
    k: Clock,
    n: Numbers,
    f: Fetching,
    index: int,
    gap: int,
    earliest: int,
    code: int,
    code_bytes: int,
    table: int,
) -> int:
    """When the next command, the host's or the queue's, gets into the front queue."""
    w = k.words
    line = n.host_line_bytes
    free = w[ACCEPTED]
    if code >= 0:
        for address in range(code // line, (code + code_bytes - 1) // line + 1):
            if address != w[CODE_AT]:
                w[CODE_AT] = address
                gap += host_stall(k, k.host_code, address * line, line, n.code_hit, n.code_miss)
    if table >= 0:
        gap += host_stall(k, k.host_data, table, line, n.data_hit, n.data_miss)
    ready = free + gap
    if f.needs.size and f.needs[index]:
        ready = max(ready, fetched(k, n, f, index))
    if k.trace.size:
        k.trace[index, HOST_FROM], k.trace[index, HOST_READY] = free, ready
    room = k.front[w[COMMANDS] % k.front.size] + n.allocate_to_accept
    return int(max(ready, earliest, room))


@entry
def advance(
    codes: Codes,
    program: Operands,
    gaps: npt.NDArray[np.int64],
    earliest: npt.NDArray[np.int64],
    host: npt.NDArray[np.int64],
    f: Fetching,
    k: Clock,
    n: Numbers,
    times: npt.NDArray[np.float64],
) -> None:
    """Runs the model over `program`, up to the last command's allocation.

    An empty program runs it until all is done. `gaps[i]` is what the host needs before command i,
    `earliest[i]` the first cycle in which it may come; `host[i]` is where its code lies, the code's
    bytes, and where its operands lie, or -1; `f` brings those of a queue. `times[i]` becomes
    (accepted, allocated, issued, done).
    """
    w = k.words
    # Typed zeros: numba would compile `allocate` for a literal one too.
    i, group = int(np.int64(0)), int(np.int64(0))
    pending = False
    while True:
        next_alloc = NEVER
        if i < program.size:
            code = program[i].operation
            if not pending:
                pending = True
                w[ACCEPTED] = _accepted(
                    k, n, f, i, gaps[i], earliest[i], host[i, 0], host[i, 1], host[i, 2]
                )
                times[i, 0] = w[ACCEPTED]
                group = class_of(codes, code)
            if code == codes.flush or code == codes.counter or code == codes.run_queue:
                times[i, 1:] = w[ACCEPTED]
                pending = False
                i += 1
                continue
            if code == codes.fence:
                idle = k.classes[0, COUNT] + k.classes[1, COUNT] + k.classes[2, COUNT] == 0
                if idle:
                    next_alloc = w[NOW]
            elif k.classes[group, COUNT] < size_of(n, group):
                next_alloc = max(
                    w[ACCEPTED] + n.accept_to_allocate,
                    w[ALLOCATED] + 1,
                    k.classes[group, FREE_AT],
                )
        elif program.size:
            return
        done_at = NEVER
        for slot in range(k.done.size):
            done_at = min(done_at, k.done[slot])
        issue = _plan_issue(k, n)
        reader, parked = _reader_at(k, n), parked_at(k, n)
        array, writer = array_at(k, n), _writer_at(k, n)
        now = min(next_alloc, done_at, issue, reader, parked - n.load_send, array, writer)
        if now >= NEVER // 2:
            if i >= program.size:
                return
            # A fence behind a preload without its compute, which hardware waits for in vain.
            for slot in range(k.done.size):
                if (w[LIVE] >> slot) & 1:
                    k.done[slot] = w[NOW]
            continue
        now = max(now, w[NOW])
        w[NOW] = now
        if done_at <= now:
            for slot in range(k.done.size):
                if k.done[slot] <= now and not (w[LIVE] >> slot) & 1:
                    k.done[slot] = NEVER
                elif k.done[slot] <= now:
                    if k.entries[slot, INDEX] >= 0:
                        times[k.entries[slot, INDEX], 3] = k.done[slot]
                    complete(k, n, slot)
            continue
        if array <= now:
            array_step(k, n, now)
        if writer <= now:
            _writer_step(k, n, now)
        if reader <= now:
            _reader_step(k, n, now)
        elif parked - n.load_send <= now:
            release(k, n, parked)
        for which in range(3):
            if k.classes[which, ISSUES] <= now:
                _issue(k, which, now, times)
        if next_alloc <= now:
            if program[i].operation == codes.fence:
                w[ACCEPTED] = max(
                    w[ACCEPTED] + n.fence_idle,
                    w[LAST_DONE] + n.fence_after_done,
                    w[LAST_STORE_DONE] + n.fence_after_store,
                )
                w[NOW] = max(w[NOW], w[ACCEPTED])
                times[i, 1:] = w[ACCEPTED]
            else:
                w[ALLOCATED] = now
                k.front[w[COMMANDS] % k.front.size] = now
                w[COMMANDS] += 1
                times[i, 1] = now
                allocate(codes, program[i], k, n, group, i, now)
            pending = False
            i += 1
