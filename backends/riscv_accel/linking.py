"""From kernels to one program: order, places in DRAM, commands, the module that launches."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from mcc.backends import Lifetime, Placement, aligned, place
from mcc.ir import Constant, Module, Op, Progress, Value, Yield
from mcc.runtime import HostRecord, Launch, LayerRecord, Program, Target, TensorRecord, isa

from .cloning import clone, like_region
from .expand import length, width
from .issuing import Issue
from .reasons import why_on_host
from .structure import For, Kernel, Ready


@dataclass(frozen=True)
class Section:
    """The ops at a kernel's top level that end with one layer's tensor."""

    kernel: Kernel
    ops: tuple[Op, ...]
    ready: Ready


@dataclass(frozen=True)
class Linked:
    """A program, the module that launches it, and how its DRAM was planned."""

    program: Program
    module: Module
    sections: tuple[Section, ...]
    """One for each layer of the program."""
    activations: Placement
    constant_bytes: int
    queue: isa.Records
    """The records of the machine's command queue, the last that lies in DRAM."""

    @property
    def queue_start(self) -> int:
        """The address of the first one."""
        return len(self.program.image) - self.queue.nbytes


def link(module: Module, target: Target, progress: Progress | None = None) -> Linked:
    """Lay out DRAM, expand every kernel, and replace it by a launch."""
    kernels = [op for op in module.body if isinstance(op, Kernel)]
    sections = [section for kernel in kernels for section in _sections(kernel)]
    constants, image_parts, constant_end = _place_constants(kernels)
    lifetimes = _lifetimes(kernels, set(module.outputs))
    values = list(lifetimes)
    activations = place([lifetimes[value] for value in values], constant_end)
    places = dict(zip(values, activations.offsets, strict=True))
    issue = Issue(target, aligned(constant_end + activations.peak))
    tensors, names = _tensors(kernels, sections, places)
    layers: list[LayerRecord] = []
    bounds: dict[Kernel, tuple[int, int]] = {}
    position = 0
    for kernel in kernels:
        if progress is not None:
            progress("emitting", len(layers), len(sections))
        offsets = {
            argument: constants[value] if value in constants else places[value]
            for value, argument in kernel.places
        }
        found = _sections(kernel)
        records = issue.kernel(kernel, [section.ops for section in found], offsets)
        start, position = position, position + issue.starts
        end = position + length(kernel.body) + 1
        for section, span in zip(found, records, strict=True):
            stop = position + sum(width(op) for op in section.ops)
            ready = section.ready
            layers.append(LayerRecord(names[ready], ready.nodes, position, stop, ready.macs, span))
            position = stop
        position = end
        bounds[kernel] = start, end
    issued, queue = issue.finished()
    image = np.zeros(issue.queue_start + queue.nbytes, np.uint8)
    for offset, data in [*image_parts, (issue.queue_start, queue.view(np.uint8))]:
        image[offset : offset + data.size] = data
    program = Program(
        issued=issued,
        image=image,
        tensors=tensors,
        layers=tuple(layers),
        host=tuple(
            HostRecord(op.op_name, op.results[0].name, op.nodes, why_on_host(op, target))
            for op in module.body
            if not isinstance(op, Kernel | Constant | Yield)
        ),
    )
    launched = _launching(module, bounds, places)
    return Linked(program, launched, tuple(sections), activations, constant_end, queue)


def _sections(kernel: Kernel) -> list[Section]:
    """A kernel's ops layer by layer; what follows the last tensor belongs to none."""
    found: list[Section] = []
    ops: list[Op] = []
    for op in kernel.body:
        ops.append(op)
        if isinstance(op, Ready):
            found.append(Section(kernel, tuple(ops), op))
            ops = []
    return found


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


