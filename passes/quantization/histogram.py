"""A histogram of a stream whose extent is not known beforehand."""

import math

import numpy as np

from mcc.ir import Array

from .scheme import Method

BINS = 4096
"""Over [-extent, extent).

Some 16 bins for each of the 256 steps, on the side that is used least.
"""

SHRINKS = tuple(1.0 - step / 100 for step in range(71))
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
        position = ((flat.astype(np.float64) / self.extent + 1.0) * (BINS / 2)).astype(np.int64)
        self.counts += np.bincount(np.minimum(position, BINS - 1), minlength=BINS)

    def _reach(self, magnitude: float) -> None:
        if magnitude <= self.extent or magnitude == 0.0:
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
        cut = counts.sum() * (100.0 - percentile) / 200.0
        running = np.cumsum(counts)
        width = 2 * self.extent / BINS
        low = int(np.searchsorted(running, cut, side="right"))
        high = int(np.searchsorted(running, counts.sum() - cut, side="left"))
        return (
            max(self.lo, low * width - self.extent),
            min(self.hi, (high + 1) * width - self.extent),
        )

    def _least_error(self) -> tuple[float, float]:
        """The shrunk [lo, hi] whose 255 steps have the least mean squared error.

        An element inside costs step^2 / 12 (uniform rounding error), one outside its squared
        distance.
        """
        centres, counts = self.centres, self.counts.astype(np.float64)
        used = counts > 0
        centres, counts = centres[used], counts[used]
        best, least = (self.lo, self.hi), math.inf
        lo, hi = min(self.lo, 0.0), max(self.hi, 0.0)
        for share in SHRINKS:
            low, high = lo * share, hi * share
            outside = centres - np.clip(centres, low, high)
            step = (high - low) / 255
            inside = counts[outside == 0].sum() * step * step / 12
            error = float(inside + (counts * outside * outside).sum())
            if error < least:
                best, least = (max(self.lo, low), min(self.hi, high)), error
        return best


__all__ = ["BINS", "Histogram"]
