"""Where the values of a module are while a conversion of layouts walks over its ops."""

from collections.abc import Iterable
from dataclasses import dataclass

from mcc.ir import (
    Module,
    Op,
    Quant,
    Rewriter,
    RewriteReport,
    Value,
    constant,
    constant_of,
)
from mcc.ops import Reshape, Transpose

from .axis_maps import Perm, between, identity, moves_only_units


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a value of the old module is: `value` holds it with its axes in the order `perm`."""

    value: Value
    perm: Perm
    absorbed: tuple[str, ...] | None = None
    """For a transpose that vanished: its ONNX nodes. `value` is then another ONNX tensor."""
    order: tuple[int, ...] | None = None
    """For a flattened [N, K]: column k holds the old column order[k]."""


class Storage:
    """The old module's values, each by the new value that holds it and the order of its axes.

    New ops go in front of `anchor`, the op of the old module that the walk has reached.
    """

    def __init__(self, module: Module, report: RewriteReport) -> None:
        self.report = report
        self.rewriter = Rewriter(module)
        self.stored: dict[Value, Stored] = {}
        self.forms: dict[tuple[Value, Perm], Value] = {}
        self.final: dict[Value, Value] = {}
        self.anchor: Op

    def where(self, value: Value) -> Stored:
        """Where a value is; one that nothing has moved is where it was."""
        return self.stored.get(value) or Stored(value, identity(value.tensor.rank))

    def get(self, value: Value, perm: Perm) -> Value:
        """The value stored in the order `perm`, by a transpose where it is not."""
        now = self.where(value)
        if now.order is not None:
            raise AssertionError("only ops that permute weights see a permuted flatten")
        if now.perm == perm:
            return now.value
        known = self.forms.get((value, perm))
        if known is None:
            known = self.forms[value, perm] = self.transposed(value, now, perm)
        return known

    def transposed(self, old: Value, now: Stored, perm: Perm) -> Value:
        """What `now` holds of the value `old`, in the order `perm`."""
        move = between(now.perm, perm)
        array = constant_of(now.value)
        if array is not None:
            fresh = constant(array.transpose(move), old.name).result
        elif moves_only_units(now.value.tensor.shape, move):
            fresh = Reshape(now.value, tuple(now.value.tensor.dims[axis] for axis in move)).result
        else:
            fresh = Transpose(now.value, move).result
            self.report.fired["transpose"] += 1
        fresh.quant = _moved_quant(old.quant, perm)
        fresh.axes = _moved_axes(old.axes, perm)
        if now.absorbed is not None:
            fresh.name = old.name
        self.rewriter.insert_before(self.anchor, [fresh], now.absorbed or self.anchor.nodes)
        return fresh

    def insert(self, value: Value) -> None:
        """Put the op of a new value where the walk is."""
        self.rewriter.insert_before(self.anchor, [value], self.anchor.nodes)

    def plain(self, value: Value) -> Value:
        """The value in its original order."""
        return self.get(value, identity(value.tensor.rank))

    def nodes(self, op: Op, new: Op | None) -> tuple[str, ...]:
        """The ONNX nodes of an op, with those of the transposes in front of it that vanished."""
        found: list[str] = []
        for value in op.operands:
            now = self.where(value)
            if now.absorbed is not None and (new is None or now.value in new.operands):
                found.extend(now.absorbed)
        return (*found, *op.nodes)

    def keep(self, op: Op) -> None:
        """An op that knows one layout only: it and what is nested in it read the original order."""
        pending = [op]
        while pending:
            current = pending.pop()
            for value in current.operands:
                if value in self.stored:
                    self.final[value] = self.plain(value)
            for region in current.regions:
                pending.extend(region)

    def put(self, op: Op, new: Op, perm: Perm, order: tuple[int, ...] | None = None) -> bool:
        """Let `new` stand for `op`, its result stored in the order `perm`."""
        old, value = op.result, new.result
        value.quant = _moved_quant(old.quant, perm)
        if order is None:
            # A permuted flatten is no tensor of the ONNX model, and goes without a name.
            value.name = old.name
            value.axes = _moved_axes(old.axes, perm)
        self.rewriter.insert_before(self.anchor, [value], self.nodes(op, new))
        self.stored[old] = Stored(value, perm, order=order)
        self.report.fired[f"convert {op.op_name}"] += 1
        return True

    def finish(self, replaced: Iterable[Op]) -> None:
        """Let those who read the original order read what was made for them; erase the rest."""
        for old, new in self.final.items():
            name = new.name
            self.rewriter.replace_value(old, new)
            new.name = name  # an unnamed one is a copy: the name stays with what was copied
        self.rewriter.erase_dead(replaced)


def _moved_quant(quant: Quant | None, perm: Perm) -> Quant | None:
    if quant is None or quant.axis is None:
        return quant
    return Quant(quant.scale, quant.zero, perm.index(quant.axis))


def _moved_axes(axes: Perm | None, perm: Perm) -> Perm | None:
    moved = perm if axes is None else tuple(axes[axis] for axis in perm)
    return None if moved == identity(len(moved)) else moved
