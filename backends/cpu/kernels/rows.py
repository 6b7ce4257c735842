"""Kernels along rows of memory: reductions over the last axes, softmax, layer normalization."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mcc.ir import Value
from mcc.ops import LayerNorm, Reduce, ReduceMax, ReduceMean, ReduceSum, Softmax

from ..plan import Planner, Write
from ..registry import broadcast, contiguous, lower
from ..storage import Slot, stored
from ..tail import Point, Tail, apply, compute
from ..tir import Buffer, Expr, Index, Number, Writer, constant, index_sum, intrinsic, lowest
from . import maths
from .choice import choose_blocking
from .contract import Contraction
from .elementwise import finish_with, strided_copy, transposed
from .loops import PARALLEL_WORK, Loop
from .products import Fold, largest, total

Fold2 = Callable[[Writer, Expr, Expr], Expr]
Element = Callable[[Index, int], Expr]
"""`element(place within the row, lanes)`"""


def _plus(writer: Writer, a: Expr, b: Expr) -> Expr:
    return a + b


@dataclass(frozen=True)
class Row:
    """A row of `extent` elements, worked on in vectors of `lanes`."""

    writer: Writer
    extent: int
    lanes: int

    def each(self, body: Callable[[Index, int], None]) -> None:
        """Run `body(place, lanes)` over the row: whole vectors, then single elements."""
        done = 0
        for lanes in (self.lanes, 1):
            count = (self.extent - done) // lanes
            if count:
                with self.writer.loop(count) as step:
                    body(index_sum((step, lanes), (done, 1)), lanes)
                done += count * lanes

    def fold(self, start: Number, dtype: str, element: Element, combine: Fold2) -> Expr:
        """All elements combined into one."""
        writer = self.writer
        vector = writer.scratch(dtype, self.lanes)
        single = writer.scratch(dtype, 1)
        writer.store(vector, 0, constant(start, dtype, self.lanes))
        writer.store(single, 0, constant(start, dtype))

        def step(place: Index, lanes: int) -> None:
            total = vector if lanes == self.lanes else single
            old = writer.bind(total.load(0, lanes))
            value = writer.bind(element(place, lanes))
            writer.store(total, 0, writer.bind(combine(writer, old, value)))

        self.each(step)
        if self.extent < self.lanes or self.lanes == 1:
            return writer.bind((vector if self.lanes == 1 else single).load(0))
        whole = maths.across(writer, writer.bind(vector.load(0, self.lanes)), combine)
        return writer.bind(combine(writer, whole, writer.bind(single.load(0))))


RowBody = Callable[[Row, Sequence[Buffer], Buffer, Index], None]
"""`body(row, inputs, out, number of the row)`"""


def _rows(
    count: int,
    extent: int,
    lanes: int,
    cost: int,
    body: Callable[[Row, Sequence[Buffer], Buffer, Index], None],
) -> Write:
    """A kernel that does every row, in parallel where they are many."""

    def write(writer: Writer, inputs: tuple[Buffer, ...], out: Buffer) -> None:
        if not count:
            return
        parallel = count > 1 and count * extent * cost >= PARALLEL_WORK
        with writer.loop(count, parallel=parallel) as number:
            body(Row(writer, extent, lanes), inputs, out, number)

    return write


@lower(Softmax, fuses=True)
def softmax(op: Softmax, planner: Planner, tail: Tail) -> None:
    shape, axis = op.x.tensor.dims, op.axis
    order = (*(i for i in range(len(shape)) if i != axis), axis)
    source = transposed(planner, op.x, order)
    extent, dtype = shape[axis], stored(op.x.tensor.dtype)
    count = math.prod(shape[i] for i in order[:-1])
    lanes = planner.machine.lanes(dtype) if dtype == "float32" else 1

    def body(row: Row, inputs: Sequence[Buffer], out: Buffer, number: Index) -> None:
        writer, (x,) = row.writer, inputs
        start = writer.bind_index(index_sum((number, extent)))

        def place(index: Index) -> Index:
            return index_sum((start, 1), (index, 1))

        peak = row.fold(
            lowest(dtype), dtype, lambda index, n: x.load(place(index), n), maths.larger
        )

        def power(index: Index, n: int) -> Expr:
            shifted = writer.bind(x.load(place(index), n) - peak)
            value = writer.bind(maths.decay(writer, shifted))
            writer.store(out, place(index), value)
            return value

        # One division a row; the sum is at least 1.
        share = writer.bind(1.0 / row.fold(0.0, dtype, power, _plus))
        row.each(lambda i, n: writer.store(out, place(i), out.load(place(i), n) * share))

    kernel = _rows(count, extent, lanes, 20, body) if extent else _rows(0, 0, 1, 0, body)
    slot = planner.call("softmax", kernel, (source,), dtype, count * extent)
    if order != tuple(range(len(shape))):
        packed = contiguous(tuple(shape[i] for i in order))
        strides = tuple(packed[order.index(i)] for i in range(len(shape)))
        slot = strided_copy(planner, slot, shape, strides, name="transpose")
    finish_with(planner, tail, slot)


@lower(LayerNorm, fuses=True)
def layer_norm(op: LayerNorm, planner: Planner, tail: Tail) -> None:
    shape = op.x.tensor.dims
    count, extent = math.prod(shape[: op.axis]), math.prod(shape[op.axis :])
    dtype = stored(op.x.tensor.dtype)
    scale, scale_step = _row_operand(op, planner, 1, op.scale)
    bias, bias_step = (None, 0) if op.bias is None else _row_operand(op, planner, 2, op.bias)

    def body(row: Row, inputs: Sequence[Buffer], out: Buffer, number: Index) -> None:
        writer, x = row.writer, inputs[0]
        start = writer.bind_index(index_sum((number, extent)))

        def element(index: Index, n: int) -> Expr:
            return x.load(index_sum((start, 1), (index, 1)), n)

        mean = writer.bind(row.fold(0.0, dtype, element, _plus) / float(extent))

        def square(index: Index, n: int) -> Expr:
            centred = writer.bind(element(index, n) - mean)
            return centred * centred

        variance = row.fold(0.0, dtype, square, _plus) / float(extent)
        root = writer.bind(intrinsic("llvm.sqrt", writer.bind(variance + op.epsilon)))
        share = writer.bind(1.0 / root)

        def step(index: Index, n: int) -> None:
            factor = inputs[1].load(index_sum((number, scale_step), (index, 1)), n)
            value = (element(index, n) - mean) * share * factor
            if bias is not None:
                value = value + inputs[2].load(index_sum((number, bias_step), (index, 1)), n)
            writer.store(out, index_sum((start, 1), (index, 1)), value)

        row.each(step)

    kernel = _rows(count if extent else 0, extent, planner.machine.lanes(dtype), 8, body)
    inputs = (planner.slot(op.x), scale) + (() if bias is None else (bias,))
    slot = planner.call("layer_norm", kernel, inputs, dtype, count * extent)
    finish_with(planner, tail, slot)


def _row_operand(op: LayerNorm, planner: Planner, number: int, value: Value) -> tuple[Slot, int]:
    """An operand that has one element for each of a row, and its stride from row to row."""
    shape = op.x.tensor.dims
    strides = broadcast(op, number, value)
    within = contiguous(shape[op.axis :])
    if strides == (0,) * op.axis + within:
        return planner.slot(value), 0
    full = strided_copy(planner, planner.slot(value), shape, strides, name="expand")
    return full, math.prod(shape[op.axis :])


@lower(ReduceSum)
def reduce_sum(op: ReduceSum, planner: Planner, tail: Tail) -> None:
    dtype = stored(op.x.tensor.dtype)
    _reduce(op, planner, tail, total(dtype, planner.machine))


@lower(ReduceMax)
def reduce_max(op: ReduceMax, planner: Planner, tail: Tail) -> None:
    dtype = stored(op.x.tensor.dtype)
    _reduce(op, planner, tail, largest(dtype, planner.machine))


@lower(ReduceMean)
def reduce_mean(op: ReduceMean, planner: Planner, tail: Tail) -> None:
    dtype = stored(op.x.tensor.dtype)
    count = math.prod(op.x.tensor.dims[axis] for axis in op.axes)

    def mean(writer: Writer, sums: Expr) -> Expr:
        if sums.is_float:
            return sums / float(count)
        return (sums.cast("float64") / float(count)).cast(dtype)

    tail.graft(lambda anchor: apply(mean, anchor))
    _reduce(op, planner, tail, total(dtype, planner.machine))


def _reduce(op: Reduce, planner: Planner, tail: Tail, product: Fold) -> None:
    """Vectors along the last axis in memory, whether it is kept or reduced."""
    shape = op.x.tensor.dims
    kept = [axis for axis in range(len(shape)) if axis not in op.axes]
    inner_kept = [axis for axis in kept if shape[axis] > 1]
    inner_gone = [axis for axis in op.axes if shape[axis] != 1]
    if not inner_gone or (inner_kept and inner_kept[-1] > inner_gone[-1]):
        _reduce_outer(op, planner, tail, product, kept)
        return
    source = transposed(planner, op.x, (*kept, *op.axes))
    count = math.prod(shape[axis] for axis in kept)
    extent = math.prod(shape[axis] for axis in op.axes)
    root, dtype = tail.root, product.dtype

    def body(row: Row, inputs: Sequence[Buffer], out: Buffer, number: Index) -> None:
        writer, x = row.writer, inputs[0]
        start = writer.bind_index(index_sum((number, extent)))
        value = row.fold(
            product.start,
            dtype,
            lambda index, n: x.load(index_sum((start, 1), (index, 1)), n),
            product.fold,
        )
        done = compute(root, writer, (), Point((), (), 1), value)
        writer.store(out, number, done)

    kernel = _rows(count, extent, planner.machine.lanes(dtype), 1, body)
    planner.finish(tail, "reduce", kernel, (source,))


def _reduce_outer(op: Reduce, planner: Planner, tail: Tail, product: Fold, kept: list[int]) -> None:
    shape = op.x.tensor.dims
    x = contiguous(shape)
    y = contiguous(tuple(shape[axis] for axis in kept))
    loops = [Loop(shape[axis], (y[i], x[axis], 0)) for i, axis in enumerate(kept)]
    reduce = tuple(Loop(shape[axis], (0, x[axis], 0)) for axis in op.axes if shape[axis] != 1)
    *lead, vec = loops or [Loop(1, (0, 0, 0))]
    while lead and vec.extent == 1:
        *lead, vec = lead
    contraction = Contraction(
        lead=tuple(lead),
        tile=Loop(1, (0, 0, 0)),
        vec=vec,
        reduce=reduce,
        product=product,
        blocking=choose_blocking(1, vec.extent, product, planner.machine),
        block_stride=0,
        root=tail.root,
    )
    planner.finish(tail, "reduce", contraction, (planner.slot(op.x),))
