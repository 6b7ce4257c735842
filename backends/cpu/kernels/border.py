"""Borders of a constant around an array, written by a copy or by the kernel of what is inside."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from ..machine import Machine
from ..plan import Halo, Planner
from ..registry import contiguous
from ..storage import Slot
from ..tail import Leaf
from ..tir import Buffer, Index, Writer, constant, index_sum
from .loops import PARALLEL_MOVES, Loop
from .map import Map


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
