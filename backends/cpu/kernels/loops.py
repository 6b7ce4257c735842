"""Iteration spaces: loops with a stride for each array, and how they merge and split."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ..tir import Index, Writer, index_sum

PARALLEL_WORK = 1_000_000
"""Element operations below which starting the other threads costs more than it saves."""
PARALLEL_MOVES = 100_000
"""The same for elements that are only moved, which takes ten times as long."""


@dataclass(frozen=True)
class Loop:
    """`extent` steps; array number i advances by `strides[i]` elements a step."""

    extent: int
    strides: tuple[int, ...]

    def scaled(self, factor: int, extent: int) -> "Loop":
        """A loop over blocks of `factor` steps."""
        return Loop(extent, tuple(stride * factor for stride in self.strides))

    def with_array(self, stride: int) -> "Loop":
        """The loop with one more array."""
        return Loop(self.extent, (*self.strides, stride))

    def with_stride(self, array: int, stride: int) -> "Loop":
        """The loop with another stride in one of the arrays."""
        return Loop(self.extent, (*self.strides[:array], stride, *self.strides[array + 1 :]))


def collapse(loops: Sequence[Loop], arrays: int) -> list[Loop]:
    """The same points in the same order in as few loops as the strides allow; at least one."""
    merged: list[Loop] = []
    for loop in loops:
        if loop.extent == 1:
            continue
        if merged and all(
            outer == loop.extent * inner
            for outer, inner in zip(merged[-1].strides, loop.strides, strict=True)
        ):
            merged[-1] = Loop(merged[-1].extent * loop.extent, loop.strides)
        else:
            merged.append(loop)
    return merged or [Loop(1, (0,) * arrays)]


@contextmanager
def fused_loops(
    writer: Writer, loops: Sequence[Loop], starts: Sequence[Index], *, parallel: bool
) -> Generator[list[Index]]:
    """All loops as one, and where each array stands in its body."""
    total = 1
    for loop in loops:
        total *= loop.extent
    with writer.loop(total, parallel=parallel) as step:
        indices: list[Index] = []
        rest = step
        for position, loop in enumerate(reversed(loops)):
            if position == len(loops) - 1 or isinstance(rest, int):
                indices.append(rest if loop.extent > 1 or isinstance(rest, int) else 0)
            else:
                indices.append(writer.bind_index(rest % loop.extent) if loop.extent > 1 else 0)
                rest = writer.bind_index(rest // loop.extent) if loop.extent > 1 else rest
        indices.reverse()
        yield [
            writer.bind_index(
                index_sum(
                    (start, 1),
                    *((i, loop.strides[array]) for i, loop in zip(indices, loops, strict=True)),
                )
            )
            for array, start in enumerate(starts)
        ]


@contextmanager
def nested_loops(
    writer: Writer, loops: Sequence[Loop], starts: Sequence[Index]
) -> Generator[list[Index]]:
    """One serial loop inside the other, and where each array stands in the innermost body."""
    if not loops:
        yield list(starts)
        return
    first, *rest = loops
    with writer.loop(first.extent) as step:
        moved: list[Index] = [
            index_sum((start, 1), (step, stride))
            for start, stride in zip(starts, first.strides, strict=True)
        ]
        with nested_loops(writer, rest, moved) as places:
            yield places


def widths(extent: int, lanes: int) -> list[int]:
    """An extent as vectors: as many of `lanes` as fit, then smaller powers of two."""
    found: list[int] = []
    while extent:
        while lanes > extent:
            lanes //= 2
        found.append(lanes)
        extent -= lanes
    return found


def digits(writer: Writer, number: Index, extents: Sequence[int]) -> list[Index]:
    """A number by the extents of loops, the innermost last."""
    found: list[Index] = []
    for extent in reversed(extents[1:]):
        found.append(writer.bind_index(number % extent) if extent > 1 else 0)
        number = writer.bind_index(number // extent) if extent > 1 else number
    return [number, *reversed(found)] if extents else []
