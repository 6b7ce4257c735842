"""Channels last: windows run over [N, *S, C], and transposes stay at edges that need them."""

from mcc.ir import (
    Constant,
    Kind,
    Module,
    Op,
    RewriteReport,
    Rule,
    Value,
    Yield,
    apply_rules,
    constant,
    constant_of,
)
from mcc.ops import (
    Add,
    AvgPool,
    Binary,
    Cast,
    Concat,
    Conv,
    Dequantize,
    Gather,
    Lookup,
    Matmul,
    MaxPool,
    Pad,
    Pool,
    Pow,
    QAdd,
    Quantize,
    Reduce,
    Requantize,
    Resample,
    Reshape,
    Slice,
    Softmax,
    SumPool,
    Transpose,
    Unary,
    Where,
)

from .axis_maps import (
    Perm,
    as_transpose,
    channels_last,
    flattened_order,
    identity,
    inverse,
    reshaped_layout,
)
from .base import Pass
from .canonicalize_shapes import SHAPE_RULES
from .layout_storage import Storage, Stored
from .matching import rebuild


class ChannelsLast(Pass, name="layout"):
    """conv {nchw} -> conv {nhwc}, likewise pools; transposes sink, meet and cancel.

    Works at any level, on lowered integer modules in the first place. Every value that is stored in
    another order than its ONNX tensor says so in `axes`. A flatten in front of a matmul with
    constant weights needs no transpose: the rows of the weights are permuted instead.
    """

    def run(self, module: Module, report: RewriteReport) -> Module:
        _Conversion(module, report).run()
        outcome = apply_rules(module, CLEANUP)
        report.fired.update(outcome.fired)
        return module


CLEANUP: tuple[Rule, ...] = SHAPE_RULES
"""A transpose of axes of extent 1 is written as a reshape; two of these meet often."""


