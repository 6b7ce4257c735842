"""Where the values of a program's host part live in the C code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mcc.backends import Lifetime, place
from mcc.ir import Constant, Module, Op, Value, Yield
from mcc.ops import Reshape
from mcc.runtime import Launch


@dataclass(frozen=True)
class Places:
    """A C expression for the first byte of every value that the host part touches."""

    of: Mapping[Value, str]
    in_arena: frozenset[Value]
    """Operands of launches that their producer writes in place."""
    host_bytes: int
    """Of the buffer that holds what is neither in the arena nor the caller's."""
    host_lower_bound: int
    leaving: Mapping[Value, str]
    """Outputs that no op writes into the caller's buffer, with that buffer."""

    def __getitem__(self, value: Value) -> str:
        return self.of[root(value)]


def root(value: Value) -> Value:
    """The value whose bytes these are: reshapes move none."""
    while isinstance(value.op, Reshape):
        value = value.op.x
    return value


@dataclass(frozen=True)
class _Span:
    """Bytes of the arena that hold a value while ops `first` to `last` run."""

    first: int
    last: int
    offset: int
    size: int

    def meets(self, other: "_Span") -> bool:
        apart = self.last < other.first or other.last < self.first
        disjoint = (
            self.offset + self.size <= other.offset or other.offset + other.size <= self.offset
        )
        return not (apart or disjoint)


def place_values(
    module: Module,
    inputs: Mapping[Value, str],
    outputs: Sequence[str],
    constants: Mapping[Value, str],
    constant_end: int,
) -> Places:
    """Give every value a place.

    Results of a launch are read where they lie in the arena as long as no later launch runs;
    others, and what host ops make, lie in a buffer of the host, planned by lifetime. What a launch
    reads is written in place where the arena is free for it.

    Args:
        module: A linked program: host ops and launches.
        inputs: The C names of the module's inputs.
        outputs: The C names of its outputs, in order.
        constants: The C names of the constants that host ops read.
        constant_end: DRAM addresses from here on are in the arena.
    """
    ops = [op for op in module.body if not isinstance(op, Constant | Yield | Reshape)]
    order = {op: number for number, op in enumerate(ops)}
    launches = [number for number, op in enumerate(ops) if isinstance(op, Launch)]
    last_use = _last_uses(module, order, len(ops))
    of: dict[Value, str] = {**inputs, **constants}

    spans: list[_Span] = []
    copied: set[Value] = set()
    for number in launches:
        launch = ops[number]
        assert isinstance(launch, Launch)
        until = next((later for later in launches if later > number), len(ops) + 1)
        for value, offset in zip(launch.results, launch.outputs, strict=True):
            last = last_use.get(value, number)
            if last < until:
                of[value] = f"ARENA_BYTES({offset - constant_end})"
                spans.append(_Span(number, last, offset, value.tensor.nbytes))
            else:
                copied.add(value)

    wanted = dict.fromkeys(module.outputs)
    in_arena: set[Value] = set()
    for number in launches:
        launch = ops[number]
        assert isinstance(launch, Launch)
        for operand, offset in zip(launch.xs, launch.inputs, strict=True):
            value = root(operand)
            made = order.get(value.op) if value.op is not None else None
            if (
                made is None
                or value in of
                or value in copied
                or any(root(output) is value for output in wanted)
                or last_use[value] > number
                or any(made < other < number for other in launches)
            ):
                continue
            span = _Span(made, number, offset, value.tensor.nbytes)
            if not any(span.meets(other) for other in spans):
                of[value] = f"ARENA_BYTES({offset - constant_end})"
                spans.append(span)
                in_arena.add(value)

    leaving: dict[Value, str] = {}
    for value, name in zip(module.outputs, outputs, strict=True):
        source = root(value)
        if source not in of and source.op in order and not isinstance(source.op, Launch):
            of[source] = name
        else:
            leaving[value] = name

    free = [
        value
        for op in ops
        for value in op.results
        if value not in of and (not isinstance(op, Launch) or value in copied)
    ]
    lifetimes = [
        Lifetime(
            value.tensor.nbytes,
            order[value.op] if value.op is not None else 0,
            last_use.get(value, order[value.op] if value.op is not None else 0),
        )
        for value in free
    ]
    planned = place(lifetimes, 0)
    for value, offset in zip(free, planned.offsets, strict=True):
        of[value] = f"HOST_BYTES({offset})"
    return Places(of, frozenset(in_arena), planned.peak, planned.lower_bound, leaving)


def _last_uses(module: Module, order: Mapping[Op, int], end: int) -> dict[Value, int]:
    """The number of the last op that reads each value's bytes; `end` for outputs."""
    found: dict[Value, int] = {}
    for op, number in order.items():
        for operand in op.operands:
            value = root(operand)
            found[value] = max(found.get(value, 0), number)
    for value in module.outputs:
        found[root(value)] = end
    return found
