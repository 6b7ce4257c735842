"""Quantize, dequantize, and the integer ops that a quantized model is lowered to.

The rounding rules are here, once for all backends: round half to even, float32 arithmetic with
every step rounded (docs/numerics.md).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mcc.ir import Array, DType, Op, OpError, Tensor, Value

from .broadcast import broadcast


def saturate(rounded: Array, lo: int, hi: int, dtype: np.dtype[Any]) -> Array:
    """Clamp float values that are integers already, and convert; NaN becomes lo."""
    return np.asarray(np.fmin(np.fmax(rounded, lo), hi)).astype(dtype)


def along(vector: Array, rank: int, axis: int) -> Array:
    """A scalar or per-channel vector, shaped to broadcast along `axis`."""
    if vector.ndim == 0:
        return vector
    shape = [1] * rank
    shape[axis] = -1
    return vector.reshape(shape)


def _check_scale(x: Value, scale: Value, zero: Value, axis: int) -> None:
    if scale.tensor.dtype is not DType.F32:
        raise OpError(f"scale must be f32, is {scale.tensor}", "scale")
    if not zero.tensor.dtype.is_integer:
        raise OpError(f"zero must be of integers, is {zero.tensor}", "zero")
    if scale.tensor.shape != zero.tensor.shape:
        raise OpError(f"scale is {scale.tensor}, zero is {zero.tensor}: shapes must agree", "zero")
    if scale.tensor.rank > 1:
        raise OpError(f"scale must be a scalar or a vector, is {scale.tensor}", "scale")
    if scale.tensor.rank == 1 and (
        not 0 <= axis < x.tensor.rank or scale.tensor.shape[0] != x.tensor.shape[axis]
    ):
        raise OpError(f"scale {scale.tensor} does not fit axis {axis} of x {x.tensor}", "scale")


def _check_range(lo: int, hi: int, dtype: DType) -> None:
    if not dtype.is_integer:
        raise OpError(f"dtype must be an integer type, is {dtype}", "dtype")
    low, high = dtype.limits
    if not low <= lo <= hi <= high:
        raise OpError(f"[{lo}, {hi}] is no range of {dtype}", "lo")


class Quantize(Op, name="quantize"):
    """q = saturate(rne(x / scale) + zero) in zero's dtype.

    Per tensor (scalars) or along `axis` (vectors). NaN becomes the smallest value.
    """

    x: Value
    scale: Value
    zero: Value
    axis: int = 1

    def infer(self) -> Tensor:
        _check_scale(self.x, self.scale, self.zero, self.axis)
        if self.x.tensor.dtype is not DType.F32:
            raise OpError(f"x must be f32, is {self.x.tensor}", "x")
        return Tensor(self.zero.tensor.dtype, self.x.tensor.shape)

    def evaluate(self, x: Array, scale: Array, zero: Array) -> Array:
        dtype = self.zero.tensor.dtype
        scaled = np.rint(x / along(scale, x.ndim, self.axis))
        shifted = scaled.astype(np.float64) + along(zero.astype(np.float64), x.ndim, self.axis)
        return saturate(shifted, *dtype.limits, dtype.numpy)


class Dequantize(Op, name="dequantize"):
    """x = float32(q - zero) * scale, per tensor (scalars) or along `axis` (vectors)."""

    x: Value
    scale: Value
    zero: Value
    axis: int = 1

    def infer(self) -> Tensor:
        _check_scale(self.x, self.scale, self.zero, self.axis)
        if self.x.tensor.dtype is not self.zero.tensor.dtype:
            raise OpError(f"x is {self.x.tensor.dtype}, zero is {self.zero.tensor.dtype}", "zero")
        return Tensor(DType.F32, self.x.tensor.shape)

    def evaluate(self, x: Array, scale: Array, zero: Array) -> Array:
        wide = x.astype(np.int64) - along(zero.astype(np.int64), x.ndim, self.axis)
        return wide.astype(np.float32) * along(scale, x.ndim, self.axis)


class Requantize(Op, name="requantize"):
    """y = clamp(rne(float32(acc) * multiplier) + zero, lo, hi): from the i32 accumulator to 8 bits.

    `multiplier` is f32, a scalar or a vector along `axis`. Two float32 roundings: of the
    accumulator, and of the product.
    """

    x: Value
    multiplier: Value
    zero: int = 0
    lo: int = -128
    hi: int = 127
    axis: int = 1
    dtype: DType = DType.I8

    def infer(self) -> Tensor:
        if self.x.tensor.dtype is not DType.I32:
            raise OpError(f"x must be i32, is {self.x.tensor}", "x")
        _check_range(self.lo, self.hi, self.dtype)
        scale = self.multiplier.tensor
        if scale.dtype is not DType.F32 or scale.rank > 1:
            raise OpError(f"multiplier must be an f32 scalar or vector, is {scale}", "multiplier")
        fits = 0 <= self.axis < self.x.tensor.rank
        if scale.rank == 1 and not (fits and scale.shape[0] == self.x.tensor.shape[self.axis]):
            raise OpError(f"multiplier {scale} does not fit axis {self.axis} of x", "multiplier")
        return Tensor(self.dtype, self.x.tensor.shape)

    def evaluate(self, x: Array, multiplier: Array) -> Array:
        product = x.astype(np.float32) * along(multiplier, x.ndim, self.axis)
        shifted = np.rint(product).astype(np.float64) + self.zero
        return saturate(shifted, self.lo, self.hi, self.dtype.numpy)


class QAdd(Op, name="qadd"):
    """The sum of two quantized tensors, residual form (a).

    y = clamp(rne((a - a_zero) * a_scale + (b - b_zero) * b_scale) + zero, lo, hi), where `a_scale`
    is float32(s_a / s_y), `b_scale` likewise: two float32 products and one float32 sum, without
    fused multiply-add.
    """

    a: Value
    b: Value
    a_scale: float
    b_scale: float
    a_zero: int = 0
    b_zero: int = 0
    zero: int = 0
    lo: int = -128
    hi: int = 127
    dtype: DType = DType.I8

    def infer(self) -> Tensor:
        for name, value in (("a", self.a), ("b", self.b)):
            if value.tensor.dtype not in (DType.I8, DType.U8):
                raise OpError(f"{name} must be i8 or u8, is {value.tensor}", name)
        for name, zero, x in (("a_zero", self.a_zero, self.a), ("b_zero", self.b_zero, self.b)):
            low, high = x.tensor.dtype.limits
            if not low <= zero <= high:
                raise OpError(f"{zero} is no {x.tensor.dtype}", name)
        _check_range(self.lo, self.hi, self.dtype)
        return Tensor(self.dtype, broadcast(a=self.a, b=self.b))

    def evaluate(self, a: Array, b: Array) -> Array:
        left = (a.astype(np.int32) - np.int32(self.a_zero)).astype(np.float32) * np.float32(
            self.a_scale
        )
        right = (b.astype(np.int32) - np.int32(self.b_zero)).astype(np.float32) * np.float32(
            self.b_scale
        )
        shifted = np.rint(left + right).astype(np.float64) + self.zero
        return saturate(shifted, self.lo, self.hi, self.dtype.numpy)


class Lookup(Op, name="lookup"):
    """y = table[x + 128] for i8, table[x] for u8: any function of one 8-bit integer."""

    x: Value
    table: Value

    def infer(self) -> Tensor:
        if self.x.tensor.dtype not in (DType.I8, DType.U8):
            raise OpError(f"x must be i8 or u8, is {self.x.tensor}", "x")
        if self.table.tensor.shape != (256,):
            raise OpError(f"table must have 256 entries, is {self.table.tensor}", "table")
        return Tensor(self.table.tensor.dtype, self.x.tensor.shape)

    def evaluate(self, x: Array, table: Array) -> Array:
        return table[x.astype(np.int64) + (128 if self.x.tensor.dtype is DType.I8 else 0)]


def quantize_array(x: Array, scale: Array, zero: Array, dtype: DType, axis: int = 0) -> Array:
    """`Quantize` on arrays, for weights at compile time."""
    scaled = np.rint(x.astype(np.float32) / along(scale, x.ndim, axis))
    shifted = scaled.astype(np.float64) + along(np.asarray(zero, np.float64), x.ndim, axis)
    return saturate(shifted, *dtype.limits, dtype.numpy)


def table_of(entries: Sequence[int], dtype: DType) -> Array:
    """256 entries as an array, checked against the dtype's range."""
    table = np.asarray(entries, np.int64)
    low, high = dtype.limits
    if table.shape != (256,) or table.min() < low or table.max() > high:
        raise OpError(f"a table needs 256 entries of {dtype}")
    return table.astype(dtype.numpy)
