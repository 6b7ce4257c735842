"""A module as a sequence of kernel calls on flat arrays."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np

from mcc.ir import (
    Array,
    Constant,
    DType,
    Module,
    Op,
    Tensor,
    UserError,
    Value,
    Yield,
    known_names,
)
from mcc.ops import Cast, Concat, Conv, Expand, Matmul, Pad, Reshape, Slice, Transpose
from mcc.passes import is_rounded

from .blocking import Blocking
from .fuse import absorbed_values
from .machine import Machine
from .problem import Problem
from .registry import ELEMENTWISE, LOWERINGS, Strides, contiguous
from .storage import STORABLE, Slot, outside_heap, stored
from .tail import Anchor, Apply, Leaf, Node, Operand, Tail
from .tir import Buffer, Expr, Writer

Write = Callable[[Writer, tuple[Buffer, ...], Buffer], None]
"""`write(writer, inputs, output)`: the body of one kernel."""


@dataclass(frozen=True)
class Call:
    """One kernel call."""

    name: str
    write: Write
    inputs: tuple[Slot, ...]
    output: Slot
    replaceable: tuple[int, ...] = ()
    """Inputs in whose memory the output may be written: an element of theirs is read just before
    the output's element at the same place is stored, and by nobody else."""
    failure: str = ""
    """What is wrong with an operand where the kernel refuses it."""
    continued: int | None = None
    """The input in whose memory the output must be written: an array of which earlier calls have
    stored parts, which this one neither reads nor changes."""


@dataclass(frozen=True)
class Halo:
    """A border that the only reader of a value needs around it."""

    before: tuple[int, ...]
    """Elements along each axis of the value."""
    after: tuple[int, ...]
    value: float | int


@dataclass(frozen=True)
class Part:
    """Where a value lies in the concatenation that alone reads it."""

    whole: Value
    strides: Strides
    """Of the value's axes, in the concatenation."""
    origin: int
    """Its first element."""


@dataclass(frozen=True)
class Origin:
    """The value that a call, with others perhaps, computes."""

    value: Value
    nodes: tuple[str, ...]
    """The ONNX nodes that are computed with it."""


@dataclass
class Plan:
    """All calls in order, and where each value of the module lies."""

    inputs: list[Slot] = field(default_factory=list[Slot])
    calls: list[Call] = field(default_factory=list[Call])
    slots: dict[Value, Slot] = field(default_factory=dict[Value, Slot])
    fused: dict[Value, Value] = field(default_factory=dict[Value, Value])
    """A value that is never stored -> the value in whose kernel it is computed."""
    flags: set[str] = field(default_factory=set[str])
    """Flags of /proc/cpuinfo for the instructions that kernels ask for by name."""
    origins: list[Origin] = field(default_factory=list[Origin])
    """For each call what it is part of."""
    problems: dict[Problem, Sequence[Blocking]] = field(
        default_factory=dict[Problem, "Sequence[Blocking]"]
    )
    """Kernels whose block was chosen, and the candidates; the first is chosen without tuning."""


