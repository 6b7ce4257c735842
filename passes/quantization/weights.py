"""Weights and biases as integers."""

from dataclasses import dataclass

import numpy as np

from mcc.ir import Array, DType
from mcc.ops import quantize_array

from .encoding import SMALLEST_SCALE, power_above

CLIPS = np.linspace(1.0, 0.5, 51)
"""The shares of the largest weight that the search for the least squared error tries."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Symmetric int8 weights, output channels first."""

    integers: Array
    scale: Array
    """float32, one number or one for each output channel."""

    @property
    def real(self) -> Array:
        """What the integers stand for."""
        return self.integers.astype(np.float32) * _columns(self.scale, self.integers.ndim)


def largest(rows: Array, *, per_channel: bool, clip: bool, most: int = 127) -> Array:
    """The magnitude that 127 stands for, for the tensor or for each output channel, in float64.

    Args:
        rows: Real weights, output channels first.
        per_channel: One number for each output channel.
        clip: Choose it with the least squared error instead of the largest magnitude.
        most: The largest integer that there is, 127 or less.
    """
    flat = np.abs(rows.reshape(rows.shape[0] if per_channel else 1, -1).astype(np.float64))
    peak: Array = flat.max(1)
    if clip:
        best: Array = peak
        least: Array = np.full(peak.shape, np.inf)
        for share in CLIPS:
            step = np.maximum(peak * share / most, SMALLEST_SCALE)[:, None]
            rounded = np.minimum(np.rint(flat / step), most) * step
            error = ((flat - rounded) ** 2).sum(1)
            best = np.where(error < least, peak * share, best)
            least = np.minimum(error, least)
        peak = best
    peak = peak * (127 / most)
    return peak if per_channel else peak.reshape(())


def weight_scale(peak: Array, *, power_of_two: bool) -> Array:
    """The float32 scale at which 127 stands for `peak` (or a little less, for a power of two)."""
    scale = np.maximum(peak / 127, SMALLEST_SCALE).astype(np.float32)
    if power_of_two:
        powers = [power_above(float(s)) for s in np.atleast_1d(scale)]
        scale = np.asarray(powers, np.float32).reshape(scale.shape)
    return scale


def quantize_weights(rows: Array, scale: Array, most: int = 127) -> Weights:
    """Real weights, output channels first, as integers in [-most, most]."""
    integers = quantize_array(rows, scale, np.zeros(scale.shape), DType.I8)
    return Weights(np.clip(integers, -most, most).astype(np.int8), scale)


def accumulator_scale(x_scale: float, weight: Array) -> Array:
    """float32(s_x * s_w): the unit of the accumulator."""
    return np.asarray(np.float32(x_scale) * weight, np.float32)


def _columns(vector: Array, rank: int) -> Array:
    return vector.reshape((-1,) + (1,) * (rank - 1)) if vector.ndim else vector
