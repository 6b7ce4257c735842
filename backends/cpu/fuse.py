"""Which ops share a kernel: element-wise ops join the op that computes their operand.

Only values that nobody reads outside of the kernel are fused away, and none that a user compares
tensor by tensor: outputs, and the 8-bit integers of a quantized model. Nor the 16-bit floats that
products read.
"""

from dataclasses import dataclass, field

from mcc.ir import DType, Module, Op, Value

from .registry import ELEMENTWISE, LOWERINGS, broadcast

_LARGEST = 32
"""Ops in one kernel; more make the code long and gain nothing."""


@dataclass
class _Group:
    """The ops that one kernel computes, and what they read from outside, in order."""

    ops: dict[Op, None]
    reads: dict[Value, None] = field(default_factory=dict[Value, None])
    anchored: bool = False
    """Whether one of them has a kernel of its own."""
    scalar: bool = False
    """Whether they are computed one element at a time."""

    def may_take(self, other: "_Group") -> bool:
        if len(self.ops) + len(other.ops) > _LARGEST:
            return False
        # Kernels with registers full of vectors cannot compute element by element.
        if other.anchored and (self.anchored or self.scalar):
            return False
        return not (other.scalar and self.anchored)

    def take(self, other: "_Group", value: Value) -> None:
        """Join with the group that computes `value`."""
        self.ops |= other.ops
        del self.reads[value]
        self.reads |= other.reads
        self.anchored = self.anchored or other.anchored
        self.scalar = self.scalar or other.scalar


def absorbed_values(module: Module) -> set[Value]:
    """The values that are computed inside the kernel of those who read them."""
    absorbed: set[Value] = set()
    groups: dict[Op, _Group] = {}
    for op in module.body:
        if type(op) not in ELEMENTWISE:
            continue
        group = _Group({op: None}, dict.fromkeys(op.operands))
        group.scalar = ELEMENTWISE[type(op)].scalar(op)
        # What is taken in may have been the last reader outside of another value.
        while value := _next(group, groups):
            absorbed.add(value)
            group.take(_group_of(value, groups), value)
        groups[op] = group
    return absorbed


def _next(group: _Group, groups: dict[Op, _Group]) -> Value | None:
    """A value whose computation may join the group of its readers."""
    return next(
        (
            value
            for value in group.reads
            if _may_vanish(value, group) and group.may_take(_group_of(value, groups))
        ),
        None,
    )


def _group_of(value: Value, groups: dict[Op, _Group]) -> _Group:
    producer = value.op
    assert producer is not None
    return groups.get(producer) or _Group({producer: None}, anchored=True)


def _may_vanish(value: Value, group: _Group) -> bool:
    producer = value.op
    if producer is None or len(value.uses) > _LARGEST:
        return False
    if any(reader not in group.ops for reader in value.uses):
        return False
    if value.tensor.dtype in (DType.I8, DType.U8, DType.BF16):
        return False
    lowering = LOWERINGS.get(type(producer))
    if type(producer) not in ELEMENTWISE and (lowering is None or not lowering.fuses):
        return False
    return all(_reads_in_place(reader, value) for reader in value.uses)


def _reads_in_place(reader: Op, value: Value) -> bool:
    """Whether each element of a reader's result needs the element at the same place only."""
    rule = ELEMENTWISE.get(type(reader))
    if rule is None or value.tensor.shape != reader.results[0].tensor.shape:
        return False
    return all(
        number not in rule.whole
        and rule.align(reader, number, value) == broadcast(reader, number, value)
        for number, operand in enumerate(reader.operands)
        if operand is value
    )
