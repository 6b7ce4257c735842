"""Common subexpressions."""

from mcc.ir import Module, Op, Region, Rewriter, RewriteReport

from .base import Pass


class Cse(Pass, name="cse"):
    """Two pure ops of one kind with the same operands and attributes -> one.

    Ops with effects stay apart, and so do values with different notes: two equal constants that
    stand for different real numbers are two.
    """

    def run(self, module: Module, report: RewriteReport) -> Module:
        rewriter = Rewriter(module)
        # One table for each open region; what an outer region defined is visible in an inner one.
        scopes: dict[Region, dict[object, Op]] = {}
        for op in module.ops():
            region = op.region
            if region is None or not op.pure or op.regions or not op.results:
                continue
            key = _key(op)
            first = _seen(key, region, scopes)
            if first is None:
                scopes.setdefault(region, {})[key] = op
                continue
            rewriter.replace(op, first.results)
            report.fired[f"merge {op.op_name}"] += 1
        return module


def _seen(key: object, region: Region, scopes: dict[Region, dict[object, Op]]) -> Op | None:
    current: Region | None = region
    while current is not None:
        found = scopes.get(current, {}).get(key)
        if found is not None:
            return found
        current = current.parent.region if isinstance(current.parent, Op) else None
    return None


def _key(op: Op) -> object:
    """What makes two ops the same: class, operands (by identity), attributes, result notes."""
    parts: list[object] = [type(op)]
    for field in op.spec_fields:
        item: object = getattr(op, field.name)
        # 0.0 and -0.0 are equal and mean different things.
        parts.append(repr(item) if isinstance(item, float) else item)
    parts.extend((value.type, value.quant, value.axes) for value in op.results)
    return tuple(parts)
