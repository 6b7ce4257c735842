"""Element-wise ops with two or three operands, broadcast by numpy's rule."""

import math

import numpy as np

from mcc.ir import Array, DType, Op, OpError, Tensor, Value

from .broadcast import broadcast, same_dtype, same_numbers
from .unary import clamp


class Binary(Op):
    """Base: two operands of numbers of one dtype."""

    a: Value
    b: Value

    def infer(self) -> Tensor:
        return same_numbers(a=self.a, b=self.b)


class Add(Op, name="add"):
    """y = clamp(a + b, lo, hi)."""

    a: Value
    b: Value
    lo: float = -math.inf
    hi: float = math.inf

    def infer(self) -> Tensor:
        return same_numbers(a=self.a, b=self.b)

    def evaluate(self, a: Array, b: Array) -> Array:
        return clamp(a + b, self.lo, self.hi)


class Sub(Binary, name="sub"):
    """y = a - b."""

    def evaluate(self, a: Array, b: Array) -> Array:
        return a - b


class Mul(Binary, name="mul"):
    """y = a * b."""

    def evaluate(self, a: Array, b: Array) -> Array:
        return a * b


class Div(Binary, name="div"):
    """y = a / b; integers truncate towards zero and wrap, and give 0 when divided by 0."""

    def evaluate(self, a: Array, b: Array) -> Array:
        if self.a.tensor.dtype.is_float:
            return a / b
        wide = np.uint64 if self.a.tensor.dtype is DType.U64 else np.int64
        wide_a, wide_b = np.asarray(a, wide), np.asarray(b, wide)
        floor = wide_a // wide_b
        up = (wide_a % wide_b != 0) & ((wide_a < 0) != (wide_b < 0))
        return np.asarray(floor + up.astype(wide)).astype(a.dtype)


class Remainder(Binary, name="remainder"):
    """y = a - trunc(a / b) * b, exactly, with the sign of a.

    An integer divided by 0 leaves 0; a float leaves NaN.
    """

    def evaluate(self, a: Array, b: Array) -> Array:
        dtype = self.a.tensor.dtype
        if dtype.is_integer:
            return np.fmod(a, np.where(b == 0, np.ones((), b.dtype), b)).astype(a.dtype)
        return np.asarray(np.fmod(a, b)).astype(a.dtype)


class Pow(Op, name="pow"):
    """y = a ^ b, in a's dtype; a negative integer power truncates like the division."""

    a: Value
    b: Value

    def infer(self) -> Tensor:
        for name, value in (("a", self.a), ("b", self.b)):
            if not value.tensor.dtype.is_number:
                raise OpError(f"{name} must be a tensor of numbers, is {value.tensor}", name)
        return Tensor(self.a.tensor.dtype, broadcast(a=self.a, b=self.b))

    def evaluate(self, a: Array, b: Array) -> Array:
        base, exponent = self.a.tensor.dtype, self.b.tensor.dtype
        if base.is_integer and exponent.is_integer and not (b < 0).any():
            wide = np.uint64 if base is DType.U64 else np.int64
            return np.power(a.astype(wide), b.astype(wide)).astype(a.dtype)
        power = np.power(a.astype(np.float64), b.astype(np.float64))
        return power.astype(a.dtype)


class Minimum(Binary, name="min"):
    """y = min(a, b); NaN wins."""

    def evaluate(self, a: Array, b: Array) -> Array:
        return np.minimum(a, b)


class Maximum(Binary, name="max"):
    """y = max(a, b); NaN wins."""

    def evaluate(self, a: Array, b: Array) -> Array:
        return np.maximum(a, b)


class Comparison(Binary):
    """Base: numbers of one dtype in, i1 out."""

    def infer(self) -> Tensor:
        return Tensor(DType.I1, same_numbers(a=self.a, b=self.b).shape)


class Equal(Comparison, name="equal"):
    """y = a == b, of any dtype."""

    def infer(self) -> Tensor:
        return Tensor(DType.I1, same_dtype(a=self.a, b=self.b).shape)

    def evaluate(self, a: Array, b: Array) -> Array:
        return np.asarray(a == b)


class Less(Comparison, name="less"):
    """y = a < b."""

    def evaluate(self, a: Array, b: Array) -> Array:
        return np.asarray(a < b)


class Greater(Comparison, name="greater"):
    """y = a > b."""

    def evaluate(self, a: Array, b: Array) -> Array:
        return np.asarray(a > b)


class Logical(Op):
    """Base: truth values, or the bits of integers."""

    a: Value
    b: Value

    def infer(self) -> Tensor:
        for name, value in (("a", self.a), ("b", self.b)):
            dtype = value.tensor.dtype
            if dtype is not DType.I1 and not (dtype.is_integer and dtype.is_number):
                raise OpError(f"{name} must be i1 or integers, is {value.tensor}", name)
        return same_dtype(a=self.a, b=self.b)


class And(Logical, name="and"):
    """y = a and b, on i1; bit by bit on integers."""

    def evaluate(self, a: Array, b: Array) -> Array:
        return a & b


class Or(Logical, name="or"):
    """y = a or b, on i1; bit by bit on integers."""

    def evaluate(self, a: Array, b: Array) -> Array:
        return a | b


class Where(Op, name="where"):
    """y = a where condition, else b."""

    condition: Value
    a: Value
    b: Value

    def infer(self) -> Tensor:
        if self.condition.tensor.dtype is not DType.I1:
            raise OpError(f"condition must be i1, is {self.condition.tensor}", "condition")
        same_dtype(a=self.a, b=self.b)
        shape = broadcast(condition=self.condition, a=self.a, b=self.b)
        return Tensor(self.a.tensor.dtype, shape)

    def evaluate(self, condition: Array, a: Array, b: Array) -> Array:
        return np.where(condition, a, b)