def _lifetimes(kernels: list[Kernel], outputs: set[Value]) -> dict[Value, Lifetime]:
    """When each activation of the kernels must lie in DRAM, in ops at their top level."""
    found: dict[Value, Lifetime] = {}
    start = 0
    for kernel in kernels:
        touched, stop = _touched(kernel, start)
        for value, argument in kernel.places:
            if isinstance(value.op, Constant):
                continue
            first, last = touched.get(argument, (start, start))
            if value.op is not kernel:
                first = start  # it is written when the launch starts
            elif value in outputs or value.uses:
                last = stop  # all that leaves is read after the launch
            known = found.get(value, Lifetime(value.tensor.nbytes, first, last))
            found[value] = Lifetime(known.nbytes, min(known.first, first), max(known.last, last))
        start = stop + 1
    return found


def _touched(kernel: Kernel, start: int) -> tuple[dict[Value, tuple[int, int]], int]:
    """The first and last op, from `start` on, that touches each argument; the number of the end."""
    found: dict[Value, tuple[int, int]] = {}
    number = start
    for op in kernel.body:
        for value in _operands(op):
            found[value] = found.get(value, (number, number))[0], number
        number += 1
    return found, number


def _operands(op: Op) -> Iterator[Value]:
    yield from op.operands
    if isinstance(op, For):
        for inner in op.body:
            yield from _operands(inner)


def _tensors(
    kernels: list[Kernel], sections: list[Section], places: Mapping[Value, int]
) -> tuple[dict[str, TensorRecord], dict[Ready, str]]:
    """The record of every tensor under a name of its own, and the names of the layers' tensors."""
    records: dict[str, TensorRecord] = {}
    names: dict[Ready, str] = {}
    held = {memory: places.get(value) for kernel in kernels for value, memory in kernel.places}

    def add(name: str, record: TensorRecord) -> str:
        while name in records:
            name = f"{name}#{len(records)}"
        records[name] = record
        return name

    for section in sections:
        ready = section.ready
        offset = None if ready.frame else held[ready.memory]
        record = TensorRecord(
            -1 if offset is None else offset,
            ready.shape,
            ready.axes or None,
            ready.scale,
            ready.zero,
            ready.frame,
        )
        names[ready] = add(ready.tensor, record)
    made = {value for kernel in kernels for value in kernel.results}
    for value, offset in places.items():
        if value not in made:
            quant = value.quant
            notes = (quant.scale, quant.zero) if quant else ((), ())
            add(value.name, TensorRecord(offset, value.tensor.dims, value.axes, *notes))
    return records, names


def _launching(
    module: Module, bounds: Mapping[Kernel, tuple[int, int]], places: Mapping[Value, int]
) -> Module:
    """The module with a launch for each kernel."""
    mapping: dict[Value, Value] = {}
    body = like_region(module.body, mapping)
    outputs = set(module.outputs)
    for op in module.body:
        if isinstance(op, Kernel):
            body.append(_launch(op, bounds[op], places, outputs, mapping))
        elif not isinstance(op, Constant) or any(
            not isinstance(user, Kernel) for user in op.result.uses
        ):
            body.append(clone(op, mapping))
    launched = Module(module.name, body, module.output_names)
    launched.meta.update(module.meta)
    return launched


def _launch(
    kernel: Kernel,
    bounds: tuple[int, int],
    places: Mapping[Value, int],
    outputs: set[Value],
    mapping: dict[Value, Value],
) -> Launch:
    needed = [value for value in kernel.xs if not isinstance(value.op, Constant)]
    # All that leaves goes through the host, also what a later launch reads.
    leaving = [value for value in kernel.results if value in outputs or value.uses]
    launch = Launch(
        tuple(mapping[value] for value in needed),
        *bounds,
        tuple(places[value] for value in needed),
        tuple(places[value] for value in leaving),
        tuple(value.tensor.dims for value in leaving),
    )
    launch.named("", kernel.nodes)
    for old, new in zip(leaving, launch.results, strict=True):
        mapping[old] = new.like(old)
    return launch
