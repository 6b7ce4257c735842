"""Where tensors lie in memory: none over another while both live, in as few bytes as we find."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

ALIGNMENT = 64
"""Bytes: a cache line."""
REPAIRS = 8
"""Orders tried after the three greedy ones."""


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
    """The best of three greedy orders; each takes the lowest gap free for the whole lifetime.

    While none reaches the lower bound, what stuck out highest goes first in the best order.
    """
    sizes = [aligned(lifetime.nbytes) for lifetime in lifetimes]
    firsts = [lifetime.first for lifetime in lifetimes]
    spans = [lifetime.last - lifetime.first + 1 for lifetime in lifetimes]
    largest = [(-size, first) for size, first in zip(sizes, firsts, strict=True)]
    earliest = [(first, -size) for size, first in zip(sizes, firsts, strict=True)]
    widest = [(-size * span, first) for size, span, first in zip(sizes, spans, firsts, strict=True)]
    bound, everything = lower_bound(lifetimes), range(len(lifetimes))
    orders = [sorted(everything, key=key.__getitem__) for key in (largest, earliest, widest)]
    tried = [_Attempt.of(lifetimes, sizes, order, start) for order in orders]
    best = latest = min(tried, key=lambda attempt: attempt.peak)
    for _ in range(REPAIRS):
        if best.peak <= bound:
            break
        first = latest.highest
        order = [first, *(index for index in latest.order if index != first)]
        latest = _Attempt.of(lifetimes, sizes, order, start)
        best = min(best, latest, key=lambda attempt: attempt.peak)
    return Placement(tuple(best.offsets), best.peak, bound)


@dataclass(frozen=True)
class _Attempt:
    order: Sequence[int]
    offsets: list[int]
    peak: int
    highest: int
    """Which lifetime ends there."""

    @classmethod
    def of(
        cls, lifetimes: Sequence[Lifetime], sizes: Sequence[int], order: Sequence[int], start: int
    ) -> "_Attempt":
        offsets = _place(lifetimes, order, start)
        ends = [offset + size for offset, size in zip(offsets, sizes, strict=True)]
        highest = max(range(len(ends)), key=ends.__getitem__, default=0)
        return cls(order, offsets, max(ends, default=start) - start, highest)


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
