"""An estimate of a program's cycles: the event model with a target's numbers."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .. import isa
from .clock import (
    ARRAY_BUSY,
    CONFIGS,
    HOST,
    LOAD_BUSY,
    LOAD_DONE,
    PRELOAD_INDEX,
    PRELOAD_SLOT,
    RANDOM,
    RECENT,
    RESULTS_DONE,
    STORE_BUSY,
    STORE_DONE,
    WORDS,
    Clock,
    Numbers,
)
from .events import advance
from .operands import CODES, OPERANDS, Operands, decode_operands

if TYPE_CHECKING:
    from ..target import Accelerator, Target


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


class CycleModel:
    """One accelerator in time.

    State persists between runs, so that a program can be timed in parts.

    The cache between DRAM and the accelerator starts empty. `gap` is the host's cycles from one
    command to the next; by default the target's `cycles_per_command`.
    """

    def __init__(self, target: "Target", *, gap: float | None = None) -> None:
        self._gap = target.host.cycles_per_command if gap is None else gap
        self._numbers = _numbers(target.machine)
        self._clock = _new_clock(target.machine)

    @property
    def now(self) -> float:
        """The cycle in which everything so far is done."""
        words = self._clock.words
        return float(max(words[HOST], words[LOAD_DONE], words[RESULTS_DONE], words[STORE_DONE]))

    def forget_cache(self) -> None:
        """Empties the cache between DRAM and the accelerator."""
        self._clock.cache[:] = -1

    def run(self, commands: isa.Commands, gaps: npt.NDArray[np.float64] | None = None) -> Cycles:
        """Times `commands`, legal ones. `gaps` overrides the host's cycles before each command."""
        return self.run_decoded(decode_operands(commands), gaps)

    def run_decoded(self, program: Operands, gaps: npt.NDArray[np.float64] | None = None) -> Cycles:
        """The same for a program that is decoded already."""
        words = self._clock.words
        start = self.now
        busy = words[[LOAD_BUSY, ARRAY_BUSY, STORE_BUSY]].copy()
        times = np.zeros((len(program), 4))
        words[PRELOAD_INDEX] = -1  # a preload of an earlier run is not in `times`
        if gaps is None:
            gaps = np.full(len(program), self._gap)
        advance(CODES, program, gaps, self._clock, self._numbers, times)
        load, array, store = words[[LOAD_BUSY, ARRAY_BUSY, STORE_BUSY]] - busy
        return Cycles(round(self.now - start), round(load), round(array), round(store), times)


def _numbers(machine: "Accelerator") -> Numbers:
    timing, dma = machine.timing, machine.dma
    named = timing.model_dump(exclude={"store_row"})
    return Numbers(
        dim=machine.dim,
        scratchpad_bank_rows=machine.scratchpad.rows,
        accumulator_bank_rows=machine.accumulator.rows,
        beat_bytes=dma.beat_bytes,
        request_bytes=dma.request_bytes,
        dram_latency=float(dma.dram_latency),
        line_cycles=dma.l2_line_bytes / dma.dram_bytes_per_cycle,
        line_bytes=dma.l2_line_bytes,
        **{name: float(value) for name, value in named.items()},
    )


def _new_clock(machine: "Accelerator") -> Clock:
    dma, queues = machine.dma, machine.queues
    sets = dma.l2_bytes // (dma.l2_ways * dma.l2_line_bytes)
    clock = Clock(
        words=np.zeros(WORDS),
        load_entries=np.zeros(queues.load),
        execute_entries=np.zeros(queues.execute),
        store_entries=np.zeros(queues.store),
        front=np.zeros(queues.front),
        store_row=np.array(machine.timing.store_row),
        scratchpad=np.zeros((3, machine.scratchpad.total_rows)),
        accumulator=np.zeros((3, machine.accumulator.total_rows)),
        computes=np.full((RECENT, 7), -1.0),
        loads=np.full((RECENT, 4), -1.0),
        cache=np.full((sets, dma.l2_ways), -1, np.int64),
        config=np.zeros(CONFIGS, OPERANDS),
        extended=np.zeros(3, np.int64),
    )
    clock.words[[PRELOAD_SLOT, PRELOAD_INDEX]] = -1
    clock.words[RANDOM] = 2463534242  # any number but 0
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
