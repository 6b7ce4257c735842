"""An estimate of a program's cycles: the event model with a target's numbers."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast, get_type_hints

import numpy as np
import numpy.typing as npt

from .. import isa
from .clock import (
    ACCEPTED,
    ARRAY_BUSY,
    ARRAY_END,
    CONFIGS,
    DESTINATION,
    FIELDS,
    INDEX,
    LAST_DONE,
    LOAD_BUSY,
    LOOP_ENTRY,
    NEVER,
    NOW,
    RANDOM,
    REALS,
    RECENT,
    RING,
    STORE_BUSY,
    STORE_END,
    TRACED,
    WORDS,
    Clock,
    Fetching,
    Numbers,
)
from .events import advance
from .operands import CODES, OPERANDS, Operands, decode_operands
from .trace import Trace

if TYPE_CHECKING:
    from ..target import Target


@dataclass(frozen=True)
class Cycles:
    """What a run costs by the model, in cycles."""

    total: int
    """From the end of what ran before to the last command's completion."""
    load_busy: int
    array_busy: int
    store_busy: int
    times: npt.NDArray[np.float64]
    """For each command when it was accepted, allocated, issued and done, since the model's start.

    Shape (n, 4).
    """
    trace: Trace | None = None
    """What each command did in its unit, where it was asked for."""


