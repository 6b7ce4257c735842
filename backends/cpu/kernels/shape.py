"""Ops that move elements and compute nothing."""

import math
from collections.abc import Iterator

import numpy as np

from mcc.ir import Module, Value, constant_of
from mcc.ops import Concat, Expand, Gather, Pad, Reshape, Slice, Transpose

from ..plan import Part, Planner
from ..registry import contiguous, lower
from ..storage import Slot, stored
from ..tail import Leaf, Tail
from ..tir import Buffer, Writer, index_sum, select
from .border import Border, padded
from .elementwise import strided_copy, transposed
from .loops import Loop
from .map import Map
from .resample import picked


@lower(Reshape)
def reshape(op: Reshape, planner: Planner, tail: Tail) -> None:
    planner.define(op.result, planner.slot(op.x))


@lower(Transpose)
def transpose(op: Transpose, planner: Planner, tail: Tail) -> None:
    slot = transposed(planner, op.x, op.perm)
    planner.define(op.result, slot)
    halo = planner.halos.get(op.result)
    if halo is not None and slot is not planner.slot(op.x):
        # The copy without the border is made for observers only.
        strides = contiguous(op.x.tensor.dims)
        shape = op.result.tensor.dims
        moved = tuple(strides[axis] for axis in op.perm)
        border = Border.of(halo, shape, planner.machine, slot.dtype)
        source = planner.slot(op.x)
        framed = strided_copy(planner, source, shape, moved, name="transpose", border=border)
        planner.bordered[op.result] = (halo, framed)


@lower(Slice)
def slice_(op: Slice, planner: Planner, tail: Tail) -> None:
    strides = contiguous(op.x.tensor.dims)
    steps = op.steps or (1,) * len(strides)
    start = sum(first * stride for first, stride in zip(op.starts, strides, strict=True))
    moved = tuple(step * stride for step, stride in zip(steps, strides, strict=True))
    shape = op.result.tensor.dims
    source = planner.slot(op.x)
    planner.define(op.result, strided_copy(planner, source, shape, moved, start, "slice"))


@lower(Expand)
def expand(op: Expand, planner: Planner, tail: Tail) -> None:
    shape, source = op.result.tensor.dims, op.x.tensor.dims
    missing = len(shape) - len(source)
    kept = zip(source, contiguous(source), strict=True)
    strides = (0,) * missing + tuple(0 if extent == 1 else stride for extent, stride in kept)
    planner.define(
        op.result, strided_copy(planner, planner.slot(op.x), shape, strides, 0, "expand")
    )


def parts_of(module: Module) -> dict[Value, Part]:
    """The values that nobody reads but a concatenation, once."""
    found: dict[Value, Part] = {}
    for op in module.body:
        if isinstance(op, Concat):
            for value, first in _places(op):
                if value.uses == {op: 1} and value.tensor.size:
                    strides = contiguous(op.result.tensor.dims)
                    found[value] = Part(op.result, strides, first * strides[op.axis])
    return found


def _places(op: Concat) -> Iterator[tuple[Value, int]]:
    """Each operand and where it begins along the axis."""
    first = 0
    for value in op.xs:
        yield value, first
        first += value.tensor.dims[op.axis]


@lower(Concat)
def concat(op: Concat, planner: Planner, tail: Tail) -> None:
    ours = contiguous(op.result.tensor.dims)
    copies: list[Map] = []
    slots: list[Slot] = []
    dtype = stored(op.result.tensor.dtype)
    for value, first in _places(op):
        if value in planner.placed or not value.tensor.size:
            continue
        theirs = contiguous(value.tensor.dims)
        loops = tuple(
            Loop(extent, (ours[axis], theirs[axis]))
            for axis, extent in enumerate(value.tensor.dims)
        )
        slots.append(planner.slot(value))
        lanes = planner.machine.lanes(dtype)
        copies.append(Map(loops, (first * ours[op.axis], 0), Leaf(0), lanes))

    def write(writer: Writer, inputs: tuple[Buffer, ...], out: Buffer) -> None:
        for copy, source in zip(copies, inputs, strict=False):  # the parts that are there follow
            copy.write(writer, (source,), out)

    if copies or op.result not in planner.joined:
        planner.join(op.result, "concat", write, tuple(slots), dtype)
    planner.define(op.result, planner.joined[op.result])


@lower(Gather)
def gather(op: Gather, planner: Planner, tail: Tail) -> None:
    x, axis = op.x.tensor.dims, op.axis
    outer, extent, inner = math.prod(x[:axis]), x[axis], math.prod(x[axis + 1 :])
    count = op.indices.tensor.size
    known = constant_of(op.indices)
    if known is not None and ((known >= -extent) & (known < extent)).all():
        table = np.where(known < 0, known + extent, known).ravel()
        planner.define(op.result, picked(planner, planner.slot(op.x), x, axis, table))
        return
    node = f" (ONNX node {', '.join(op.nodes)})" if op.nodes else ""
    message = f"gather{node}: an index is outside axis {axis} of extent {extent}"
    source, indices = planner.slot(op.x), planner.slot(op.indices)
    lanes = planner.machine.lanes(source.dtype)

    def write(writer: Writer, inputs: tuple[Buffer, ...], out: Buffer) -> None:
        if not outer * count * inner:
            return
        data, places = inputs
        row = Map((Loop(inner, (1, 1)),), (0, 0), Leaf(0), lanes)
        with writer.loop(count) as i:
            wide = writer.bind(places.load(i))
            writer.refuse(wide < -extent)
            writer.refuse(wide >= extent)
            index = writer.bind(wide.cast("int32"))
            real = writer.bind(select(index < 0, index + extent, index))
            with (
                writer.branch(wide >= -extent),
                writer.branch(wide < extent),
                writer.loop(outer) as o,
            ):
                to = index_sum((o, count * inner), (i, inner))
                row.write_at(
                    writer, (data,), out, (to, index_sum((o, extent * inner), (real, inner)))
                )

    size = outer * count * inner
    inputs = (source, indices)
    slot = planner.call("gather", write, inputs, source.dtype, size, failure=message)
    planner.define(op.result, slot)


@lower(Pad)
def pad(op: Pad, planner: Planner, tail: Tail) -> None:
    shape, rank = op.x.tensor.dims, op.x.tensor.rank
    source = planner.slot(op.x)
    if op.mode == "constant":
        value = op.value if op.x.tensor.dtype.is_float else int(op.value)
        slot = padded(planner, source, shape, op.pads[:rank], op.pads[rank:], value)
        planner.define(op.result, slot)
        return
    # Reflection and edges are numpy's own, on the numbers of the elements: a table for each axis.
    slot, dims = source, list(shape)
    for axis in range(rank):
        before, after = op.pads[axis], op.pads[rank + axis]
        if not before and not after:
            continue
        numbers = np.arange(dims[axis])[max(0, -before) : dims[axis] - max(0, -after)]
        table = np.pad(numbers, (max(0, before), max(0, after)), mode=op.mode)
        slot = picked(planner, slot, dims, axis, table)
        dims[axis] = len(table)
    planner.define(op.result, slot)
