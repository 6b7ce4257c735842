"""How ops hang together: their order in a region, who reads what, their ONNX nodes.

Builders and the rewriter call these functions; nobody else changes an op.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .fields import Kind

if TYPE_CHECKING:
    from .core import Op, Region, Value

Origin = tuple[Any, ...]
"""Names of ONNX nodes, or tuples of the same: merging takes no longer for long ones."""


def attach(op: "Op", region: "Region", before: "Op | None") -> None:
    """Link a detached op into a region and count its uses."""
    if op.region is not None:
        raise RuntimeError(f"{op.op_name} is attached already: {op}")
    if op.__dict__["_erased"]:
        raise RuntimeError(f"{op.op_name} was erased, build a new op: {op}")
    after = before.previous if before is not None else region.last
    op.__dict__.update(region=region, previous=after, next=before)
    if after is not None:
        after.__dict__["next"] = op
    else:
        region.first = op
    if before is not None:
        before.__dict__["previous"] = op
    else:
        region.last = op
    for value in op.operands:
        value.uses[op] = value.uses.get(op, 0) + 1


def detach(op: "Op") -> None:
    """Unlink an op for good and forget its uses."""
    region = op.region
    if region is None:
        raise RuntimeError(f"{op.op_name} is not attached to a module: {op}")
    if op.previous is not None:
        op.previous.__dict__["next"] = op.next
    else:
        region.first = op.next
    if op.next is not None:
        op.next.__dict__["previous"] = op.previous
    else:
        region.last = op.previous
    # `next` stays, so that an iterator standing on the op finds its way on.
    op.__dict__.update(region=None, previous=None, _erased=True)
    for value in op.operands:
        value.uses.pop(op, None)


def swap_operand(op: "Op", old: "Value", new: "Value") -> None:
    """Replace every operand `old` of an attached op."""
    if old is new:
        return
    for field in op.spec_fields:
        current = op.__dict__[field.name]
        if current is old:
            op.__dict__[field.name] = new
        elif field.kind is Kind.VARIADIC:
            op.__dict__[field.name] = tuple(new if value is old else value for value in current)
    if moved := old.uses.pop(op, 0):
        new.uses[op] = new.uses.get(op, 0) + moved


def set_nodes(op: "Op", nodes: Iterable[Any]) -> None:
    """Set an op's ONNX provenance: names, or origins of other ops."""
    op.__dict__.update(_origin=tuple(nodes), _nodes_seen=None)


def origin(op: "Op") -> Origin:
    """An op's provenance as it is stored: cheap to hand on, falsy when there is none."""
    found: Origin = op.__dict__["_origin"]
    return found


def merged(origins: Iterable[Origin]) -> Origin:
    """Several provenances as one, in order."""
    present = [item for item in origins if item]
    return present[0] if len(present) == 1 else tuple(present)


def nodes_of(op: "Op") -> tuple[str, ...]:
    """The provenance spelled out, each name once."""
    known: tuple[str, ...] | None = op.__dict__["_nodes_seen"]
    if known is None:
        names: dict[str, None] = {}
        # Ops that were merged share parts of their origin: each part is walked once.
        walked: set[int] = set()
        pending: list[Any] = [origin(op)]
        while pending:
            item = pending.pop()
            if isinstance(item, str):
                names[item] = None
            elif id(item) not in walked:
                walked.add(id(item))
                pending.extend(reversed(item))
        known = op.__dict__["_nodes_seen"] = tuple(names)
    return known
