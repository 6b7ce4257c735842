"""The accelerator in software: memories that persist, and `run`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..isa import (
    Commands,
    Illegal,
    LoopError,
    QueueError,
    Stream,
    Unrolled,
    Unroller,
    count_out,
    decode,
    disassemble,
    format_instruction,
    illegal_for,
)
from .faults import SimulatorFault, sentence
from .in_force import in_force
from .memory import MACS, new_memory, with_queues
from .operands import decode_operands
from .queued import queues_of

if TYPE_CHECKING:
    from ..target import Target
    from .cycles import CycleModel

_CHUNK = 1 << 15  # commands decoded at a time; a decoded one takes 128 bytes


Nodes = Callable[[int], str]
"""Names the ONNX node that a command, by its number in the program, works for."""


@dataclass(frozen=True)
class RunResult:
    """What a run did and cost."""

    commands: int
    """With those that queues brought."""
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
    wrote since. `check_undefined` faults on a read of local memory that nothing has written. A
    queue's records in DRAM count its addresses from `base` on, commands from 0.
    """

    def __init__(
        self,
        target: "Target",
        dram_bytes: int,
        *,
        check_hazards: bool = True,
        check_undefined: bool = True,
        base: int = 0,
    ) -> None:
        self.target = target
        self._base = base
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
        number: int | None = None,
        timing: bool = True,
        nodes: Nodes | None = None,
    ) -> RunResult:
        """Runs `commands[start:stop]` and, with `timing`, estimates its cycles.

        `nodes` names the ONNX node of a command, for faults, by its number among all with those
        that queues brought; the first one's is `number`, by default `start`.

        Raises:
            SimulatorFault: at the first command that the machine refuses (then none has run) or
            that goes wrong.
        """
        part = commands[start:stop]
        first = start if number is None else number
        return self.run_stream(
            self.stream(part, first, nodes), first=first, timing=timing, nodes=nodes
        )

    def stream(self, commands: Commands, first: int = 0, nodes: Nodes | None = None) -> Stream:
        """What the accelerator runs for the host's commands: its queues, as they lie in DRAM now.

        Raises:
            SimulatorFault: for the first command that the machine refuses.
        """
        self._refuse(illegal_for(self.target, commands), None, first, nodes)
        try:
            stream = count_out(commands, self.dram, self.target.machine, base=self._base)
        except QueueError as error:
            raise SimulatorFault(
                str(error),
                index=first + error.index,
                text=disassemble(commands[error.index : error.index + 1]).strip(),
                record=error.record,
                origin=error.index,
            ) from None
        if stream.commands is not commands:
            self._refuse(illegal_for(self.target, stream.commands), stream, first, nodes)
        return stream

    def _refuse(
        self, illegal: Illegal | None, stream: Stream | None, first: int, nodes: Nodes | None
    ) -> None:
        if illegal is None:
            return
        index = first + illegal.index
        raise SimulatorFault(
            illegal.reason,
            index=index,
            text=illegal.text,
            node=nodes(index) if nodes else "",
            record=-1 if stream is None else int(stream.record[illegal.index]),
            origin=illegal.index if stream is None else int(stream.origin[illegal.index]),
        )

    def run_stream(
        self,
        stream: Stream,
        *,
        first: int = 0,
        timing: bool = True,
        nodes: Nodes | None = None,
    ) -> RunResult:
        """Runs what `stream` answered; see `run`."""
        from .cycles import CycleModel, fetching
        from .interpreter import interpret

        if timing and self._cycles is None:
            self._cycles = CycleModel(self.target)
        unrolled, gaps = self._unrolled(stream, first, nodes), None
        coming = fetching(stream.fetch)
        if timing and self._cycles is not None:
            gaps = self._cycles.stream_gaps(stream)
            if unrolled.commands is not stream.commands:
                gaps = self._cycles.unrolled_gaps(stream.commands, unrolled, gaps)
                coming = fetching(stream.fetch, unrolled.origin)
        memory = with_queues(self._memory, queues_of(stream, unrolled))
        estimate = np.zeros(4, np.int64)
        before = int(self._memory.words[MACS])
        for done_before in range(0, len(unrolled.commands), _CHUNK):
            some = slice(done_before, done_before + _CHUNK)
            chunk = decode_operands(unrolled.commands[some])
            done, fault = interpret(chunk, memory, done_before)
            if fault:
                detail = tuple(int(number) for number in self._memory.detail)
                at = int(unrolled.origin[done_before + done])
                instruction = unrolled.commands[done_before + done : done_before + done + 1]
                raise self._fault(stream, at, instruction, sentence(fault, detail), first, nodes)
            if timing and self._cycles is not None:
                part = coming._replace(needs=coming.needs[some], may=coming.may[some])
                cost = self._cycles.run_decoded(chunk, None if gaps is None else gaps[some], part)
                estimate += (cost.total, cost.load_busy, cost.array_busy, cost.store_busy)
        cycles, load, array, store = (int(number) for number in estimate)
        macs = int(self._memory.words[MACS]) - before
        return RunResult(len(stream.commands), macs, cycles, load, array, store)

    def _unrolled(self, stream: Stream, first: int, nodes: Nodes | None) -> Unrolled:
        """The commands that loops become, legal ones."""
        commands = stream.commands
        try:
            unrolled = self._unroller.unroll(commands)
        except LoopError as error:
            at = error.index
            text = disassemble(commands[at : at + 1]).strip()
            raise self._located(str(error), stream, at, text, first, nodes) from None
        if unrolled.commands is not commands:
            illegal = illegal_for(self.target, unrolled.commands)
            if illegal is not None:
                at = int(unrolled.origin[illegal.index])
                text = f"{disassemble(commands[at : at + 1]).strip()}, at its {illegal.text}"
                raise self._located(illegal.reason, stream, at, text, first, nodes)
        return unrolled

    def _fault(
        self,
        stream: Stream,
        at: int,
        command: Commands,
        message: str,
        first: int,
        nodes: Nodes | None,
    ) -> SimulatorFault:
        """A fault of `command`, which is the stream's at `at`, or one that it was unrolled into."""
        (instruction,) = decode(command)
        assert instruction is not None, "an illegal command does not run"
        text = format_instruction(instruction)
        own = stream.commands[at : at + 1]
        if command != own:
            text = f"{disassemble(own).strip()}, at its {text}"
        state = in_force(self._memory, instruction)
        return self._located(message, stream, at, text, first, nodes, state)

    def _located(
        self,
        message: str,
        stream: Stream,
        at: int,
        text: str,
        first: int,
        nodes: Nodes | None,
        state: tuple[str, ...] = (),
    ) -> SimulatorFault:
        return SimulatorFault(
            message,
            index=first + at,
            text=text,
            node=nodes(first + at) if nodes else "",
            record=int(stream.record[at]),
            origin=int(stream.origin[at]),
            state=state,
        )
