"""The accelerator in software: memories that persist, and `run`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..isa import (
    Commands,
    LoopError,
    Unrolled,
    Unroller,
    decode,
    disassemble,
    format_instruction,
    illegal_for,
)
from .faults import SimulatorFault, sentence
from .in_force import in_force
from .memory import MACS, new_memory
from .operands import decode_operands

if TYPE_CHECKING:
    from ..target import Target
    from .cycles import CycleModel

_CHUNK = 1 << 15  # commands decoded at a time; a decoded one takes 128 bytes


@dataclass(frozen=True)
class RunResult:
    """What a run did and cost."""

    commands: int
    macs: int
    """Multiply-accumulates of the tiles as given, padding inside the array not counted."""
    cycles: int
    """Estimated by the cycle model; 0 where no estimate was asked for, as the next three."""
    load_busy: int
    """Cycles in which the loads' unit works."""
    array_busy: int
    store_busy: int


class Machine:
    """One accelerator with its DRAM. State persists between runs.

    `check_hazards` faults where program order alone does not make hardware agree: a load of DRAM
    bytes that were stored since the last fence, and an accumulating load to a row that another load
    wrote since. `check_undefined` faults on a read of local memory that nothing has written.
    """

    def __init__(
        self,
        target: "Target",
        dram_bytes: int,
        *,
        check_hazards: bool = True,
        check_undefined: bool = True,
    ) -> None:
        self.target = target
        self._cycles: CycleModel | None = None
        self._unroller = Unroller(target.machine)
        self._memory = new_memory(
            target.machine,
            dram_bytes,
            check_hazards=check_hazards,
            check_undefined=check_undefined,
        )

    @property
    def dram(self) -> npt.NDArray[np.uint8]:
        """DRAM from address 0; write inputs and weights into it, read outputs from it."""
        return self._memory.dram

    @property
    def scratchpad(self) -> npt.NDArray[np.int8]:
        """All banks' rows, shape (rows, dim)."""
        return self._memory.scratchpad

    @property
    def accumulator(self) -> npt.NDArray[np.int32]:
        """All banks' rows, shape (rows, dim)."""
        return self._memory.accumulator

    def run(
        self,
        commands: Commands,
        start: int = 0,
        stop: int | None = None,
        *,
        timing: bool = True,
        nodes: Callable[[int], str] | None = None,
    ) -> RunResult:
        """Runs `commands[start:stop]` and, with `timing`, estimates its cycles.

        `nodes` names the ONNX node of a command's index, for faults.

        Raises:
            SimulatorFault: at the first command that the machine refuses (then none has run) or
            that goes wrong.
        """
        end = len(commands) if stop is None else min(stop, len(commands))
        part = commands[start:end]
        illegal = illegal_for(self.target, part)
        if illegal is not None:
            index = start + illegal.index
            node = nodes(index) if nodes else ""
            raise SimulatorFault(illegal.reason, index=index, text=illegal.text, node=node)
        from .cycles import CycleModel
        from .interpreter import interpret

        if timing and self._cycles is None:
            self._cycles = CycleModel(self.target)
        unrolled, gaps = self._unrolled(part, start, nodes), None
        if timing and self._cycles is not None and unrolled.commands is not part:
            gaps = self._cycles.unrolled_gaps(part, unrolled)
        estimate = np.zeros(4, np.int64)
        before = int(self._memory.words[MACS])
        for first in range(0, len(unrolled.commands), _CHUNK):
            some = slice(first, first + _CHUNK)
            chunk = decode_operands(unrolled.commands[some])
            done, fault = interpret(chunk, self._memory)
            if fault:
                detail = tuple(int(number) for number in self._memory.detail)
                at = start + int(unrolled.origin[first + done])
                instruction = unrolled.commands[first + done : first + done + 1]
                raise self._fault(commands, at, instruction, sentence(fault, detail), nodes)
            if timing and self._cycles is not None:
                cost = self._cycles.run_decoded(chunk, None if gaps is None else gaps[some])
                estimate += (cost.total, cost.load_busy, cost.array_busy, cost.store_busy)
        cycles, load, array, store = (int(number) for number in estimate)
        macs = int(self._memory.words[MACS]) - before
        return RunResult(end - start, macs, cycles, load, array, store)

    def _unrolled(
        self, commands: Commands, start: int, nodes: Callable[[int], str] | None
    ) -> Unrolled:
        """The commands that loops become, legal ones."""
        try:
            unrolled = self._unroller.unroll(commands)
        except LoopError as error:
            index = start + error.index
            text = disassemble(commands[error.index : error.index + 1]).strip()
            node = nodes(index) if nodes else ""
            raise SimulatorFault(str(error), index=index, text=text, node=node) from None
        if unrolled.commands is not commands:
            illegal = illegal_for(self.target, unrolled.commands)
            if illegal is not None:
                at = int(unrolled.origin[illegal.index])
                text = disassemble(commands[at : at + 1]).strip()
                raise SimulatorFault(
                    illegal.reason,
                    index=start + at,
                    text=f"{text}, at its {illegal.text}",
                    node=nodes(start + at) if nodes else "",
                )
        return unrolled

    def _fault(
        self,
        commands: Commands,
        index: int,
        command: Commands,
        message: str,
        nodes: Callable[[int], str] | None,
    ) -> SimulatorFault:
        """A fault of `command`, which is the one at `index`, or one that it was unrolled into."""
        (instruction,) = decode(command)
        assert instruction is not None, "an illegal command does not run"
        text = format_instruction(instruction)
        if command != commands[index : index + 1]:
            text = f"{disassemble(commands[index : index + 1]).strip()}, at its {text}"
        return SimulatorFault(
            message,
            index=index,
            text=text,
            node=nodes(index) if nodes else "",
            state=in_force(self._memory, instruction),
        )
