"""Sampling an axis: rows behind it are picked, or added with weights, a vector at a time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mcc.ir import Array, constant_of
from mcc.ops import Resample

from ..plan import Planner
from ..registry import lower
from ..storage import Slot
from ..tail import Tail
from ..tir import Buffer, Expr, Index, Writer, index_sum, select
from .loops import PARALLEL_MOVES, Loop, fused_loops


@dataclass(frozen=True)
class _Axis:
    """An axis of the operand, and how often rows of `inner` elements repeat around it."""

    outer: int
    extent: int
    inner: int
    count: int
    """Elements of the axis after."""

    @classmethod
    def of(cls, dims: Sequence[int], axis: int, count: int) -> "_Axis":
        return cls(math.prod(dims[:axis]), dims[axis], math.prod(dims[axis + 1 :]), count)

    @property
    def size(self) -> int:
        return self.outer * self.count * self.inner


@dataclass(frozen=True)
class _Rows:
    """Row j of the result is the sum of `taps` rows of the operand; of one, without weights."""

    axis: _Axis
    taps: int
    weighted: bool
    clamps: bool
    """Whether the numbers of rows, known at run time only, may lie beyond the ends."""
    lanes: int

    def __call__(self, writer: Writer, inputs: tuple[Buffer, ...], out: Buffer) -> None:
        axis, taps = self.axis, self.taps
        if not axis.size:
            return
        loops = [
            Loop(axis.outer, (axis.count * axis.inner, axis.extent * axis.inner, 0)),
            Loop(axis.count, (axis.inner, 0, taps)),
        ]
        parallel = axis.size * taps >= PARALLEL_MOVES
        with fused_loops(writer, loops, (0, 0, 0), parallel=parallel) as (to, first, tap):
            rows = [
                writer.bind_index(index_sum((first, 1), (row, axis.inner)))
                for row in self._numbers(writer, inputs[1], tap)
            ]
            factors: list[Expr] = []
            if self.weighted:
                places = [index_sum((tap, 1), (t, 1)) for t in range(taps)]
                factors = [writer.bind(inputs[2].load(place)) for place in places]
            self._row(writer, inputs[0], out, to, rows, factors)

    def _numbers(self, writer: Writer, indices: Buffer, tap: Index) -> list[Expr]:
        found: list[Expr] = []
        for t in range(self.taps):
            number = writer.bind(indices.load(index_sum((tap, 1), (t, 1))))
            if self.clamps:
                last = self.axis.extent - 1
                low = writer.bind(select(number < 0, 0, number))
                number = writer.bind(select(low > last, last, low)).cast("int32")
            found.append(number)
        return found

    def _row(
        self,
        writer: Writer,
        data: Buffer,
        out: Buffer,
        to: Index,
        rows: Sequence[Index],
        factors: Sequence[Expr],
    ) -> None:
        done = 0
        for lanes in (self.lanes, 1):
            steps = (self.axis.inner - done) // lanes
            if not steps:
                continue
            with writer.loop(steps) as i:
                behind = [index_sum((row, 1), (done, 1), (i, lanes)) for row in rows]
                values = [writer.bind(data.load(place, lanes)) for place in behind]
                if factors:
                    total = writer.bind(values[0] * factors[0])
                    for value, factor in zip(values[1:], factors[1:], strict=True):
                        total = writer.bind(total + value * factor)
                    values = [total]
                writer.store(out, index_sum((to, 1), (done, 1), (i, lanes)), values[0])
            done += steps * lanes


def picked(planner: Planner, source: Slot, dims: Sequence[int], axis: int, table: Array) -> Slot:
    """The slices of `source` along `axis` that a table of valid numbers names."""
    around = _Axis.of(dims, axis, len(table))
    kernel = _Rows(around, 1, False, False, planner.machine.lanes(source.dtype))
    inputs = (source, planner.constant(table.astype(np.int32)))
    return planner.call("pick", kernel, inputs, source.dtype, around.size)


@lower(Resample)
def resample(op: Resample, planner: Planner, tail: Tail) -> None:
    count, taps = op.indices.tensor.dims
    axis = _Axis.of(op.x.tensor.dims, op.axis, count)
    source, weights, numbers = planner.slot(op.x), planner.slot(op.weights), constant_of(op.indices)
    if not taps:  # a sum of nothing
        planner.define(op.result, planner.constant(np.zeros(axis.size, source.dtype)))
        return
    if numbers is None:
        indices = planner.slot(op.indices)
    else:
        indices = planner.constant(np.clip(numbers, 0, axis.extent - 1).astype(np.int32))
    kernel = _Rows(axis, taps, True, numbers is None, planner.machine.lanes(source.dtype))
    slot = planner.call("resample", kernel, (source, indices, weights), source.dtype, axis.size)
    planner.define(op.result, slot)
