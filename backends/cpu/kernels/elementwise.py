"""The map kernel: one expression at every point of a space; also strided copies."""

from collections.abc import Sequence
from dataclasses import dataclass

from mcc.ir import Value

from ..plan import Planner
from ..registry import Strides, contiguous
from ..storage import Slot, stored
from ..tail import Apply, Leaf, Node, Point, Tail, compute
from ..tir import Buffer, Index, Writer
from .loops import PARALLEL_WORK, Loop, collapse, fused_loops

_CHUNK = 8192
"""Elements that one thread takes at a time of a space without outer loops."""


@dataclass(frozen=True)
class Map:
    """What is stored at each point; a loop's strides: the result's, then the operands'."""

    loops: tuple[Loop, ...]
    starts: tuple[int, ...]
    root: Node
    lanes: int

    def write_at(
        self,
        writer: Writer,
        operands: tuple[Buffer, ...],
        out: Buffer,
        starts: tuple[Index, ...],
    ) -> None:
        """One row (a space of one loop), from places that the surrounding loops set."""
        (row,) = self.loops
        self._row(writer, row, starts, operands, out)

    def write(self, writer: Writer, operands: tuple[Buffer, ...], out: Buffer) -> None:
        """The loops; outermost in parallel when there is enough to do."""
        *outer, last = collapse(self.loops, len(self.starts))
        work = last.extent * _cost(self.root)
        for loop in outer:
            work *= loop.extent
        parallel = work >= PARALLEL_WORK
        rest = 0
        if not outer and last.extent >= 2 * _CHUNK:
            rest = last.extent % _CHUNK
            outer = [last.scaled(_CHUNK, last.extent // _CHUNK)]
            last = Loop(_CHUNK, last.strides)
        with fused_loops(writer, outer, self.starts, parallel=parallel) as places:
            self._row(writer, last, places, operands, out)
        if rest:
            done = outer[0].extent
            moved = [
                start + done * stride
                for start, stride in zip(self.starts, outer[0].strides, strict=True)
            ]
            with writer.once():
                self._row(writer, Loop(rest, last.strides), moved, operands, out)

    def _row(
        self,
        writer: Writer,
        row: Loop,
        places: Sequence[Index],
        operands: tuple[Buffer, ...],
        out: Buffer,
    ) -> None:
        done = 0
        for lanes in (self.lanes, 1):
            count = (row.extent - done) // lanes
            if not count:
                continue
            moved = [
                place + done * stride for place, stride in zip(places, row.strides, strict=True)
            ]
            with fused_loops(writer, [row.scaled(lanes, count)], moved, parallel=False) as at:
                point = Point(tuple(at[1:]), row.strides[1:], lanes)
                value = writer.bind(compute(self.root, writer, operands, point, None))
                writer.store(out, at[0], value, row.strides[0])
            done += count * lanes


def _cost(node: Node) -> int:
    """A rough count of operations per element."""
    if isinstance(node, Apply):
        return 4 + sum(_cost(item) for item in node.arguments)
    return 1


def write_elementwise(planner: Planner, tail: Tail) -> None:
    """The kernel of element-wise ops that nothing else computes for."""
    ours = contiguous(tail.shape)
    read = [operand.strides or (0,) * len(ours) for operand in tail.operands]
    loops = tuple(
        Loop(extent, (ours[axis], *(strides[axis] for strides in read)))
        for axis, extent in enumerate(tail.shape)
    )
    dtypes = [stored(tail.value.tensor.dtype), *(operand.slot.dtype for operand in tail.operands)]
    lanes = 1 if tail.scalar else min(planner.machine.lanes(t) for t in (*dtypes, "int32"))
    kernel = Map(loops, (0,) * (1 + len(read)), tail.root, lanes)
    planner.finish(tail, "map", _when_any(tail.shape, kernel), (), in_place=True)


def _when_any(shape: tuple[int, ...], kernel: Map) -> "_Guarded":
    return _Guarded(kernel, 0 not in shape)


@dataclass(frozen=True)
class _Guarded:
    """A kernel that does nothing for an empty result."""

    kernel: Map
    any: bool

    def __call__(self, writer: Writer, inputs: tuple[Buffer, ...], out: Buffer) -> None:
        if self.any:
            self.kernel.write(writer, inputs, out)


def strided_copy(
    planner: Planner,
    source: Slot,
    shape: tuple[int, ...],
    strides: Strides,
    start: int = 0,
    name: str = "copy",
) -> Slot:
    """A new array of `shape` whose element at i is source[start + i * strides]."""
    ours = contiguous(shape)
    loops = tuple(Loop(extent, (ours[axis], strides[axis])) for axis, extent in enumerate(shape))
    kernel = Map(loops, (0, start), Leaf(0), planner.machine.lanes(source.dtype))
    size = 1
    for extent in shape:
        size *= extent
    return planner.call(name, _when_any(shape, kernel), (source,), source.dtype, size)


def transposed(planner: Planner, value: Value, perm: Sequence[int]) -> Slot:
    """A copy of a value with its axes permuted; the value itself where nothing moves."""
    shape = value.tensor.dims
    moving = [axis for axis in perm if shape[axis] != 1]
    if moving == sorted(moving):
        return planner.slot(value)
    strides = contiguous(shape)
    return strided_copy(
        planner,
        planner.slot(value),
        tuple(shape[axis] for axis in perm),
        tuple(strides[axis] for axis in perm),
        name="transpose",
    )


def finish_with(planner: Planner, tail: Tail, slot: Slot) -> None:
    """Store what is fused behind an anchor whose raw result lies in `slot` already."""
    if not isinstance(tail.root, Apply):
        planner.define(tail.value, slot)
        return
    leaf = tail.add_operand(slot, contiguous(tail.shape))
    tail.graft(lambda anchor: leaf)
    write_elementwise(planner, tail)
