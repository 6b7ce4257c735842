"""Bounds of int32 accumulators: interval analysis on the actual weights."""

from dataclasses import dataclass

import numpy as np

from mcc.ir import Array

LARGEST = 2**62
"""Where integers are cut off before they are added, far above every limit."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an accumulator can hold, over all inputs; one int64 for each output channel."""

    lo: Array
    """The smallest final sum."""
    hi: Array
    """The largest final sum."""
    magnitude: Array
    """No partial sum exceeds it, in whatever order the terms come, zero points folded or not."""

    @property
    def summary(self) -> tuple[int, int, int]:
        """Over all channels: lo, hi, magnitude."""
        return (
            int(self.lo.min()),
            int(self.hi.max()),
            int(self.magnitude.max()),
        )


def accumulator_bounds(
    weights: Array,
    x: tuple[int, int, int],
    bias: Array | None = None,
    factor: Array | None = None,
    residual: tuple[int, int, int] = (0, 0, 0),
) -> Bounds:
    """The bounds of `sum((x - z_x) * w) + bias + factor * (r - z_r)`.

    Args:
        weights: Integers, output channels first.
        x: Smallest and largest integer of the input, and its zero point between them, which is
            what padding holds.
        bias: One integer for each output channel.
        factor: The residual's factor, one number or one for each output channel.
        residual: Smallest and largest integer of the residual, and its zero point.
    """
    rows = weights.reshape(weights.shape[0], -1).astype(np.int64)
    positive, negative = np.maximum(rows, 0).sum(1), np.minimum(rows, 0).sum(1)
    low, high, zero = x
    constant = np.zeros(len(rows), np.int64) if bias is None else bias.astype(np.int64)
    k = np.zeros(len(rows), np.int64) if factor is None else factor.astype(np.int64)
    r_low, r_high, r_zero = residual
    total = positive - negative
    folded = constant - zero * rows.sum(1) - k * r_zero
    centred = total * max(high - zero, zero - low) + np.abs(constant)
    centred = centred + k * max(r_high - r_zero, r_zero - r_low)
    raw = total * max(abs(low), abs(high)) + np.abs(folded) + k * max(abs(r_low), abs(r_high))
    return Bounds(
        positive * (low - zero) + negative * (high - zero) + constant + k * (r_low - r_zero),
        positive * (high - zero) + negative * (low - zero) + constant + k * (r_high - r_zero),
        np.maximum(centred, raw),
    )
