"""Scale and zero point of one integer tensor, and how a range becomes one."""

import math
from dataclasses import dataclass

import numpy as np

from mcc.ir import Array, DType, Quant
from mcc.ops import quantize_array

SMALLEST_SCALE = 2.0**-100
"""A range that is a point (a dead channel) still needs a scale, whose products stay normal."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """real = scale * (integer - zero), one scale for the whole tensor.

    The scale is a float32 number.
    """

    scale: float
    zero: int = 0
    dtype: DType = DType.I8

    @property
    def quant(self) -> Quant:
        return Quant((self.scale,), (self.zero,))

    def quantized(self, x: float) -> int:
        """One real number as an integer, by the rule of `quantize`; infinities saturate."""
        low, high = self.dtype.limits
        if math.isinf(x):
            return low if x < 0 else high
        return int(self.array(np.asarray(x, np.float32)))

    def array(self, x: Array) -> Array:
        """Real numbers as integers."""
        scale = np.asarray(self.scale, np.float32)
        return quantize_array(x, scale, np.asarray(self.zero), self.dtype)


def encode_range(
    lo: float, hi: float, *, symmetric: bool, power_of_two: bool = False, cap: float = math.inf
) -> Encoding:
    """The int8 encoding whose integers cover [lo, hi] and zero.

    Args:
        lo: Smallest real number.
        hi: Largest real number.
        symmetric: Zero point 0, and -128 unused.
        power_of_two: Round the scale up to a power of two, and the zero point to an even number:
            onnxruntime adds an addition's zero point before it rounds, which changes ties unless
            that is even.
        cap: The largest scale allowed; the ends of a wider range saturate.
    """
    lo, hi = min(lo, 0.0), max(hi, 0.0)
    scale = max(-lo, hi) / 127 if symmetric else (hi - lo) / 255
    scale = float32(max(scale, SMALLEST_SCALE))
    if power_of_two:
        scale = power_above(scale)
    if scale > cap:
        scale = power_below(cap) if power_of_two else float32_below(cap)
    if symmetric:
        return Encoding(scale)
    # The nearer end is exact where the range starts or ends at zero, which makes relu free.
    zero = 127 - round(hi / scale) if hi < -lo else -128 - round(lo / scale)
    if power_of_two:
        return Encoding(scale, max(-128, min(126, 2 * round(zero / 2))))
    return Encoding(scale, max(-128, min(127, zero)))


def float32(x: float) -> float:
    """The nearest float32 number."""
    return float(np.float32(x))


def float32_below(x: float) -> float:
    """The largest float32 number that is at most x."""
    near = np.float32(x)
    return float(near if float(near) <= x else np.nextafter(near, np.float32(-np.inf)))


def power_above(x: float) -> float:
    """The smallest power of two that is at least x."""
    mantissa, exponent = math.frexp(x)
    return math.ldexp(1.0, exponent - 1 if mantissa == 0.5 else exponent)


def power_below(x: float) -> float:
    """The largest power of two that is at most x."""
    return math.ldexp(1.0, math.frexp(x)[1] - 1)
