"""Elementary functions on vectors of float32, as LLVM would call the C library once per element.

Relative errors stay below 1e-6 (1e-5 promised) over the whole range; infinities and NaN behave as
IEEE says. Other float types use the C library.
"""

from collections.abc import Callable, Sequence

from ..tir import Expr, Writer, constant, intrinsic, libm, select, shuffle
from . import avx512

_LOG2E = 1.4426950408889634
_LN2_HIGH = 0.693359375  # few bits, so that n * high is exact
_LN2_LOW = -2.12194440e-4
_LN2 = 0.6931471805599453
_ROUND = 12582912.0  # 1.5 * 2^23: adding it leaves the rounded integer in the low bits
_BIASED = _ROUND + 127.0  # and then the exponent field of 2^n


def shortened(writer: Writer, x: Expr) -> Expr:
    """The bits of the bfloat16 nearest to a float32, halves to even; NaN stays NaN."""
    bits = writer.bind(x.bits("uint32"))
    last = writer.bind((bits >> 16) & 1)
    rounded = writer.bind((bits + 0x7FFF + last) >> 16)
    quiet = writer.bind((bits >> 16) | 0x40)
    # A mantissa of all ones would carry a NaN over into an infinity.
    is_nan = (bits & 0x7FFFFFFF) > 0x7F800000
    return select(is_nan, quiet, rounded).cast("uint16")


def widened(x: Expr) -> Expr:
    """The float32 that a bfloat16's bits stand for."""
    return (x.cast("uint32") << 16).bits("float32")


def polynomial(x: Expr, coefficients: Sequence[float]) -> Expr:
    """Horner's rule, highest power first."""
    total = constant(coefficients[0], x.dtype, x.lanes)
    for coefficient in coefficients[1:]:
        total = total * x + coefficient
    return total


def exp(writer: Writer, x: Expr) -> Expr:
    """e^x: 2^n times a polynomial on |r| <= ln2/2 (Cephes expf)."""
    if x.dtype != "float32":
        return libm("exp", x)
    low = select(x < -104.0, -104.0, x)
    bounded = writer.bind(select(low > 89.0, 89.0, low))
    shifted = writer.bind(bounded * _LOG2E + _ROUND)
    n = writer.bind(shifted - _ROUND)
    r = writer.bind(bounded - n * _LN2_HIGH - n * _LN2_LOW)
    tail = polynomial(
        r,
        (
            1.9875691500e-4,
            1.3981999507e-3,
            8.3334519073e-3,
            4.1665795894e-2,
            1.6666665459e-1,
            5.0000001201e-1,
        ),
    )
    power = writer.bind(tail * r * r + r + 1.0)
    # The integer sits in the low bits of `shifted`; two factors reach beyond one exponent's range.
    exponent = writer.bind(shifted.bits("int32") - 0x4B400000)
    half = writer.bind(exponent >> 1)
    first = ((half + 127) << 23).bits("float32")
    second = ((exponent - half + 127) << 23).bits("float32")
    return power * first * second


def decay(writer: Writer, x: Expr) -> Expr:
    """e^x where x is at most 0, in half the operations; 0 instead of denormal numbers."""
    if x.dtype != "float32":
        return libm("exp", x)
    # At -88, n becomes -127, and the exponent of the factor 0: that of 0.0.
    mantissa, factor = _power(writer, writer.bind(select(x < -88.0, -88.0, x)), 1)
    # A product, not a sum of exponents: NaN stays NaN.
    return mantissa * factor


def _power(writer: Writer, x: Expr, sign: int) -> tuple[Expr, Expr]:
    """The factors p and 2^n of e^(sign * x), for sign * x in [-88, 89].

    n is nearest to sign * x / ln2, from -127 (2^n is 0.0) to 128 (infinity); p is a minimax
    polynomial of relative error 1e-7 on |r| <= ln2/2.
    """
    shifted = writer.bind(x * (sign * _LOG2E) + _BIASED)
    n = writer.bind(shifted - _BIASED)
    r = writer.bind(x * sign - n * _LN2)
    power = polynomial(
        r,
        (
            8.290144614875317e-3,
            4.189885035157204e-2,
            1.6667644679546356e-1,
            4.9999141693115234e-1,
            9.999997019767761e-1,
            1.0,
        ),
    )
    return power, (shifted.bits("int32") << 23).bits("float32")


