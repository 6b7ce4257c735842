"""Stage `tiled`: each layer becomes a kernel, with loops over the machine's memories."""

from collections.abc import Iterator, Sequence

import numpy as np

from mcc.ir import (
    Buffer,
    Constant,
    Data,
    DType,
    Index,
    Module,
    OpError,
    Region,
    Rewriter,
    RewriteReport,
    Space,
    Type,
    UserError,
    Value,
    Yield,
)
from mcc.ops import Conv, Matmul, SumPool
from mcc.passes import Pass
from mcc.runtime import Target

from .emitting import Memories
from .layers import Product, read_layer
from .machines import target_named
from .moves import plan_move
from .products import plan_product
from .rolling import LoopShape, Node, Shape
from .structure import For, Kernel, Layer, dram_buffer


class Tile(Pass, name="accel-tile"):
    """Tiles each layer and writes its loops: accel.layer(x) -> accel.kernel(x, weights…)."""

    target: str = "riscv-accel"

    def run(self, module: Module, report: RewriteReport) -> Module:
        target = target_named(self.target)
        rewriter = Rewriter(module)
        for op in list(module.body):
            if isinstance(op, Layer):
                report.fired["tile"] += 1
                rewriter.replace(op, kernel(op, target).result)
        return module


def kernel(layer: Layer, target: Target) -> Kernel:
    """One layer's kernel, detached; `UserError` where the layer cannot fit the machine."""
    memories = Memories(target)
    try:
        found = read_layer(layer)
        planned = (
            plan_product(found, memories)
            if isinstance(found, Product)
            else plan_move(found, memories)
        )
    except OpError as error:
        raise UserError(
            f"the layer does not fit {target.name}: {error.message}",
            where=", ".join(layer.nodes) or layer.result.name or layer.op_name,
            remedy="Use a target with larger memories, or a smaller input shape.",
        ) from None
    name = layer.result.name or "layer"
    constants = {
        key: Constant(Data(array, f"{name}.{key}")).named(f"{name}.{key}").result
        for key, array in memories.constants.items()
    }
    operands = (*layer.xs, *constants.values())
    names = [*(f"x{i}" for i in range(len(layer.xs))), *constants, "y"]
    types: list[Type] = [dram_buffer(value.tensor.nbytes) for value in operands]
    types.append(dram_buffer(layer.result.tensor.nbytes))
    for memory in sorted(memories.used):
        names.append(memory)
        types.append(memory_type(memory, target))
    body = Region(types, names)
    _build(body, planned, dict(zip(names, body.args, strict=True)), ())
    body.append(Yield(()))
    return Kernel(operands, layer.result.tensor.dims, body, macs=macs(layer))


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


def macs(layer: Layer) -> int:
    """Multiply-accumulates that the model asks for."""
    total = 0
    for op in layer.body:
        if isinstance(op, Conv | Matmul):
            total += op.macs
        elif isinstance(op, SumPool):
            total += op.result.tensor.size * int(np.prod(op.kernel))
    return total


def _build(
    region: Region, nodes: Sequence[Node], memories: dict[str, Value], at: tuple[Value, ...]
) -> None:
    for node in nodes:
        _append(region, node.shape, iter(node.constants), memories, at)


def _append(
    region: Region,
    shape: Shape,
    constants: Iterator[int],
    memories: dict[str, Value],
    at: tuple[Value, ...],
) -> None:
    """One node as ops; `at` are the indices of the loops around it."""
    if isinstance(shape, LoopShape):
        body = Region((Index(),))
        for part in shape.body:
            _append(body, part, constants, memories, (*at, *body.args))
        body.append(Yield(()))
        region.append(For(shape.count, body))
        return
    # Only the loops that move one of its addresses concern a tile op.
    moving = [i for i in range(len(at)) if any(steps[i] for steps in shape.steps)]
    fields: dict[str, object] = dict(shape.fixed)
    for operand, memory in shape.buffers:
        fields[operand] = memories[memory]
    for name, steps in zip(shape.names, shape.steps, strict=True):
        fields[name] = (next(constants), *(steps[i] for i in moving))
    if moving:
        fields["at"] = tuple(at[i] for i in moving)
    region.append(shape.make(**fields))
