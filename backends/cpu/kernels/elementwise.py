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
from .border import Border
from .loops import Loop, collapse
from .map import Map
from .transpose import Interleaving, Transposition


def write_elementwise(planner: Planner, tail: Tail) -> None:
    """The kernel of element-wise ops that nothing else computes for."""
    dtype = stored(tail.value.tensor.dtype)
    halo = planner.halos.get(tail.value)
    border = None if halo is None else Border.of(halo, tail.shape, planner.machine, dtype)
    ours = contiguous(tail.shape if border is None else border.result)
    read = [operand.strides or (0,) * len(ours) for operand in tail.operands]
    loops = tuple(
        Loop(extent, (ours[axis], *(strides[axis] for strides in read)))
        for axis, extent in enumerate(tail.shape)
    )
    dtypes = [dtype, *(operand.slot.dtype for operand in tail.operands)]
    lanes = 1 if tail.scalar else min(planner.machine.lanes(t) for t in (*dtypes, "int32"))
    origin = 0 if border is None else border.origin
    kernel = _Copying(Map(loops, (origin, *(0 for _ in read)), tail.root, lanes), border)
    if halo is None or border is None:
        planner.finish(tail, "map", kernel, (), in_place=True)
        return
    slots = tuple(operand.slot for operand in tail.operands)
    slot = planner.call("map", kernel, slots, dtype, border.size)
    planner.bordered[tail.value] = (halo, slot)
    # Only who observes the value calls this copy.
    planner.define(tail.value, strided_copy(planner, slot, tail.shape, ours, origin, "crop"))


@dataclass(frozen=True)
class _Copying:
    """A kernel with what it writes around its result; it does nothing for an empty one."""

    kernel: Map | Transposition | Interleaving
    border: Border | None

    def __call__(self, writer: Writer, inputs: tuple[Buffer, ...], out: Buffer) -> None:
        if self.border is not None:
            self.border.write(writer, out)
        if not isinstance(self.kernel, Map):
            self.kernel(writer, inputs, out)
        elif all(loop.extent for loop in self.kernel.loops):
            self.kernel.write(writer, inputs, out)


def strided_copy(
    planner: Planner,
    source: Slot,
    shape: tuple[int, ...],
    strides: Strides,
    start: int = 0,
    name: str = "copy",
    border: Border | None = None,
) -> Slot:
    """A new array of `shape` whose element at i is source[start + i * strides].

    With a border it is as much larger.
    """
    ours = contiguous(shape if border is None else border.result)
    loops = tuple(Loop(extent, (ours[axis], strides[axis])) for axis, extent in enumerate(shape))
    starts = (0 if border is None else border.origin), start
    kernel: Map | Transposition | Interleaving | None = None
    if 0 not in shape:
        merged = collapse(loops, 2)
        kernel = Transposition.of(merged, starts, source.dtype, planner.machine)
        kernel = kernel or Interleaving.of(merged, starts, source.dtype, planner.machine)
    kernel = kernel or Map(loops, starts, Leaf(0), planner.machine.lanes(source.dtype))
    size = math.prod(shape) if border is None else border.size
    return planner.call(name, _Copying(kernel, border), (source,), source.dtype, size)


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
