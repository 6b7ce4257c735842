"""The error function in float64, on whole arrays.

W. J. Cody, «Rational Chebyshev approximations for the error function», Mathematics of Computation
23 (1969), 631-637; coefficients as in his program CALERF (netlib, specfun/erf). One rational
function on each of |x| <= 0.46875, |x| <= 4 and beyond; the last two give erfc.
"""

import numpy as np

from mcc.ir import Array

# Numerator and denominator, the highest power first.
_SMALL = (
    (1.85777706184603153e-1, 3.16112374387056560e00, 1.13864154151050156e02,
     3.77485237685302021e02, 3.20937758913846947e03),
    (1.0, 2.36012909523441209e01, 2.44024637934444173e02,
     1.28261652607737228e03, 2.84423683343917062e03),
)  # fmt: skip
_MIDDLE = (
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e00,
     6.61191906371416295e01, 2.98635138197400131e02, 8.81952221241769090e02,
     1.71204761263407058e03, 2.05107837782607147e03, 1.23033935479799725e03),
    (1.0, 1.57449261107098347e01, 1.17693950891312499e02, 5.37181101862009858e02,
     1.62138957456669019e03, 3.29079923573345963e03, 4.36261909014324716e03,
     3.43936767414372164e03, 1.23033935480374942e03),
)  # fmt: skip
_LARGE = (
    (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1,
     1.25781726111229246e-1, 1.60837851487422766e-2, 6.58749161529837803e-4),
    (1.0, 2.56852019228982242e00, 1.87295284992346047e00, 5.27905102951428412e-1,
     6.05183413124413191e-2, 2.33520497626869185e-3),
)  # fmt: skip
_PER_ROOT_PI = 5.6418958354775628695e-1  # 1 / sqrt(pi)


def erf(x: Array) -> Array:
    """The error function of float64 values; the error is below 2e-16 absolute, NaN stays NaN."""
    size = np.abs(x)
    # Each element goes through one of the three branches; NaN goes through the first.
    y = np.empty_like(x)
    middle = (size > 0.46875) & (size <= 4.0)
    large = size > 4.0
    small = ~(middle | large)
    y[small] = x[small] * _ratio(_SMALL, x[small] * x[small])
    part = size[middle]
    y[middle] = 1.0 - _gauss(part) * _ratio(_MIDDLE, part)
    part = np.minimum(size[large], 6.0)  # erf is 1 to the last bit from there on
    inverse = 1.0 / (part * part)
    tail = (_PER_ROOT_PI - inverse * _ratio(_LARGE, inverse)) / part
    y[large] = 1.0 - _gauss(part) * tail
    return np.copysign(y, x)


def _ratio(coefficients: tuple[tuple[float, ...], tuple[float, ...]], x: Array) -> Array:
    """Two polynomials by Horner's rule, and their quotient."""
    above, below = coefficients
    top, bottom = np.full_like(x, above[0]), np.full_like(x, below[0])
    for a in above[1:]:
        top = top * x + a
    for b in below[1:]:
        bottom = bottom * x + b
    return top / bottom


def _gauss(size: Array) -> Array:
    """e^(-x^2), split as Cody does so that the square of a rounded x is exact."""
    head = np.trunc(size * 16.0) / 16.0
    return np.exp(-head * head) * np.exp(-(size - head) * (size + head))
