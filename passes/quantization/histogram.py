"""A histogram of a stream whose extent is not known beforehand."""

import math

import numpy as np

from mcc.ir import Array

from .scheme import Method

BINS = 4096
"""Over [-extent, extent).

Some 16 bins for each of the 256 steps, on the side that is used least.
"""

SHRINKS: Array = 1.0 - np.arange(71) / 100
"""The shares of the full range that the search for the least squared error tries."""


class Histogram:
    """Counts over [-extent, extent), a power of two that doubles when an element lies outside.

    Doubling merges pairs of neighbouring bins, so counts stay exact. Zeros are counted apart: every
    encoding represents them exactly.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(BINS, np.int64)
        self.extent = 0.0
        self.zeros = 0
        self.lo = math.inf
        self.hi = -math.inf

    def add(self, array: Array) -> None:
        """Count the elements of an array.

        Raises:
            ValueError: If one of them is not finite.
        """
        flat = np.asarray(array, np.float32).ravel()
        if not flat.size:
            return
        lo, hi = float(flat.min()), float(flat.max())
        if not (math.isfinite(lo) and math.isfinite(hi)):
            raise ValueError("an element is not finite")
        self.lo, self.hi = min(self.lo, lo), max(self.hi, hi)
        self._reach(max(-lo, hi))
        if not self.extent:
            self.zeros += flat.size
            return
        zeros = int(np.count_nonzero(flat == 0))
        self.zeros += zeros
        if zeros:
            flat = flat[flat != 0]
        # The factor is a power of two, so bins have exact ends, and merging pairs of them is exact.
        position = np.floor(flat.astype(np.float64) * (BINS / 2 / self.extent)).astype(np.int64)
        self.counts += np.bincount(position + BINS // 2, minlength=BINS)

    def _reach(self, magnitude: float) -> None:
        if magnitude < self.extent or magnitude == 0.0:
            return
        wanted = math.ldexp(1.0, math.frexp(magnitude)[1])
        if not self.extent:
            self.extent = wanted
            return
        while self.extent < wanted:
            merged = self.counts.reshape(-1, 2).sum(1)
            self.counts = np.zeros(BINS, np.int64)
            self.counts[BINS // 4 : 3 * BINS // 4] = merged
            self.extent *= 2

    @property
    def centres(self) -> Array:
        """The middle of every bin."""
        width = 2 * self.extent / BINS
        return (np.arange(BINS) + 0.5) * width - self.extent

    def range(self, method: Method, percentile: float = 99.99) -> tuple[float, float]:
        """The range that a method of calibration chooses, always within [lo, hi]."""
        if not self.extent or method == "minmax":
            return min(self.lo, self.hi), self.hi
        if method == "percentile":
            return self._percentile(percentile)
        return self._least_error()

    def _percentile(self, percentile: float) -> tuple[float, float]:
        """Cut off (100 - percentile) / 2 percent of all elements at either end."""
        counts = self.counts.copy()
        counts[BINS // 2] += self.zeros
        running: Array = np.cumsum(counts)
        total = int(running[-1])
        cut = total * (100.0 - percentile) / 200.0
        width = 2 * self.extent / BINS
        low = int(np.searchsorted(running, cut, side="right"))
        high = int(np.searchsorted(running, total - cut, side="left"))
        return (
            max(self.lo, low * width - self.extent),
            min(self.hi, (high + 1) * width - self.extent),
        )

    def _least_error(self) -> tuple[float, float]:
        """The range with the least mean squared error, its ends shrunk independently.

        An element inside costs step^2 / 12 (uniform rounding error), one outside its squared
        distance. Zeros cost nothing.
        """
        centres, counts = self.centres, self.counts.astype(np.float64)
        lows, highs = min(self.lo, 0.0) * SHRINKS, max(self.hi, 0.0) * SHRINKS
        below, below_cost = _outside(-centres[::-1], counts[::-1], -lows)
        above, above_cost = _outside(centres, counts, highs)
        inside = counts.sum() - below[:, None] - above[None, :]
        steps = (highs[None, :] - lows[:, None]) / 255
        costs = inside * steps * steps / 12 + below_cost[:, None] + above_cost[None, :]
        low, high = np.unravel_index(int(costs.argmin()), costs.shape)
        return max(self.lo, float(lows[low])), min(self.hi, float(highs[high]))


def _outside(centres: Array, counts: Array, ends: Array) -> tuple[Array, Array]:
    """How many elements lie beyond each end, and the sum of their squared distances from it."""
    first = np.searchsorted(centres, ends, side="right")
    moments = [np.concatenate([[0.0], np.cumsum(counts * centres**power)]) for power in range(3)]
    number, total, squares = (moment[-1] - moment[first] for moment in moments)
    return number, squares - 2 * ends * total + ends * ends * number


__all__ = ["BINS", "Histogram"]
