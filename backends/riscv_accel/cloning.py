"""Copies of ops and regions, for passes that build a region anew."""

from typing import cast

from mcc.ir import Op, Region, Value


def clone(op: Op, mapping: dict[Value, Value], **changes: object) -> Op:
    """A detached copy of an op that reads the mapped values; its results enter the mapping.

    Regions are copied too, with their ops. Names, notes and ONNX nodes are kept.
    """
    fields: dict[str, object] = {}
    for field in op.spec_fields:
        old = getattr(op, field.name)
        if isinstance(old, Region):
            fields[field.name] = changes.get(field.name) or clone_region(old, mapping)
        else:
            fields[field.name] = changes.get(field.name, _mapped(old, mapping))
    copy = type(op)(**fields)
    for old_value, new_value in zip(op.results, copy.results, strict=True):
        mapping[old_value] = new_value.like(old_value)
    return copy.named(copy.results[0].name if copy.results else "", op.nodes)


def clone_region(region: Region, mapping: dict[Value, Value]) -> Region:
    """A detached copy of a region."""
    copy = like_region(region, mapping)
    for op in region:
        copy.append(clone(op, mapping))
    return copy


def like_region(region: Region, mapping: dict[Value, Value]) -> Region:
    """An empty region with the arguments of `region`, which enter the mapping."""
    copy = Region([value.type for value in region.args])
    for old, new in zip(region.args, copy.args, strict=True):
        mapping[old] = new.like(old)
    return copy


def _mapped(item: object, mapping: dict[Value, Value]) -> object:
    if isinstance(item, Value):
        return mapping.get(item, item)
    if isinstance(item, tuple):
        return tuple(_mapped(part, mapping) for part in cast("tuple[object, ...]", item))
    return item
