"""The integer ops of a quantized model, to the bit (docs/numerics.md).

Round half to even; every float32 step is rounded.
"""

from typing import cast

from mcc.ir import DType, Op, constant_of
from mcc.ops import Dequantize, QAdd, Quantize, Requantize

from ..registry import channel, elementwise
from ..storage import stored
from ..tir import Expr, Writer, intrinsic, select
from .scalar import exactly


def rounded(x: Expr) -> Expr:
    """To the nearest integer, halves to even."""
    return intrinsic("llvm.rint", x)


def saturated(writer: Writer, x: Expr, zero: Expr | int, lo: int, hi: int, dtype: DType) -> Expr:
    """clamp(rint(x) + zero, lo, hi) of a float32; NaN becomes lo.

    The clamp comes first, in floats: beyond 2^24 they could not hold the sum, and with bounds that
    are integers rounding and clamping commute. For types of at most 16 bits.
    """
    if isinstance(zero, int):
        near = _bounded(writer, x, float(lo - zero), float(hi - zero))
        whole = _nearest(near)
        return (whole + zero if zero else whole).cast(stored(dtype))
    reach = float(2**22)  # any zero point of 16 bits or fewer keeps the sum beyond the range
    total = writer.bind(_nearest(_bounded(writer, x, -reach, reach)) + zero.cast("int32"))
    high_cut = select(total > hi, hi, total)
    return select(total < lo, lo, high_cut).cast(stored(dtype))


def _bounded(writer: Writer, x: Expr, low: float, high: float) -> Expr:
    # In the form of the processor's max and min; `not (x > low)` is true for NaN.
    raised = writer.bind(select(x > low, x, low))
    return writer.bind(select(raised < high, raised, high))


def _nearest(x: Expr) -> Expr:
    """The int32 nearest to a float32 within its range, halves to even: one conversion."""
    return intrinsic("llvm.lrint", x, dtype="int32")


def _axis(op: Op) -> int:
    return cast("Quantize | Dequantize | Requantize", op).axis


@elementwise(Quantize, align=channel(_axis))
def quantize(op: Quantize, writer: Writer, x: Expr, scale: Expr, zero: Expr) -> Expr:
    dtype = op.zero.tensor.dtype
    if writer.estimates and dtype in (DType.I8, DType.U8) and _is_plain(op):
        return _quantize_bytes(writer, x, scale, zero, dtype)
    ratio = writer.bind(x / scale)
    if dtype is DType.I32:
        return _quantize_wide(writer, writer.bind(rounded(ratio)), zero)
    return saturated(writer, ratio, zero, *dtype.limits, dtype)


def _is_plain(op: Quantize) -> bool:
    """Whether there is one constant scale, far enough from where float32 ends."""
    scale = constant_of(op.scale)
    return scale is not None and scale.size == 1 and 2.0**-64 <= float(scale.item()) <= 2.0**64


def _quantize_bytes(writer: Writer, x: Expr, scale: Expr, zero: Expr, dtype: DType) -> Expr:
    """The same without a division for each vector, which takes as long as all else together.

    A quotient that is off by less than a unit in its last place becomes the correctly rounded one
    by one multiply-add with the correctly rounded 1 / s and the exact remainder x - q * s (P.
    Markstein, IBM J. Res. Dev. 34, 1990, theorem 7). One such step before makes the product x * (1
    / s) near enough. Where remainders would be denormal, or not finite, the result is known: x is
    clamped first, to what becomes `lo` and `hi`, and below s / 4 any small error rounds to 0.
    """
    offset = zero.cast("float32")
    lo, hi = dtype.limits
    low = writer.bind((float(lo) - offset) * scale)
    high = writer.bind((float(hi) - offset) * scale)
    inverse = writer.bind(1.0 / scale)
    raised = writer.bind(select(x > low, x, low))
    near = writer.bind(select(raised < high, raised, high))
    quotient = writer.bind(near * inverse)
    for _ in range(2):
        remainder = writer.bind(intrinsic("llvm.fma", -quotient, scale, near))
        quotient = writer.bind(intrinsic("llvm.fma", remainder, inverse, quotient))
    return (_nearest(quotient) + zero.cast("int32")).cast(stored(dtype))


def _quantize_wide(writer: Writer, ratio: Expr, zero: Expr) -> Expr:
    """To i32: the sum in float64, which holds every int32."""
    lo, hi = DType.I32.limits
    total = writer.bind(ratio.cast("float64") + zero.cast("float64"))
    low, high = float(lo), float(hi)
    bounded = select(total > low, select(total < high, total, high), low)
    return bounded.cast("int32")


@elementwise(Dequantize, align=channel(_axis))
def dequantize(op: Dequantize, writer: Writer, x: Expr, scale: Expr, zero: Expr) -> Expr:
    if op.x.tensor.dtype is DType.I32:
        wide = x.cast("int64") - zero.cast("int64")
    else:
        wide = x.cast("int32") - zero.cast("int32")
    return exactly(wide.cast("float32") * scale)


@elementwise(Requantize, align=channel(_axis))
def requantize(op: Requantize, writer: Writer, x: Expr, multiplier: Expr) -> Expr:
    product = writer.bind(x.cast("float32") * multiplier)
    return saturated(writer, product, op.zero, op.lo, op.hi, op.dtype)


@elementwise(QAdd)
def qadd(op: QAdd, writer: Writer, a: Expr, b: Expr) -> Expr:
    left = exactly((a.cast("int32") - op.a_zero).cast("float32") * op.a_scale)
    right = exactly((b.cast("int32") - op.b_zero).cast("float32") * op.b_scale)
    total = writer.bind(left + right)
    return saturated(writer, total, op.zero, op.lo, op.hi, op.dtype)
