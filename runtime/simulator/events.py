"""Jitted event model of an accelerator in time: when each command is accepted, issued and done.

Rules, from the public sources of Gemmini and from recorded runs: one command at a time enters a
reservation station in program order and waits there for an entry of its class (load, execute,
store); each class issues in order; a command waits for those of other classes that touch the same
local rows; a class's unit works as a pipe whose next result comes its cost after the last. Times
are cycles from the model's start, as floats because some costs are averages.
"""

import numpy as np
import numpy.typing as npt

from .clock import (
    ALLOCATED,
    DRAINED,
    EX_ISSUED,
    EXECUTE,
    EXECUTE_CONFIG,
    FRONT_AT,
    HOST,
    LOAD_DONE,
    LOAD_ISSUED,
    POOL_CONFIG,
    PRELOAD_INDEX,
    PRELOAD_ROW,
    PRELOAD_ROWS,
    PRELOAD_SLOT,
    RESULTS_DONE,
    STORE,
    STORE_CONFIG,
    STORE_DONE,
    STORE_ISSUED,
    TARGET,
    TARGET_ROWS,
    Clock,
    Numbers,
    mark,
    take_entry,
    wait,
)
from .jit import kernel
from .operands import Codes, Operands
from .units import compute, load, read_span, store, store_cost, table_load

_GARBAGE = 0xFFFFFFFF
_ROW_MASK = (1 << 26) - 1
_NEVER = 1e300


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
        slot = take_entry(entries)
        allocated = max(max(accepted + n.accept_to_allocate, w[ALLOCATED] + 1.0), entries[slot])
        w[ALLOCATED] = allocated
        k.front[at] = allocated
        w[FRONT_AT] = (at + 1) % k.front.size
        ready = max(allocated + n.allocate_to_issue, w[last] + 1.0)
        issue, done = ready, ready
        if code == codes.mvin or code == codes.mvin2 or code == codes.mvin3:
            # Variables, not literals: numba compiles a callee anew for each literal argument.
            state = 0
            if code != codes.mvin:
                state = 1 if code == codes.mvin2 else 2
            issue, done = load(k, n, op, state, ready)
        elif code == codes.preload:
            w[PRELOAD_ROW], w[PRELOAD_ROWS] = op.preload_local, op.preload_rows
            w[TARGET], w[TARGET_ROWS] = op.preload_destination, op.preload_destination_rows
            if op.preload_local != _GARBAGE:
                rows = wait(k.scratchpad, EXECUTE, op.preload_local & _ROW_MASK, op.preload_rows)
                issue = max(issue, rows)
            if op.preload_destination != _GARBAGE:
                place = op.preload_destination & _ROW_MASK
                step = k.config[EXECUTE_CONFIG].config_ex_c_stride
                height = (op.preload_destination_rows - 1) * step + 1
                issue = max(issue, wait(k.accumulator, EXECUTE, place, height))
            done = _NEVER
            w[PRELOAD_SLOT], w[PRELOAD_INDEX] = slot, i
        elif code == codes.compute_new or code == codes.compute_kept:
            is_new = code == codes.compute_new
            issue, done = compute(k, n, is_new, op.compute_local, op.compute_rows, ready)
            if w[PRELOAD_SLOT] >= 0.0:
                entries[int(w[PRELOAD_SLOT])] = w[RESULTS_DONE]
                if w[PRELOAD_INDEX] >= 0.0:
                    times[int(w[PRELOAD_INDEX]), 3] = w[RESULTS_DONE]
                w[PRELOAD_SLOT] = -1.0
        elif code == codes.config_ex:
            k.config[EXECUTE_CONFIG] = op
            done = max(issue + 2.0, w[RESULTS_DONE])
            w[DRAINED] = done
        elif code == codes.mvout or code == codes.mvout_spad:
            to_dram = code == codes.mvout
            source, cols, rows = op.mvout_local, op.mvout_cols, op.mvout_rows
            target, height = op.mvout_dram, 0
            if not to_dram:
                source, cols, rows = op.mvout_spad_local, op.mvout_spad_cols, op.mvout_spad_rows
                target = op.mvout_spad_destination & _ROW_MASK
            cost, stored = store_cost(k, n, cols, rows, target, to_dram)
            span = read_span(k, n, cols, rows)
            if not to_dram:
                blocks = (cols + n.dim - 1) // n.dim
                height = (
                    max(stored - 1, 0) * op.mvout_spad_row_stride
                    + (blocks - 1) * op.mvout_spad_block_stride
                    + 1
                )
                ready = max(ready, wait(k.scratchpad, STORE, target, height))
                stored = 0
            issue, done = store(k, n, source, span, cost, stored, ready)
            mark(k.scratchpad, STORE, target, height, done)
        elif code == codes.load_scales or code == codes.load_table:
            start, size = op.load_table_dram, 256
            if code == codes.load_scales:
                start, size = op.load_scales_dram, 4 * op.load_scales_count
            issue, done = table_load(k, n, start, size, ready)
        elif code == codes.config_ld:
            k.config[op.config_ld_state] = op
        elif code == codes.config_st:
            k.config[STORE_CONFIG] = op
        elif code == codes.config_pool:
            k.config[POOL_CONFIG] = op
        elif code == codes.config_scales:
            k.extended[0] = op.config_scales_enable
        elif code == codes.config_requant:
            k.extended[1] = 1
        elif code == codes.config_table:
            k.extended[2] = op.config_table_enable
        w[last] = issue
        entries[slot] = done
        times[i] = accepted, allocated, issue, done
