"""Where tensors lie in memory: none over another while both live, in as few bytes as we find."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

ALIGNMENT = 64
"""Bytes: a cache line."""


@dataclass(frozen=True)
class Lifetime:
    """Something that needs bytes from step `first` to step `last`, both included."""

    nbytes: int
    first: int
    last: int

    def meets(self, other: "Lifetime") -> bool:
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Placement:
    """An offset for each lifetime."""

    offsets: tuple[int, ...]
    peak: int
    """Bytes from the first offset to the end of the last."""
    lower_bound: int
    """The largest sum of what lives at once: no plan can have a smaller peak."""


def aligned(nbytes: int) -> int:
    """Rounded up to whole lines."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def place(lifetimes: Sequence[Lifetime], start: int) -> Placement:
    """The best of three greedy orders; each takes the lowest gap free for the whole lifetime."""
    sizes = [aligned(lifetime.nbytes) for lifetime in lifetimes]
    firsts = [lifetime.first for lifetime in lifetimes]
    spans = [lifetime.last - lifetime.first + 1 for lifetime in lifetimes]
    largest = [(-size, first) for size, first in zip(sizes, firsts, strict=True)]
    earliest = [(first, -size) for size, first in zip(sizes, firsts, strict=True)]
    widest = [(-size * span, first) for size, span, first in zip(sizes, spans, firsts, strict=True)]
    best: list[int] | None = None
    best_peak = 0
    for order in (largest, earliest, widest):
        offsets = _place(lifetimes, sorted(range(len(lifetimes)), key=order.__getitem__), start)
        ends = [o + aligned(t.nbytes) for o, t in zip(offsets, lifetimes, strict=True)]
        peak = max(ends, default=start) - start
        if best is None or peak < best_peak:
            best, best_peak = offsets, peak
    return Placement(tuple(best or ()), best_peak, lower_bound(lifetimes))


def lower_bound(lifetimes: Sequence[Lifetime]) -> int:
    """The largest sum of aligned sizes alive at one step."""
    changes: Counter[int] = Counter()
    for lifetime in lifetimes:
        changes[lifetime.first] += aligned(lifetime.nbytes)
        changes[lifetime.last + 1] -= aligned(lifetime.nbytes)
    return max(accumulate(changes[step] for step in sorted(changes)), default=0)


def _place(lifetimes: Sequence[Lifetime], order: Sequence[int], start: int) -> list[int]:
    """Offsets by lifetime. What is placed stays sorted by offset, in arrays: models are large."""
    offsets = [0] * len(lifetimes)
    placed = np.zeros((4, len(lifetimes)), np.int64)
    for count, index in enumerate(order):
        lifetime, size = lifetimes[index], aligned(lifetimes[index].nbytes)
        begin, end, first, last = placed[:, :count]
        meets = (first <= lifetime.last) & (last >= lifetime.first)
        # Where each of those that live at the same time begins, and where all before it have ended.
        begins = begin[meets]
        free = np.maximum.accumulate(np.concatenate(([start], end[meets])))
        fitting = np.flatnonzero(free[:-1] + size <= begins)
        position = int(free[fitting[0]] if fitting.size else free[-1])
        offsets[index] = position
        slot = int(np.searchsorted(begin, position, side="right"))
        placed[:, slot + 1 : count + 1] = placed[:, slot:count].copy()
        placed[:, slot] = position, position + size, lifetime.first, lifetime.last
    return offsets
