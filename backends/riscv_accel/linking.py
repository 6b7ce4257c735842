"""From kernels to one program: order, places in DRAM, commands, the module that launches."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mcc.backends import Lifetime, Placement, aligned, place
from mcc.ir import Constant, Module, Op, Progress, Value, Yield
from mcc.runtime import HostRecord, Launch, LayerRecord, Program, Target, TensorRecord, isa

from .cloning import clone, like_region
from .expand import expand
from .order import runs as runs_of
from .reasons import why_on_host
from .structure import Kernel


@dataclass(frozen=True)
class Linked:
    """A program, the module that launches it, and how its DRAM was planned."""

    program: Program
    module: Module
    kernels: tuple[Kernel, ...]
    activations: Placement
    constant_bytes: int


def link(module: Module, target: Target, progress: Progress | None = None) -> Linked:
    """Lay out DRAM, expand every kernel, and replace each run of kernels by a launch."""
    runs = runs_of(module)
    kernels = [op for run in runs for op in run if isinstance(op, Kernel)]
    constants, image_parts, constant_end = _place_constants(kernels)
    step_of: dict[Op, int] = {kernel: step for step, kernel in enumerate(kernels)}
    lifetimes = _lifetimes(runs, step_of, set(module.outputs))
    values = list(lifetimes)
    activations = place([lifetimes[value] for value in values], constant_end)
    places = dict(zip(values, activations.offsets, strict=True))
    image = np.zeros(constant_end + activations.peak, np.uint8)
    for offset, data in image_parts:
        image[offset : offset + data.size] = data

    names = _tensor_names(values)
    parts: list[isa.Commands] = []
    layers: list[LayerRecord] = []
    bounds: dict[int, tuple[int, int]] = {}
    position = 0
    for number, run in enumerate(runs):
        start = position
        for op in run:
            if not isinstance(op, Kernel):
                continue
            if progress is not None:
                progress("emitting", len(layers), len(kernels))
            offsets = {
                argument: constants[value] if value in constants else places[value]
                for argument, value in zip(op.body.args, (*op.xs, op.result), strict=False)
            }
            commands = expand(op, offsets)
            layers.append(
                LayerRecord(names[op.result], op.nodes, position, position + len(commands), op.macs)
            )
            parts.append(commands)
            position += len(commands)
        if position > start:
            # The host reads the results after the launch.
            parts.append(isa.Fence.pack())
            position += 1
        bounds[number] = (start, position)
    program = Program(
        commands=isa.concatenate(parts),
        image=image,
        tensors={names[value]: _record(value, places[value]) for value in values},
        layers=tuple(layers),
        host=tuple(
            HostRecord(op.op_name, op.results[0].name, op.nodes, why_on_host(op, target))
            for run in runs
            for op in run
            if not isinstance(op, Kernel | Yield)
        ),
    )
    launched = _launching(module, runs, bounds, places)
    return Linked(program, launched, tuple(kernels), activations, constant_end)


def _place_constants(
    kernels: list[Kernel],
) -> tuple[dict[Value, int], list[tuple[int, np.ndarray]], int]:
    """An offset for every constant operand, equal ones sharing; the bytes; the end."""
    offsets: dict[Value, int] = {}
    shared: dict[bytes, int] = {}
    parts: list[tuple[int, np.ndarray]] = []
    end = aligned(1)  # address 0 means padding
    for kernel in kernels:
        for value in kernel.xs:
            if not isinstance(value.op, Constant) or value in offsets:
                continue
            data = value.op.data
            if data.digest not in shared:
                shared[data.digest] = end
                raw = np.ascontiguousarray(data.array).reshape(-1).view(np.uint8)
                parts.append((end, raw))
                end += aligned(raw.size)
            offsets[value] = shared[data.digest]
    return offsets, parts, end


def _lifetimes(
    runs: list[list[Op]], step_of: Mapping[Op, int], outputs: set[Value]
) -> dict[Value, Lifetime]:
    """When each activation of the kernels must lie in DRAM, in steps of kernels."""
    found: dict[Value, Lifetime] = {}
    for run in runs:
        steps = [step_of[op] for op in run if op in step_of]
        if not steps:
            continue
        first, last = steps[0], steps[-1]
        inside = set(run)
        for op in run:
            assert isinstance(op, Kernel)
            for value in op.xs:
                if isinstance(value.op, Constant):
                    continue
                # What the host makes is written when the launch starts.
                known = found.get(value, Lifetime(value.tensor.nbytes, first, step_of[op]))
                end = max(step_of[op], known.last)
                found[value] = Lifetime(known.nbytes, known.first, end)
            result = op.result
            leaves = result in outputs or any(user not in inside for user in result.uses)
            here = step_of[op]
            found[result] = Lifetime(result.tensor.nbytes, here, last if leaves else here)
    return found


def _tensor_names(values: list[Value]) -> dict[Value, str]:
    """Every value's own name, or a made-up one."""
    names: dict[Value, str] = {}
    taken: set[str] = set()
    for number, value in enumerate(values):
        name = value.name or f"#{number}"
        while name in taken:
            name = f"{name}#{number}"
        taken.add(name)
        names[value] = name
    return names


def _record(value: Value, offset: int) -> TensorRecord:
    quant = value.quant
    return TensorRecord(
        offset,
        value.tensor.dims,
        value.axes,
        quant.scale if quant else (),
        quant.zero if quant else (),
    )


def _launching(
    module: Module,
    runs: list[list[Op]],
    bounds: Mapping[int, tuple[int, int]],
    places: Mapping[Value, int],
) -> Module:
    """The module with a launch for each run of kernels."""
    mapping: dict[Value, Value] = {}
    body = like_region(module.body, mapping)
    for op in module.body:
        if isinstance(op, Constant) and any(
            not isinstance(user, Kernel) for user in op.result.uses
        ):
            body.append(clone(op, mapping))
    outputs = set(module.outputs)
    for number, run in enumerate(runs):
        if not isinstance(run[0], Kernel):
            for op in run:
                body.append(clone(op, mapping))
            continue
        body.append(_launch(run, bounds[number], places, outputs, mapping))
    body.append(Yield(tuple(mapping[value] for value in module.outputs)))
    launched = Module(module.name, body, module.output_names)
    launched.meta.update(module.meta)
    return launched


def _launch(
    run: list[Op],
    bounds: tuple[int, int],
    places: Mapping[Value, int],
    outputs: set[Value],
    mapping: dict[Value, Value],
) -> Launch:
    made = {op.results[0] for op in run}
    needed = dict.fromkeys(
        value
        for op in run
        for value in op.operands
        if value not in made and not isinstance(value.op, Constant)
    )
    inside = set(run)
    # All that leaves goes through the host, also what a later launch reads.
    leaving = [
        op.results[0]
        for op in run
        if op.results[0] in outputs or any(user not in inside for user in op.results[0].uses)
    ]
    launch = Launch(
        tuple(mapping[value] for value in needed),
        *bounds,
        tuple(places[value] for value in needed),
        tuple(places[value] for value in leaving),
        tuple(value.tensor.dims for value in leaving),
    )
    nodes = dict.fromkeys(node for op in run for node in op.nodes)
    launch.named("", tuple(nodes))
    for old, new in zip(leaving, launch.results, strict=True):
        mapping[old] = new.like(old)
    return launch
