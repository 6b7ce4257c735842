"""Ops that move elements and compute nothing."""

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np

from mcc.ir import Module, Value, constant_of
from mcc.ops import Concat, Expand, Gather, Pad, Reshape, Slice, Transpose

from ..machine import Machine
from ..plan import Halo, Part, Planner
from ..registry import contiguous, lower
from ..storage import Slot, stored
from ..tail import Leaf, Tail
from ..tir import Buffer, Index, Writer, constant, index_sum, select
from .elementwise import strided_copy, transposed
from .loops import PARALLEL_MOVES, Loop
from .map import Map
from .resample import picked


@lower(Reshape)
def reshape(op: Reshape, planner: Planner, tail: Tail) -> None:
    planner.define(op.result, planner.slot(op.x))


@lower(Transpose)
def transpose(op: Transpose, planner: Planner, tail: Tail) -> None:
    planner.define(op.result, transposed(planner, op.x, op.perm))


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


@dataclass(frozen=True)
class _Pad:
    """Copies an array into the middle of a larger one, and fills what is around it."""

    shape: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    value: float | int
    lanes: int
    border_only: bool = False
    """Whether the middle is somebody else's."""

    def __call__(self, writer: Writer, inputs: tuple[Buffer, ...], out: Buffer) -> None:
        result = self.result
        if 0 not in result:
            inner = contiguous(result), contiguous(self.shape)
            self._axis(writer, 0, inputs[0], out, 0, 0, inner, parallel=True)

    def fill(self, writer: Writer, out: Buffer) -> None:
        """Only the border."""
        strides = contiguous(self.result), contiguous(self.shape)
        with writer.once():
            self._axis(writer, 0, out, out, 0, 0, strides, parallel=False)

    @property
    def result(self) -> tuple[int, ...]:
        sides = zip(self.shape, self.before, self.after, strict=True)
        return tuple(extent + first + last for extent, first, last in sides)

    def _axis(
        self,
        writer: Writer,
        axis: int,
        data: Buffer,
        out: Buffer,
        to: Index,
        source: Index,
        strides: tuple[tuple[int, ...], tuple[int, ...]],
        *,
        parallel: bool,
    ) -> None:
        ours, theirs = strides
        if not any(self.before[axis:]) and not any(self.after[axis:]):
            if self.border_only:
                return
            row = Map((Loop(math.prod(self.shape[axis:]), (1, 1)),), (0, 0), Leaf(0), self.lanes)
            row.write_at(writer, (data,), out, (to, source))
            return
        before, after = max(0, self.before[axis]), max(0, self.after[axis])
        kept = self.result[axis] - before - after
        shared = parallel and kept > 1
        with writer.once() if shared else nullcontext():
            end = index_sum((to, 1), (before + kept, ours[axis]))
            self._fill(writer, out, to, before * ours[axis])
            self._fill(writer, out, end, after * ours[axis])
        skipped = max(0, -self.before[axis])
        large = math.prod(self.result) >= PARALLEL_MOVES
        with writer.loop(kept, parallel=shared and large) as i:
            inner_to = writer.bind_index(index_sum((to, 1), (before, ours[axis]), (i, ours[axis])))
            inner_from = writer.bind_index(
                index_sum((source, 1), (skipped, theirs[axis]), (i, theirs[axis]))
            )
            if axis + 1 < len(self.shape):
                one = parallel and kept == 1
                self._axis(writer, axis + 1, data, out, inner_to, inner_from, strides, parallel=one)
            elif not self.border_only:
                writer.store(out, inner_to, data.load(inner_from))

    def _fill(self, writer: Writer, out: Buffer, to: Index, count: int) -> None:
        done = 0
        for lanes in (self.lanes, 1):
            steps = (count - done) // lanes
            if steps:
                with writer.loop(steps) as i:
                    place = index_sum((to, 1), (done, 1), (i, lanes))
                    writer.store(out, place, constant(self.value, out.dtype, lanes))
                done += steps * lanes


@dataclass(frozen=True)
class Border:
    """What a kernel writes around its own result."""

    pad: _Pad

    @classmethod
    def of(cls, halo: Halo, shape: tuple[int, ...], machine: Machine, dtype: str) -> "Border":
        lanes = machine.lanes(dtype)
        return cls(_Pad(shape, halo.before, halo.after, halo.value, lanes, border_only=True))

    @property
    def result(self) -> tuple[int, ...]:
        """The shape with the border."""
        return self.pad.result

    @property
    def size(self) -> int:
        return math.prod(self.result)

    @property
    def origin(self) -> int:
        """Where the first element within the border goes."""
        strides = contiguous(self.result)
        return sum(n * stride for n, stride in zip(self.pad.before, strides, strict=True))

    def write(self, writer: Writer, out: Buffer) -> None:
        self.pad.fill(writer, out)


def padded(
    planner: Planner,
    source: Slot,
    shape: tuple[int, ...],
    before: Sequence[int],
    after: Sequence[int],
    value: float | int,
) -> Slot:
    """`source` with a border of `value`; negative numbers crop."""
    if not any(before) and not any(after):
        return source
    kernel = _Pad(shape, tuple(before), tuple(after), value, planner.machine.lanes(source.dtype))
    return planner.call("pad", kernel, (source,), source.dtype, math.prod(kernel.result))
