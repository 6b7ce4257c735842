"""A reduction in parts, between which the sums wait in the result."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from .loops import Loop
from .positions import W, X, Y


@dataclass(frozen=True)
class Part:
    """A part of the reduction: its loops, and where it begins in each array."""

    reduce: tuple[Loop, ...]
    starts: tuple[int, ...]
    step: int
    """To the next part, in w."""
    first: bool
    last: bool


def parts_of_reduction(reduce: tuple[Loop, ...], passes: int) -> Iterator[Part]:
    """The parts, in order; `passes` divides the outermost loop, or it and the next."""
    if passes == 1:
        yield Part(reduce, (0, 0, 0), 0, first=True, last=True)
        return
    outer, *rest = reduce
    whole = min(passes, outer.extent)
    loops = [outer.scaled(outer.extent // whole, whole)]
    left = [Loop(outer.extent // whole, outer.strides), *rest]
    if passes > whole:
        # Each step of the outermost loop by itself, and the next loop in parts.
        first, *rest = rest
        each = passes // whole
        loops.append(first.scaled(first.extent // each, each))
        left = [Loop(first.extent // each, first.strides), *rest]
    starts = [
        tuple(
            sum(i * loop.strides[array] for i, loop in zip(indices, loops, strict=True))
            for array in (Y, X, W)
        )
        for indices in itertools.product(*(range(loop.extent) for loop in loops))
    ]
    for number, (start, after) in enumerate(zip(starts, [*starts[1:], None], strict=True)):
        step = 0 if after is None else after[W] - start[W]
        yield Part(tuple(left), start, step, first=number == 0, last=after is None)