def sigmoid(writer: Writer, x: Expr) -> Expr:
    """1 / (1 + e^-x). Denormal results may become 0."""
    if x.dtype != "float32":
        return 1.0 / (libm("exp", x * -1.0) + 1.0)
    if writer.estimates:
        return avx512.in_vectors(x, lambda wide: _estimated_sigmoid(writer, wide))
    # At -88.8, n becomes 128: the sum is infinite and the result 0, as that of -infinity must be.
    low = select(x < -88.8, -88.8, x)
    bounded = writer.bind(select(low > 88.0, 88.0, low))
    mantissa, factor = _power(writer, bounded, -1)
    return 1.0 / (mantissa * factor + 1.0)


def _estimated_sigmoid(writer: Writer, x: Expr) -> Expr:
    """The same in two thirds of the time, with a relative error of up to 4e-6 far from 0.

    e^-x is 2^(b - f) times a minimax polynomial of relative error 1e-7 for 2^f, 0 <= f < 1.
    Infinities need no care: their f is 0.
    """
    b = writer.bind(x * -_LOG2E)
    power = polynomial(
        writer.bind(avx512.fraction(b)),
        (
            1.8775766455098994e-3,
            8.989340162360358e-3,
            5.582631799295968e-2,
            2.401536170647657e-1,
            6.931530731978089e-1,
            9.999999250635682e-1,
        ),
    )
    total = writer.bind(avx512.scaled(writer.bind(power), b) + 1.0)
    estimate = writer.bind(avx512.reciprocal(total))
    # The estimate for infinity is 0, and remains it in Newton's step if their product is no NaN.
    finite = writer.bind(select(total > 3e38, 3e38, total))
    return estimate + estimate * writer.bind(1.0 - finite * estimate)


def tanh(writer: Writer, x: Expr) -> Expr:
    """Cephes tanhf: a polynomial below 0.625, else 1 - 2 / (e^2|x| + 1)."""
    if x.dtype != "float32":
        return libm("tanh", x)
    magnitude = writer.bind(intrinsic("llvm.fabs", x))
    square = writer.bind(x * x)
    near = polynomial(
        square,
        (
            -5.70498872745e-3,
            2.06390887954e-2,
            -5.37397155531e-2,
            1.33314422036e-1,
            -3.33332819422e-1,
        ),
    )
    small = near * square * x + x
    power = writer.bind(exp(writer, writer.bind(magnitude * 2.0)))
    large = intrinsic("llvm.copysign", writer.bind(1.0 - 2.0 / (power + 1.0)), x)
    return select(magnitude < 0.625, small, large)


def erf(writer: Writer, x: Expr) -> Expr:
    """A rational approximation on [-4, 4] (Eigen's for float32); beyond it erf rounds to +-1."""
    if x.dtype != "float32":
        return libm("erf", x)
    low = select(x < -4.0, -4.0, x)
    bounded = writer.bind(select(low > 4.0, 4.0, low))
    square = writer.bind(bounded * bounded)
    top = polynomial(
        square,
        (
            -2.72614225801306e-10,
            2.77068142495902e-08,
            -2.10102402082508e-06,
            -5.69250639462346e-05,
            -7.34990630326855e-04,
            -2.95459980854025e-03,
            -1.60960333262415e-02,
        ),
    )
    bottom = polynomial(
        square,
        (
            -1.45660718464996e-05,
            -2.13374055278905e-04,
            -1.68282697438203e-03,
            -7.37332916720468e-03,
            -1.42647390514189e-02,
        ),
    )
    return bounded * top / bottom


def larger(writer: Writer, a: Expr, b: Expr) -> Expr:
    """max(a, b); NaN wins."""
    if not a.is_float:
        return select(a > b, a, b)
    return intrinsic("llvm.maximum", a, b)


def smaller(writer: Writer, a: Expr, b: Expr) -> Expr:
    """min(a, b); NaN wins."""
    if not a.is_float:
        return select(a < b, a, b)
    return intrinsic("llvm.minimum", a, b)


def across(writer: Writer, vector: Expr, combine: Callable[[Writer, Expr, Expr], Expr]) -> Expr:
    """All lanes of a vector combined into one: its halves, their halves, and so on."""
    while vector.lanes > 1:
        half = vector.lanes // 2
        low, high = (shuffle(vector, vector, range(first, first + half)) for first in (0, half))
        vector = writer.bind(combine(writer, writer.bind(low), writer.bind(high)))
    return vector