class _Conversion:
    """One walk over the ops; each is rebuilt in the layout in which its operands are stored."""

    def __init__(self, module: Module, report: RewriteReport) -> None:
        self.module = module
        self.report = report
        self.values = Storage(module, report)

    def run(self) -> None:
        replaced: list[Op] = []
        for op in list(self.module.body):
            self.values.anchor = op
            if isinstance(op, Constant):
                continue
            if op.pure and not op.regions and not isinstance(op, Yield) and self.convert(op):
                replaced.append(op)
            else:
                self.values.keep(op)
        self.values.finish(replaced)

    def convert(self, op: Op) -> bool:
        """Rebuild an op in another layout; False when it stays as it is."""
        if not any(value in self.values.stored for value in op.operands) and not _starts(op):
            return False
        if any(not isinstance(dim, int) for value in op.operands for dim in value.tensor.shape):
            return False
        match op:
            case Conv() if op.layout == "nchw":
                perm = channels_last(op.x.tensor.rank)
                r = None if op.r is None else self.values.get(op.r, perm)
                return self.values.put(op, self.windowed(op, r=r), perm)
            case MaxPool() | AvgPool() | SumPool() if op.layout == "nchw":
                return self.values.put(op, self.windowed(op), channels_last(op.x.tensor.rank))
            case Transpose():
                return self.absorb(op, op.x, op.perm)
            case Reshape():
                return self.reshape(op)
            case Matmul():
                return self.matmul(op)
            case Concat():
                perm = self.majority(op.xs)
                xs = tuple(self.values.get(value, perm) for value in op.xs)
                return self.values.put(op, Concat(xs, perm.index(op.axis)), perm)
            case Slice() | Pad() | Softmax() | Reduce() | Resample():
                return self.along_axes(op)
            case Gather() if op.indices.tensor.rank == 1 and op.x in self.values.stored:
                return self.along_axes(op)
            case Requantize() | Quantize() | Dequantize():
                return self.scaled(op)
            case Unary() | Cast() | Lookup():
                now = self.values.where(op.operands[0])
                return self.values.put(op, rebuild(op, x=now.value), now.perm, now.order)
            case Add() | Binary() | Pow() | Where() | QAdd():
                return self.elementwise(op)
            case _:
                return False

    def windowed(self, op: Conv | Pool, **changes: object) -> Op:
        x = self.values.get(op.x, channels_last(op.x.tensor.rank))
        return rebuild(op, x=x, layout="nhwc", **changes)

    def absorb(self, op: Transpose | Reshape, x: Value, perm: Perm) -> bool:
        """A transpose is only another way to look at what is stored."""
        now = self.values.where(x)
        if now.order is not None:
            return False
        where = inverse(perm)
        seen = tuple(where[axis] for axis in now.perm)
        self.values.stored[op.result] = Stored(now.value, seen, self.values.nodes(op, None))
        self.report.fired[f"absorb {op.op_name}"] += 1
        return True

    def reshape(self, op: Reshape) -> bool:
        now, src = self.values.where(op.x), op.x.tensor.dims
        if now.order is not None:
            return False
        if (as_move := as_transpose(src, op.shape)) is not None:
            return self.absorb(op, op.x, as_move)
        perm = reshaped_layout(src, op.shape, now.perm)
        if perm is not None:
            shape = tuple(op.shape[axis] for axis in perm)
            return self.values.put(op, Reshape(now.value, shape), perm)
        flattens = len(op.shape) == 2 and op.shape[0] == src[0] and now.perm[0] == 0
        if not flattens or not _only_weighted(op.result):
            return False
        order = flattened_order(src[1:], [axis - 1 for axis in now.perm[1:]])
        self.report.fired["permute weight rows"] += 1
        return self.values.put(
            op, Reshape(now.value, op.shape), identity(2), tuple(int(row) for row in order)
        )

    def matmul(self, op: Matmul) -> bool:
        order = self.values.where(op.x).order
        if order is None:
            return False
        weights = constant_of(op.w)
        assert weights is not None
        w = constant(weights[list(order)], op.w.name).result
        w.quant = op.w.quant
        x = self.values.where(op.x).value
        r = None if op.r is None else self.values.plain(op.r)
        return self.values.put(op, rebuild(op, x=x, w=w, r=r), identity(2))

    def along_axes(self, op: Slice | Pad | Softmax | Reduce | Gather | Resample) -> bool:
        now = self.values.where(op.x)
        if now.order is not None:
            return False
        perm, rank = now.perm, len(now.perm)
        match op:
            case Slice():
                steps = op.steps or (1,) * rank
                lists = ((part[axis] for axis in perm) for part in (op.starts, op.stops, steps))
                return self.values.put(op, Slice(now.value, *map(tuple, lists)), perm)
            case Pad():
                pads = tuple(op.pads[offset + axis] for offset in (0, rank) for axis in perm)
                return self.values.put(op, rebuild(op, x=now.value, pads=pads), perm)
            case Softmax():
                return self.values.put(op, Softmax(now.value, perm.index(op.axis)), perm)
            case Gather() | Resample():
                tables = {"indices": self.values.plain(op.indices)}
                if isinstance(op, Resample):
                    tables["weights"] = self.values.plain(op.weights)
                fresh = rebuild(op, x=now.value, axis=perm.index(op.axis), **tables)
                return self.values.put(op, fresh, perm)
            case Reduce():
                axes = tuple(sorted(perm.index(axis) for axis in op.axes))
                left = perm
                if not op.keepdims:
                    kept = [axis for axis in range(rank) if axis not in op.axes]
                    left = tuple(kept.index(axis) for axis in perm if axis in kept)
                return self.values.put(op, rebuild(op, x=now.value, axes=axes), left)

    def scaled(self, op: Requantize | Quantize | Dequantize) -> bool:
        now = self.values.where(op.x)
        vector = (op.multiplier if isinstance(op, Requantize) else op.scale).tensor.rank == 1
        if vector and now.order is not None:
            return False
        axis = now.perm.index(op.axis) if vector else op.axis
        return self.values.put(op, rebuild(op, x=now.value, axis=axis), now.perm, now.order)

    def elementwise(self, op: Op) -> bool:
        """Operands of full rank in one layout; smaller ones are spread to the full rank first."""
        rank = op.result.tensor.rank
        perm = self.majority([value for value in op.operands if value.tensor.rank == rank])
        changes = {
            field.name: self.spread(getattr(op, field.name), rank, perm)
            for field in op.spec_fields
            if field.kind is Kind.OPERAND
        }
        return self.values.put(op, rebuild(op, **changes), perm)

    def spread(self, value: Value, rank: int, perm: Perm) -> Value:
        own = value.tensor
        if own.rank == rank:
            return self.values.get(value, perm)
        if own.size == 1 or perm == identity(rank):
            return self.values.plain(value)
        shape = (1,) * (rank - own.rank) + own.dims
        array = constant_of(value)
        if array is not None:
            full = constant(array.reshape(shape), value.name).result
        else:
            full = Reshape(self.values.plain(value), shape).result
        self.values.insert(full)
        return self.values.transposed(full, Stored(full, identity(rank)), perm)

    def majority(self, values: "list[Value] | tuple[Value, ...]") -> Perm:
        """The order in which most elements are stored already; constants follow the others."""
        weights: dict[Perm, int] = {}
        for value in values:
            if constant_of(value) is None:
                perm = self.values.where(value).perm
                weights[perm] = weights.get(perm, 0) + value.tensor.size
        return max(weights, key=lambda perm: weights[perm], default=identity(values[0].tensor.rank))


def _starts(op: Op) -> bool:
    """Whether an op changes the layout although its operands are stored as they were."""
    match op:
        case Conv() | MaxPool() | AvgPool() | SumPool():
            return op.layout == "nchw"
        case Transpose() | Reshape():
            return True
        case _:
            return False


def _only_weighted(value: Value) -> bool:
    """Whether all readers, past ops on single elements, are matmuls with constant weights."""
    pending = [value]
    while pending:
        current = pending.pop()
        if not current.uses:
            return False
        for op in current.uses:
            match op:
                case Matmul() if op.x is current:
                    weights = constant_of(op.w)
                    if weights is None or weights.ndim != 2 or current in (op.r, op.b, op.k):
                        return False
                case Unary() | Cast() | Lookup():
                    pending.append(op.result)
                case Requantize() if op.multiplier.tensor.rank == 0:
                    pending.append(op.result)
                case Quantize() | Dequantize() if op.scale.tensor.rank == 0:
                    pending.append(op.result)
                case _:
                    return False
    return True