class Planner:
    """What lowering rules work with: slots of values, constants, kernel calls."""

    def __init__(self, machine: Machine, tuned: Mapping[str, Blocking]) -> None:
        self.machine = machine
        self._tuned = tuned
        self.plan = Plan()
        self.halos: dict[Value, Halo] = {}
        """Values whose kernel should write a border, for the sake of what reads them."""
        self.bordered: dict[Value, tuple[Halo, Slot]] = {}
        """Those that have been stored with it."""
        self.parts: dict[Value, Part] = {}
        """Values whose kernel may store them where a concatenation wants them."""
        self.joined: dict[Value, Slot] = {}
        """Concatenations of which parts have been stored, with the last call's array."""
        self.placed: set[Value] = set()
        """Those parts."""
        self._constants: dict[bytes, Slot] = {}

    def require(self, *flags: str) -> None:
        """Note that a kernel needs what these flags of /proc/cpuinfo stand for."""
        self.plan.flags.update(flags)

    def choose(
        self, op: Conv | Matmul, candidates: Sequence[Blocking], *, tiles: bool = False
    ) -> Blocking:
        """What tuning found for an op, if it is among the candidates; else the first of them."""
        problem = Problem.of(op, tiles=tiles)
        self.plan.problems[problem] = candidates
        found = self._tuned.get(problem.key)
        return found if found is not None and found in candidates else candidates[0]

    def slot(self, value: Value) -> Slot:
        """Where a value that is computed already lies."""
        return self.plan.slots[value]

    def define(self, value: Value, slot: Slot) -> None:
        self.plan.slots[value] = slot

    def constant(self, array: Array) -> Slot:
        """A flat constant; equal arrays share one."""
        flat = np.ascontiguousarray(array).reshape(-1)
        if flat.dtype == np.bool_:
            flat = flat.view(np.uint8)
        if not flat.size:
            flat = np.zeros(1, flat.dtype)
        key = blake2b(flat.dtype.name.encode())
        key.update(flat.view(np.uint8).data)
        if (digest := key.digest()) not in self._constants:
            self._constants[digest] = Slot(flat.dtype.name, flat.size, outside_heap(flat))
        return self._constants[digest]

    def call(
        self,
        name: str,
        write: Write,
        inputs: tuple[Slot, ...],
        dtype: str,
        size: int,
        *,
        replaceable: tuple[int, ...] = (),
        failure: str = "",
    ) -> Slot:
        """A kernel that makes a new array of `size` elements."""
        output = Slot(dtype, max(1, size))
        self.plan.calls.append(Call(name, write, inputs, output, replaceable, failure))
        return output

    def join(
        self, whole: Value, name: str, write: Write, inputs: tuple[Slot, ...], dtype: str
    ) -> Slot:
        """A kernel that stores some parts of a concatenation and leaves those that are there."""
        output = Slot(dtype, max(1, whole.tensor.size))
        before = self.joined.get(whole)
        continued = None if before is None else len(inputs)
        every = inputs if before is None else (*inputs, before)
        self.plan.calls.append(Call(name, write, every, output, continued=continued))
        self.joined[whole] = output
        return output

    def finish(
        self,
        tail: Tail,
        name: str,
        write: Write,
        inputs: tuple[Slot, ...],
        *,
        in_place: bool = False,
    ) -> None:
        """The kernel that stores a tail's value; it reads `inputs`, then the tail's operands.

        `in_place`: it reads operands of the tail only where and when it stores an element.
        """
        every = (*inputs, *(operand.slot for operand in tail.operands))
        dtype, size = stored(tail.value.tensor.dtype), tail.value.tensor.size
        ours = contiguous(tail.shape)
        moving = [axis for axis, extent in enumerate(tail.shape) if extent > 1]
        replaceable = tuple(
            number
            for number, operand in enumerate(tail.operands, start=len(inputs))
            if in_place
            and len(operand.strides) == len(ours)
            and all(operand.strides[axis] == ours[axis] for axis in moving)
            and (operand.slot.dtype, operand.slot.size) == (dtype, size)
            and every.count(operand.slot) == 1
        )
        slot = self.call(name, write, every, dtype, size, replaceable=replaceable)
        self.define(tail.value, slot)


def plan_module(
    module: Module, machine: Machine, tuned: Mapping[str, Blocking] | None = None
) -> Plan:
    """Lower every op; the module has been through `refuse_unsupported`.

    `tuned` gives blocks that were measured, by the key of the problem.
    """
    planner = Planner(machine, tuned or {})
    for value in module.inputs:
        slot = Slot(stored(value.tensor.dtype), max(1, value.tensor.size))
        planner.plan.inputs.append(slot)
        planner.define(value, slot)
    absorbed = absorbed_values(module)
    from .kernels import choose_chains, halos_of, parts_of, write_strips

    planner.halos, planner.parts = halos_of(module), parts_of(module)
    chains = choose_chains(module, absorbed, machine)
    for chain in chains:
        for link in chain[:-1]:
            planner.halos.pop(link.value, None)
    homes = {link.value: chain[-1].value for chain in chains for link in chain}
    held: dict[Value, list[tuple[Conv, Tail]]] = {}
    for op in module.body:
        if (
            isinstance(op, Yield)
            or op.results[0] in absorbed
            or op.results[0] in planner.plan.slots
        ):
            continue  # computed with another
        if isinstance(op, Constant):
            planner.define(op.result, planner.constant(op.data.array))
            continue
        anchor, tail = _grow(op, absorbed, planner)
        into = homes.get(tail.value, tail.value)
        for value in tail.fused:
            planner.plan.fused[value] = into
        nodes = _nodes(op, anchor, tail)
        if tail.value in homes:
            assert isinstance(anchor, Conv)
            parts = held.setdefault(into, [])
            parts.append((anchor, tail))
            if tail.value is not into:
                planner.plan.fused[tail.value] = into
                continue  # computed with the last of its chain
            nodes = [node for part in parts for node in _nodes(part[1].value.op, *part)]
            write_strips(planner, parts)
        elif anchor is None:
            from .kernels import write_elementwise

            write_elementwise(planner, tail)
        else:
            LOWERINGS[type(anchor)].write(anchor, planner, tail)
        origin = Origin(op.results[0], tuple(dict.fromkeys(nodes)))
        plan = planner.plan
        plan.origins.extend([origin] * (len(plan.calls) - len(plan.origins)))
    return planner.plan


