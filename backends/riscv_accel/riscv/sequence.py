"""What `model_run` does, in order: the layers of each launch, and the host's ops between them."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from mcc.ir import Constant, Value, Yield
from mcc.ops import Reshape
from mcc.runtime import Launch, LayerRecord, Target

from ..linking import Linked, Section
from . import queued
from .host import HostCode
from .on_chip import shown
from .rolled import Roller, flat_lines
from .values import Places


@dataclass(frozen=True)
class Step:
    """One thing that `model_run` does: a layer on the accelerator or an op of the host."""

    name: str
    value: Value | None
    """What it makes, for a host op."""
    layer: LayerRecord | None
    lines: tuple[str, ...]
    data: str
    """Where its result lies; nowhere in memory if it stays on the chip."""
    nbytes: int
    shown: tuple[str, ...] = ()
    """Statements that bring out a result which stays on the chip."""
    queued: bool = False
    """Alone only where somebody observes; else its launch is one queue."""
    whole: tuple[str, ...] = ()
    """For the first step of such a launch, statements that run it as a whole."""


def copied(nbytes: int, source: str, to: str) -> str:
    """The statement that copies bytes from one place to another."""
    return f"mcc_move({nbytes}, (const uint8_t *){source}, (uint8_t *){to});"


@dataclass(frozen=True)
class Sequence:
    """Makes the steps of one linked program."""

    linked: Linked
    target: Target
    places: Places
    host: HostCode
    read: Callable[[Value], str]
    """The place of a value that a statement reads."""

    def steps(self) -> list[Step]:
        """The steps of an inference."""
        steps: list[Step] = []
        for op in self.linked.module.body:
            if isinstance(op, Constant | Yield | Reshape):
                continue
            if isinstance(op, Launch):
                steps += self._launch(op)
                continue
            value = op.results[0]
            steps.append(
                Step(
                    value.name or f"({op.op_name})",
                    value,
                    None,
                    tuple(self.host.call(op)),
                    self.places[value],
                    value.tensor.nbytes,
                )
            )
        return steps

    def _launch(self, launch: Launch) -> list[Step]:
        """A step for each layer; the first also brings in operands, the last takes results out."""
        by_queue = self.target.queue is not None
        program, end = self.linked.program, self.linked.constant_bytes
        steps: list[Step] = []
        position = launch.start + by_queue
        before: list[str] = []
        for operand, offset in zip(launch.xs, launch.inputs, strict=True):
            place = f"ARENA_BYTES({offset - end})"
            if self.places[operand] != place:
                before.append(copied(operand.tensor.nbytes, self.read(operand), place))
        before.append("ACCEL_FENCE();")
        arriving = [*before]
        for layer, section in zip(program.layers, self.linked.sections, strict=True):
            if not launch.start <= layer.start < launch.stop:
                continue
            before += flat_lines(program.commands[position : layer.start], end)
            record = program.tensors[layer.tensor]
            steps.append(
                Step(
                    layer.tensor,
                    None,
                    layer,
                    (*before, *self._issued(layer, section)),
                    "" if record.frame else f"ARENA_BYTES({record.offset - end})",
                    math.prod(section.ready.shape),
                    tuple(
                        shown(program, layer, self.target, end, record.shape[-1])
                        if record.frame
                        else ()
                    ),
                    by_queue,
                )
            )
            before, position = [], layer.stop
        out: list[str] = []
        for value, offset in zip(launch.results, launch.outputs, strict=True):
            place = f"ARENA_BYTES({offset - end})"
            if self.places[value] != place:
                out.append(copied(value.tensor.nbytes, place, self.places[value]))
        if by_queue:
            (start,) = program.issued_for(launch.start, launch.start + 1)
            run = queued.start(int(start["rs1"]), int(start["rs2"]), self.linked.queue_start)
            steps[0] = replace(steps[0], whole=(*arriving, run, "ACCEL_FENCE();", *out))
        last = steps.pop()
        after = flat_lines(program.commands[position : launch.stop], end)
        steps.append(replace(last, lines=(*last.lines, *after, *out)))
        return steps

    def _issued(self, layer: LayerRecord, section: Section) -> list[str]:
        """The statements that issue a layer's commands."""
        linked = self.linked
        if layer.records:
            dram, count = layer.records
            # A tensor may need no command of its own, and an empty queue does not start.
            return [queued.start(dram, count, linked.queue_start)] if count else []
        commands = linked.program.commands[layer.start : layer.stop]
        return Roller(commands, linked.constant_bytes).lines(section.ops)
