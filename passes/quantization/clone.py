"""Building one module from another, op by op."""

import math
from collections.abc import Mapping

from mcc.ir import Kind, Module, Op, OpError, Region, Value, Yield
from mcc.ops import Add, Conv, Matmul


class Unique:
    """Hands out names, each once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, name: str) -> str:
        candidate, number = name, 0
        while candidate in self._taken:
            number += 1
            candidate = f"{name}.{number}"
        self._taken.add(candidate)
        return candidate


def with_operands(op: Op, mapping: Mapping[Value, Value], **changes: object) -> Op:
    """A fresh op like `op` that reads `mapping`'s values, with its names and provenance.

    `changes` replace fields.
    """
    fields: dict[str, object] = {}
    for field in op.spec_fields:
        item: object = op.__dict__[field.name]
        match field.kind:
            case Kind.OPERAND | Kind.OPTIONAL if (
                isinstance(item, Value) and field.name not in changes
            ):
                item = mapping[item]
            case Kind.VARIADIC if field.name not in changes:
                values: tuple[Value, ...] = op.__dict__[field.name]
                item = tuple(mapping[value] for value in values)
            case Kind.REGION:
                raise OpError(f"{op.op_name} holds a region, which cannot be quantized", field.name)
            case _:
                pass
        fields[field.name] = item
    fresh = type(op)(**(fields | changes)).named("", op.nodes)
    for new, old in zip(fresh.results, op.results, strict=True):
        new.like(old)
    return fresh


def empty_like(module: Module) -> tuple[Module, dict[Value, Value]]:
    """A module with the same inputs and nothing else, and the map from old to new values."""
    region = Region(
        [value.type for value in module.inputs], [value.name for value in module.inputs]
    )
    mapping = dict(zip(module.inputs, region.args, strict=True))
    for old, new in mapping.items():
        new.like(old)
    fresh = Module(module.name, region, module.output_names)
    fresh.meta.update(module.meta)
    return fresh, mapping


def prepared(module: Module) -> Module:
    """A copy in which every value has a name of its own, and every residual is an `add` again.

    conv(x, w, b, r) {lo, hi} -> add(conv(x, w, b), r) {lo, hi}; likewise matmul. The quantizer
    needs the range of the convolution alone, and decides itself in which form the addition comes
    back.
    """
    fresh, mapping = empty_like(module)
    names = Unique()
    for value in fresh.inputs:
        names.take(value.name)
    for op in module.body:
        if isinstance(op, Yield):
            fresh.body.append(Yield(tuple(mapping[value] for value in op.values)))
            continue
        if isinstance(op, Conv | Matmul) and op.r is not None and op.k is None:
            bare = with_operands(op, mapping, r=None, lo=-math.inf, hi=math.inf)
            bare.result.name = names.take(f"{op.result.name or op.op_name}.product")
            fresh.body.append(bare)
            copy: Op = Add(bare.result, mapping[op.r], lo=op.lo, hi=op.hi).named("", op.nodes)
            copy.result.like(op.result)
        else:
            copy = with_operands(op, mapping)
        for old, new in zip(op.results, copy.results, strict=True):
            new.name = names.take(new.name or op.op_name)
            mapping[old] = new
        fresh.body.append(copy)
    return fresh


__all__ = ["Unique", "empty_like", "prepared", "with_operands"]