def _nodes(root: Op | None, anchor: Op | None, tail: Tail) -> list[str]:
    """The ONNX nodes that a kernel computes, perhaps with others."""
    ops = [anchor, *(value.op for value in reversed(tail.fused)), root]
    return [node for op in ops if op is not None for node in op.nodes]


def _grow(root: Op, absorbed: set[Value], planner: Planner) -> tuple[Op | None, Tail]:
    """The anchor below `root`, if one is, and the expression above it."""
    operands: list[Operand] = []
    leaves: dict[tuple[Value, Strides, bool], Leaf] = {}
    nodes: dict[Op, Node] = {}
    fused: list[Value] = []
    anchors: list[Op] = []
    scalar = False

    def visit(op: Op) -> Node:
        if op not in nodes:
            nodes[op] = grown(op)
        return nodes[op]

    def grown(op: Op) -> Node:
        nonlocal scalar
        rule = ELEMENTWISE.get(type(op))
        if rule is None:
            anchors.append(op)
            return Anchor()
        scalar = scalar or rule.scalar(op)
        arguments: list[Node] = []
        for number, operand in enumerate(op.operands):
            if operand in absorbed and operand.op is not None:
                if operand.op not in nodes:
                    fused.append(operand)
                arguments.append(visit(operand.op))
                continue
            whole = number in rule.whole
            strides: Strides = () if whole else rule.align(op, number, operand)
            key = operand, strides, whole
            if key not in leaves:
                operands.append(Operand(planner.slot(operand), strides))
                leaves[key] = Leaf(len(operands) - 1, whole)
            arguments.append(leaves[key])
        return Apply(_meaning(rule.meaning, op), tuple(arguments))

    node = visit(root)
    tail = Tail(root.results[0], node, operands, scalar, tuple(fused))
    return (anchors[0] if anchors else None), tail


def _meaning(meaning: Callable[..., object], op: Op) -> Callable[..., Expr]:
    def write(writer: Writer, *arguments: Expr | Buffer) -> Expr:
        made = meaning(op, writer, *arguments)
        assert isinstance(made, Expr)
        return made

    return write


_MOVES = (Cast, Concat, Expand, Pad, Reshape, Slice, Transpose)
"""What may make a bfloat16: ops that compute on it would take its bits for an integer."""


def refuse_unsupported(module: Module, machine: Machine) -> None:
    """Raise one `UserError` that lists every op without a kernel, before anything is built."""
    _refuse_short_products(module, machine)
    problems = list(_problems(module))
    if problems:
        raise UserError(
            "the cpu backend cannot compile: " + "; ".join(problems),
            remedy="Kernels can be registered for op classes (docs/cpu.md); "
            + known_names(cls.op_name for cls in (*ELEMENTWISE, *LOWERINGS)),
        )


def _refuse_short_products(module: Module, machine: Machine) -> None:
    products = (op for op in module.body if isinstance(op, Conv | Matmul))
    if not machine.amx_bf16 and any(is_rounded(op.x) for op in products):
        raise UserError(
            f"{machine.cpu or machine.triple} has no products of bfloat16 (AMX)",
            remedy="compile without --precision bf16, or for a processor with amx-bf16",
        )


def _problems(module: Module) -> Iterator[str]:
    for value in module.inputs:
        yield from _type_problem(value, f"input {value.name}")
    for op in module.body:
        if isinstance(op, Yield):
            continue
        origin = f" (ONNX node {', '.join(op.nodes)})" if op.nodes else ""
        if not isinstance(op, Constant) and not (type(op) in ELEMENTWISE or type(op) in LOWERINGS):
            yield f"{op.op_name}{origin}"
            continue
        for value in op.results:
            short = isinstance(value.type, Tensor) and value.tensor.dtype is DType.BF16
            if short and not isinstance(op, (Constant, *_MOVES)):
                yield f"{op.op_name}{origin}: no kernels for bf16"
                continue
            yield from _type_problem(value, f"{op.op_name}{origin}")


def _type_problem(value: Value, what: str) -> Iterator[str]:
    if not isinstance(value.type, Tensor):
        yield f"{what}: {value.type} is no tensor"
    elif value.tensor.dtype not in STORABLE:
        yield f"{what}: no kernels for {value.tensor.dtype}"
    elif any(not isinstance(dim, int) for dim in value.tensor.shape):
        yield f"{what}: {value.tensor} has a symbolic dimension"
