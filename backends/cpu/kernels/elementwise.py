"""Element-wise ops as maps, and strided copies."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mcc.ir import Value

from ..plan import Planner
from ..registry import Strides, contiguous
from ..storage import Slot, stored
from ..tail import Apply, Leaf, Tail
from ..tir import Buffer, Writer
from .loops import Loop, collapse
from .map import Map
from .transpose import Transposition


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
    size = math.prod(shape)
    turning = Transposition.of(collapse(loops, 2), start, source.dtype, planner.machine)
    if turning is not None and size:
        return planner.call(name, turning, (source,), source.dtype, size)
    kernel = Map(loops, (0, start), Leaf(0), planner.machine.lanes(source.dtype))
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
