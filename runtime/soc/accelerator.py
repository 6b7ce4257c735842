"""The accelerator as the core sees it: commands queue up, a fence waits, and time passes.

Commands take effect in batches, at a fence or when the program looks: the core cannot tell, since
it may not read what the accelerator writes before a fence.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .. import isa
from ..simulator import CycleModel, Machine, SimulatorFault
from ..target import Target

_BATCH = 1 << 16


@dataclass
class Totals:
    """What the accelerator did so far."""

    commands: int = 0
    macs: int = 0
    load_busy: int = 0
    array_busy: int = 0
    store_busy: int = 0


class Attached:
    """The accelerator model behind a core: memory shared with it, one clock for both.

    The clock is the core's: one cycle an instruction, and what it waits for the accelerator.
    """

    def __init__(
        self, target: Target, base: int, size: int, locate: Callable[[int], str] = hex
    ) -> None:
        """The machine with `size` bytes of memory, the first of which has address `base`.

        `locate` names an address of the core's code, for faults.
        """
        self.base = base
        self._locate = locate
        self.machine = Machine(target, size, base=base)
        self.totals = Totals()
        self._model = CycleModel(target)
        self._queue: list[tuple[int, int, int]] = []
        self._gaps: list[int] = []
        self._places: list[int] = []
        """The core's program counter at each command."""
        self._issued = 0
        """Commands that have taken effect, with fences."""
        self._at = 0.0
        """When the core had issued the last command, in cycles."""
        self._seen = 0
        """Instructions retired by then."""

    def issue(self, funct7: int, rs1: int, rs2: int, retired: int, pc: int) -> None:
        """Take one command. `retired` counts the core's instructions; `pc` is where it is."""
        self._queue.append((funct7, rs1, rs2))
        self._gaps.append(retired - self._seen)
        self._places.append(pc)
        self._seen = retired
        if len(self._queue) >= _BATCH:
            self._run()

    def fence(self, retired: int, pc: int) -> None:
        """Wait until everything is done."""
        if self._queue or self.totals.commands:
            self.issue(isa.Fence.funct7, 0, 0, retired, pc)
            self._run()

    def cycles(self, retired: int) -> int:
        """The clock."""
        self._run()
        return int(self._at) + retired - self._seen

    def _run(self) -> None:
        if not self._queue:
            return
        queue = np.array(self._queue, isa.COMMAND)
        commands = isa.relocate(queue, -self.base)
        gaps = np.array(self._gaps, np.float64)
        places = self._places.copy()
        for waiting in (self._queue, self._gaps, self._places):
            waiting.clear()
        try:
            stream = self.machine.stream(commands)
            done = self.machine.run_stream(stream, timing=False)
        except SimulatorFault as fault:
            at = fault.origin
            text = fault.text
            if fault.record < 0:
                text = isa.disassemble(queue[at : at + 1]).strip()
            raise SimulatorFault(
                f"{fault.message}; DRAM addresses count from {self.base:#x}",
                index=self._issued + fault.index,
                text=text,
                issued=self._locate(places[at]),
                record=fault.record,
            ) from None
        self._issued += len(stream.commands)
        cost = self._model.run_stream(stream, gaps)
        fenced = int(commands["funct7"][-1]) == isa.Fence.funct7
        last = int(np.flatnonzero(stream.record < 0)[-1])
        self._at = float(cost.times[last, 3 if fenced else 0])
        totals = self.totals
        totals.commands += int((stream.commands["funct7"] != isa.Fence.funct7).sum())
        totals.macs += done.macs
        totals.load_busy += cost.load_busy
        totals.array_busy += cost.array_busy
        totals.store_busy += cost.store_busy
