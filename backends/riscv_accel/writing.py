"""From planned nodes to ops with loops."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mcc.ir import Buffer, DType, Index, Region, Space, Value, Yield
from mcc.runtime import Target

from .rolling import LoopShape, Node, Shape
from .structure import For, Ready


def memory_type(name: str, target: Target) -> Buffer:
    """The type of one of the machine's own memories."""
    machine = target.machine
    match name:
        case "scratchpad":
            rows = machine.scratchpad.total_rows
            return Buffer(Space.SCRATCHPAD, DType.I8, (rows, machine.dim))
        case "accumulator":
            rows = machine.accumulator.total_rows
            return Buffer(Space.ACCUMULATOR, DType.I32, (rows, machine.dim))
        case "multipliers":
            return Buffer(Space.ACCUMULATOR, DType.F32, (machine.scale_rows, machine.dim))
        case _:
            return Buffer(Space.ACCUMULATOR, DType.I8, (machine.tables, 256))


@dataclass(frozen=True)
class Writer:
    """Writes nodes as ops."""

    memories: Mapping[str, Value]
    origins: Mapping[str, tuple[str, ...]]
    """The ONNX nodes of each tensor."""

    def write(self, region: Region, nodes: Sequence[Node]) -> None:
        for node in nodes:
            self._append(region, node.shape, iter(node.constants), ())

    def _append(
        self, region: Region, shape: Shape, constants: Iterator[int], at: tuple[Value, ...]
    ) -> None:
        """One node as ops; `at` are the indices of the loops around it."""
        if isinstance(shape, LoopShape):
            body = Region((Index(),))
            for part in shape.body:
                self._append(body, part, constants, (*at, *body.args))
            body.append(Yield(()))
            region.append(For(shape.count, body))
            return
        # Only the loops that move one of its addresses concern a tile op.
        moving = [i for i in range(len(at)) if any(steps[i] for steps in shape.steps)]
        fields: dict[str, object] = dict(shape.fixed)
        for operand, memory in shape.buffers:
            fields[operand] = self.memories[memory]
        for name, steps in zip(shape.names, shape.steps, strict=True):
            fields[name] = (next(constants), *(steps[i] for i in moving))
        if moving:
            fields["at"] = tuple(at[i] for i in moving)
        op = shape.make(**fields)
        if isinstance(op, Ready):
            op.named("", self.origins[op.tensor])
        region.append(op)