class CycleModel:
    """One accelerator in time.

    State persists between runs, so that a program can be timed in parts.

    The cache between DRAM and the accelerator starts empty. `gap` is the host's cycles from one
    command to the next; by default the target's `cycles_per_command`. `seed` chooses which lines
    the caches replace.
    """

    def __init__(self, target: "Target", *, gap: float | None = None, seed: int = 0) -> None:
        self._gap = target.host.cycles_per_command if gap is None else gap
        self._numbers = _numbers(target)
        self._unroller = isa.Unroller(target.machine)
        timing = target.machine.timing
        self._starts = {
            isa.LoopWs.funct7: timing.loop_ws_start,
            isa.LoopConvWs.funct7: timing.loop_conv_start,
        }
        self._line_bytes = target.machine.dma.l2_line_bytes
        self._clock = _new_clock(target, seed)
        self._end = 0
        self._busy = np.zeros(3)

    @property
    def now(self) -> int:
        """The cycle in which everything so far is done."""
        return self._end

    def forget_cache(self, start: int = 0, stop: int | None = None) -> None:
        """Empties the cache between DRAM and the accelerator, of the bytes `start` to `stop`."""
        cache, line = self._clock.cache, self._line_bytes
        last = NEVER if stop is None else stop
        cache[(cache >= start // line) & (cache * line < last)] = -1

    def run(
        self,
        commands: isa.Commands,
        gaps: npt.NDArray[np.float64] | None = None,
        *,
        earliest: npt.NDArray[np.int64] | None = None,
        code: npt.NDArray[np.int64] | None = None,
        trace: bool = False,
    ) -> Cycles:
        """Times `commands`, legal ones; loops as the hardware unrolls them.

        `gaps` overrides the host's cycles before each command. `earliest` gives for each command a
        cycle before which it does not come. `code`, of shape (n, 3), places the host's program:
        for each command the address of its code, the code's bytes, and the address of its operands
        (-1 for neither); fetching them through the host's caches then takes time too. `trace` asks
        for `Cycles.trace`, which tells the commands that loops are unrolled into.

        Raises:
            LoopError: For a loop that cannot run.
            ValueError: For a queue, which `run_stream` times.
        """
        if (commands["funct7"] == isa.RunQueue.funct7).any():
            raise ValueError("a queue's commands lie in DRAM: count it out, and use run_stream")
        return self._run(commands, gaps, None, earliest, code, trace)

    def run_stream(
        self,
        stream: isa.Stream,
        gaps: npt.NDArray[np.float64] | None = None,
        *,
        trace: bool = False,
    ) -> Cycles:
        """The same for what the host issues with its queues counted out (`isa.count_out`).

        `gaps` are the host's cycles before each command of its own. `Cycles.times` and the trace
        tell all of the stream's.
        """
        gaps = self.stream_gaps(stream, gaps)
        return self._run(stream.commands, gaps, stream.fetch, None, None, trace)

    def _run(
        self,
        commands: isa.Commands,
        gaps: npt.NDArray[np.float64] | None,
        fetch: isa.Fetch | None,
        earliest: npt.NDArray[np.int64] | None,
        code: npt.NDArray[np.int64] | None,
        trace: bool,
    ) -> Cycles:
        unrolled = self._unroller.unroll(commands)
        if unrolled.commands is commands:
            program, coming = decode_operands(commands), fetching(fetch)
            return self.run_decoded(
                program, gaps, coming, earliest=earliest, code=code, trace=trace
            )
        first, wait = self._first_of_loops(commands, unrolled)
        if earliest is not None:
            earliest = np.where(earliest[unrolled.origin], earliest[unrolled.origin] + wait, 0)
        if code is not None:
            code = np.where(first[:, None], code[unrolled.origin], -1)
        gaps = self.unrolled_gaps(commands, unrolled, gaps)
        program, coming = decode_operands(unrolled.commands), fetching(fetch, unrolled.origin)
        cost = self.run_decoded(program, gaps, coming, earliest=earliest, code=code, trace=trace)
        return replace(cost, times=_folded(cost.times, unrolled.origin, len(commands)))

    def stream_gaps(
        self, stream: isa.Stream, gaps: npt.NDArray[np.float64] | None = None
    ) -> npt.NDArray[np.float64] | None:
        """The cycles before each command: the host's before its own, decoding before a queue's."""
        if stream.fetch is None:
            return gaps
        own = np.flatnonzero(stream.record < 0)
        spent = stream.fetch.spent.astype(np.float64)
        spent[own] = _whole_gaps(own.size, self._gap) if gaps is None else gaps
        # Behind a queue, the host has had its next command ready for long.
        spent[own[1:][np.diff(own) > 1]] = 1.0
        return spent

    def unrolled_gaps(
        self,
        commands: isa.Commands,
        unrolled: isa.Unrolled,
        gaps: npt.NDArray[np.float64] | None = None,
    ) -> npt.NDArray[np.float64]:
        """The cycles before each unrolled command, from the host's before each of its own.

        What the host takes for a loop's configuration comes before the loop; the unroller sends a
        command a cycle.
        """
        if gaps is None:
            gaps = _whole_gaps(len(commands), self._gap)
        first, wait = self._first_of_loops(commands, unrolled)
        until = np.concatenate([[0.0], np.cumsum(gaps)])
        origins = unrolled.origin[first]
        before = np.concatenate([[-1], np.maximum.accumulate(origins)[:-1]])[: origins.size]
        spent = np.ones(len(unrolled.commands))
        spent[first] = np.maximum(until[origins + 1] - until[before + 1], 1.0) + wait[first]
        return spent

    def _first_of_loops(
        self, commands: isa.Commands, unrolled: isa.Unrolled
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
        """Which commands are the first of theirs, and what the unroller takes before it begins."""
        first = np.zeros(len(unrolled.commands), np.bool_)
        first[np.unique(unrolled.origin, return_index=True)[1]] = True
        wait = np.zeros(len(unrolled.commands), np.int64)
        for funct7, cycles in self._starts.items():
            wait[commands["funct7"][unrolled.origin] == funct7] = cycles
        return first, wait

    def run_decoded(
        self,
        program: Operands,
        gaps: npt.NDArray[np.float64] | None = None,
        coming: Fetching | None = None,
        *,
        earliest: npt.NDArray[np.int64] | None = None,
        code: npt.NDArray[np.int64] | None = None,
        trace: bool = False,
    ) -> Cycles:
        """The same for a program that is decoded already; `coming` brings a queue's commands."""
        count = len(program)
        columns = np.zeros((count if trace else 0, TRACED))
        clock = self._clock._replace(trace=columns)
        start = self._end
        times = np.zeros((count, 4))
        if gaps is None:
            gaps = _whole_gaps(count, self._gap)
        if earliest is None:
            earliest = np.zeros(count, np.int64)
        if code is None:
            code = np.full((count, 3), -1, np.int64)
        clock.entries[:, INDEX] = -1  # commands of an earlier run are not in `times`
        whole = np.asarray(gaps, np.int64)
        coming = coming or fetching(None)
        advance(CODES, program, whole, earliest, code, coming, clock, self._numbers, times)
        # What is still under way ends on a copy, so that the next run goes on from here.
        rest = Clock._make(array.copy() for array in self._clock)._replace(trace=columns)
        nothing = np.zeros(0, np.int64)
        none = fetching(None)
        advance(CODES, program[:0], nothing, nothing, code[:0], none, rest, self._numbers, times)
        self._end = max(start, int(max(rest.words[LAST_DONE], rest.words[ACCEPTED])))
        busy = rest.reals[[LOAD_BUSY, ARRAY_BUSY, STORE_BUSY]]
        load, array, store = busy - self._busy
        self._busy = busy
        return Cycles(
            self._end - start,
            round(load),
            round(array),
            round(store),
            times,
            Trace.from_columns(columns) if trace else None,
        )


def fetching(fetch: isa.Fetch | None, origin: npt.NDArray[np.intp] | None = None) -> Fetching:
    """The fetches of a run that begins; `origin` where loops were unrolled behind them."""
    if fetch is None:
        none = np.zeros(0, np.int64)
        return Fetching(none, none, none, none, np.zeros(1, np.int64))
    needs, may = fetch.needs, fetch.may
    if origin is not None:
        needs, may = needs[origin], may[origin]
    arrived = np.zeros(len(fetch.lines), np.int64)
    return Fetching(needs, may, fetch.lines, arrived, np.zeros(1, np.int64))


def _whole_gaps(count: int, gap: float) -> npt.NDArray[np.float64]:
    """Whole cycles whose mean is the gap."""
    return np.diff(np.floor(np.arange(count + 1, dtype=np.float64) * gap))


def _folded(
    times: npt.NDArray[np.float64], origin: npt.NDArray[np.intp], count: int
) -> npt.NDArray[np.float64]:
    """Times of the host's commands: a loop's from its first command's to its last one's.

    What configures a loop is done with, like the command before.
    """
    folded = np.full((count, 4), np.inf)
    for column in range(3):
        np.minimum.at(folded[:, column], origin, times[:, column])
    folded[:, 3] = -np.inf
    np.maximum.at(folded[:, 3], origin, times[:, 3])
    absent = np.isinf(folded[:, 0])
    last = np.maximum.accumulate(np.where(absent, -1, np.arange(count)))
    accepted = np.where(last < 0, 0.0, folded[np.maximum(last, 0), 0])
    folded[absent] = accepted[absent, None]
    return folded


def _numbers(target: "Target") -> Numbers:
    machine = target.machine
    timing, dma, queues, host = machine.timing, machine.dma, machine.queues, target.host
    named: dict[str, Any] = timing.model_dump(
        exclude={"store_row", "loop_ws_start", "loop_conv_start"}
    )
    numbers = Numbers(
        dim=machine.dim,
        scratchpad_bank_rows=machine.scratchpad.rows,
        accumulator_bank_rows=machine.accumulator.rows,
        beat_bytes=dma.beat_bytes,
        request_bytes=dma.request_bytes,
        line_bytes=dma.l2_line_bytes,
        line_cycles=dma.l2_line_bytes / dma.dram_bytes_per_cycle,
        dram_latency=dma.dram_latency,
        page_bytes=dma.page_bytes,
        loads_in_flight=dma.loads_in_flight,
        refill=dma.l2_refill_cycles,
        load_entries=queues.load,
        execute_entries=queues.execute,
        store_entries=queues.store,
        load_queue=queues.load_issued,
        execute_queue=queues.execute_issued,
        store_queue=queues.store_issued,
        front=queues.front,
        host_line_bytes=host.cache_line_bytes,
        code_hit=host.code_hit,
        code_miss=host.code_miss + dma.dram_latency,
        data_hit=host.data_hit,
        data_miss=host.data_miss + dma.dram_latency,
        **named,
    )
    # A record is one pointer; a tuple would be passed to each kernel number by number.
    kinds = [
        (name, float if kind is float else np.int64)
        for name, kind in get_type_hints(Numbers).items()
    ]
    return cast(Numbers, np.array([tuple(numbers)], kinds)[0])


def _new_clock(target: "Target", seed: int) -> Clock:
    machine, host = target.machine, target.host
    dma, queues = machine.dma, machine.queues
    sets = dma.l2_bytes // (dma.l2_ways * dma.l2_line_bytes)
    host_sets = host.cache_bytes // (host.cache_ways * host.cache_line_bytes)
    entries = queues.load + queues.execute + queues.store
    clock = Clock(
        words=np.zeros(WORDS, np.int64),
        reals=np.zeros(REALS),
        entries=np.zeros((entries, FIELDS), np.int64),
        done=np.full(entries, NEVER, np.int64),
        depends=np.zeros(entries, np.int64),
        classes=np.zeros((3, 8), np.int64),
        queues=np.zeros((3, RING, 3), np.int64),
        front=np.full(queues.front, -NEVER, np.int64),
        costs=np.zeros(entries),
        slots=np.zeros(dma.requests_in_flight, np.int64),
        door=np.zeros(dma.requests_queued, np.int64),
        intervals=np.full((RECENT, 4), -1, np.int64),
        writes=np.full((RECENT, 3), -1, np.int64),
        mesh=np.zeros(machine.timing.computes_in_flight, np.int64),
        pages=np.full(dma.tlb_entries, -1, np.int64),
        cache=np.full((sets, dma.l2_ways), -1, np.int64),
        host_code=np.full((host_sets, host.cache_ways), -1, np.int64),
        host_data=np.full((host_sets, host.cache_ways), -1, np.int64),
        store_row=np.array(machine.timing.store_row),
        config=np.zeros(CONFIGS, OPERANDS),
        extended=np.zeros(3, np.int64),
        trace=np.zeros((0, TRACED)),
    )
    clock.words[[ARRAY_END, STORE_END]] = NEVER
    clock.words[[LOOP_ENTRY, DESTINATION]] = -1
    clock.words[NOW] = 0
    clock.words[RANDOM] = 2463534242 + 7919 * seed  # any number but 0
    for place, instruction in enumerate(
        [
            *(isa.ConfigLoad(state=state) for state in range(3)),
            isa.ConfigStore(),
            isa.ConfigExecute(),
            isa.ConfigPool(),
        ]
    ):
        clock.config[place] = decode_operands(instruction.commands())[0]
    return clock
