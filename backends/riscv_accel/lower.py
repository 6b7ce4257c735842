"""Stage `tiled`: each run of layers becomes a kernel, with loops over the machine's memories."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mcc.ir import (
    Constant,
    Data,
    Module,
    Op,
    Region,
    RewriteReport,
    Type,
    Value,
    Yield,
)
from mcc.ops import Conv, Matmul, SumPool
from mcc.passes import Pass
from mcc.runtime import Target

from .cloning import clone, like_region
from .course import Course, kept
from .emitting import Shared
from .held import Held
from .machines import target_named
from .order import runs
from .planning import Planned, planned
from .rolling import Node, tile
from .steps import Step, in_order
from .strips import Chained
from .structure import Kernel, Layer, Ready, dram_buffer
from .writing import Writer, memory_type


class Tile(Pass, name="accel-tile"):
    """Tiles each run of layers and writes its loops: accel.layer(x)… -> accel.kernel(x, weights…).

    Ops are put in the order in which they run.
    """

    target: str = "riscv-accel"

    def run(self, module: Module, report: RewriteReport) -> Module:
        target = target_named(self.target)
        mapping: dict[Value, Value] = {}
        body = like_region(module.body, mapping)
        for op in module.body:
            if isinstance(op, Constant):
                body.append(clone(op, mapping))
        every = list(runs(module))
        found = [planned_run(run, target) for run in every]
        part = kept([plan for one in found for plan in one.plans], target)
        for run, one in zip(every, found, strict=True):
            report.fired["tile"] += len(one.plans)
            if one.plans:
                kernel(one, part, body, mapping)
                continue
            for op in run:
                body.append(clone(op, mapping))
        body.append(Yield(tuple(mapping[value] for value in module.outputs)))
        tiled = Module(module.name, body, module.output_names)
        tiled.meta.update(module.meta)
        return tiled


@dataclass(frozen=True)
class Run:
    """Layers that become one kernel."""

    plans: Sequence[Planned]
    held: Mapping[Value, Held]
    """What stays on the chip."""
    sources: Sequence[Value]
    """What they read of others."""
    names: Mapping[Value, str]
    """Of these and of their results."""
    shared: Shared


def planned_run(run: Sequence[Op], target: Target) -> Run:
    """What is decided about a run's layers; nothing for one of other ops.

    Raises:
        UserError: where a layer cannot fit the machine.
    """
    layers = [op for op in run if isinstance(op, Layer)]
    results = [layer.result for layer in layers]
    sources = list(dict.fromkeys(x for layer in layers for x in layer.xs if x not in set(results)))
    names = _names([*sources, *results])
    shared = Shared(target)
    plans, held = planned(layers, names, shared) if layers else ([], {})
    return Run(plans, held, sources, names, shared)


def kernel(run: Run, part: float, body: Region, mapping: dict[Value, Value]) -> Kernel:
    """Appends a run of layers to `body` as one kernel, whose results enter the mapping.

    `part` of old lines is in the cache when an inference begins.

    Raises:
        UserError: where a layer cannot fit the machine.
    """
    plans, names, shared, target = run.plans, run.names, run.shared, run.shared.target
    layers = [plan.layer for plan in plans]
    results, sources, held = [layer.result for layer in layers], run.sources, run.held
    nodes = in_order(_steps(run, part), target.machine)
    stored = [value for value in results if value not in held]
    rings = {
        name: size
        for plan in plans
        if isinstance(plan.found, Chained)
        for name, size in plan.found.strips.rings(plan.memories.output).items()
    }
    constants = [
        body.append(Constant(Data(array, name)).named(name)).result
        for name, array in shared.constants.items()
    ]
    operands = (*(mapping[value] for value in sources), *constants)
    keys = [*(names[value] for value in sources), *shared.constants]
    keys += [*(names[value] for value in stored), *rings]
    types: list[Type] = [dram_buffer(value.tensor.nbytes) for value in (*operands, *stored)]
    types += [dram_buffer(size) for size in rings.values()]
    for memory in sorted(shared.used):
        keys.append(memory)
        types.append(memory_type(memory, target))
    region = Region(types, keys)
    origins = {names[layer.result]: layer.nodes for layer in layers}
    Writer(dict(zip(keys, region.args, strict=True)), origins).write(region, nodes)
    region.append(Yield(()))
    shapes = [value.tensor.dims for value in stored] + [(size,) for size in rings.values()]
    made = Kernel(operands, tuple(shapes), region)
    for old, new in zip(stored, made.results, strict=False):
        mapping[old] = new.like(old)
    made.named(stored[0].name, tuple(dict.fromkeys(n for layer in layers for n in layer.nodes)))
    return body.append(made)


def _names(values: Sequence[Value]) -> dict[Value, str]:
    """Every value's own name, or a made-up one; none that a memory of the machine has."""
    taken = {"scratchpad", "accumulator", "multipliers", "tables"}
    names: dict[Value, str] = {}
    for number, value in enumerate(values):
        name = value.name or f"#{number}"
        while name in taken:
            name = f"{name}#{number}"
        taken.add(name)
        names[value] = name
    return names


def _steps(run: Run, part: float) -> Iterator[Step]:
    """The steps of all layers, each layer's last one saying what is ready then."""
    course = Course(run.plans, run.shared, part)
    for plan, _ in course.layers():
        last: Step | None = None
        for step in course.follow(plan):
            if last is not None:
                yield last
            last = step
        assert last is not None, "a layer has a step"
        last.ready = _ready(plan, run.names)
        yield last


def _ready(plan: Planned, names: Mapping[Value, str]) -> Node:
    """The op that says that a layer's result is complete."""
    result, held = plan.layer.result, plan.memories.held
    quant = result.quant
    return tile(
        Ready,
        {"memory": plan.memories.output},
        {},
        tensor=names[result],
        shape=result.tensor.dims,
        macs=macs(plan.layer),
        axes=result.axes or (),
        scale=quant.scale if quant else (),
        zero=quant.zero if quant else (),
        frame=held.frame.numbers() if held is not None else (),
    )


def macs(layer: Layer) -> int:
    """Multiply-accumulates that the model asks for."""
    total = 0
    for op in layer.body:
        if isinstance(op, Conv | Matmul):
            total += op.macs
        elif isinstance(op, SumPool):
            total += op.result.tensor.size * int(np.prod(op.kernel))
    return total
