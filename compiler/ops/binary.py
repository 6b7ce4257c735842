"""Element-wise ops with two or three operands, broadcast by numpy's rule."""

import math

import numpy as np

from mcc.ir import Array, DType, Op, OpError, Tensor, Value

from .broadcast import broadcast, same_dtype
from .unary import clamp


class Binary(Op):
    """Base: two operands of one dtype."""

    a: Value
    b: Value

    def infer(self) -> Tensor:
        return same_dtype(a=self.a, b=self.b)


class Add(Op, name="add"):
    """y = clamp(a + b, lo, hi)."""

    a: Value
    b: Value
    lo: float = -math.inf
    hi: float = math.inf

    def infer(self) -> Tensor:
        return same_dtype(a=self.a, b=self.b)

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
    """y = a / b; integers truncate towards zero, as ONNX's runtimes do."""

    def evaluate(self, a: Array, b: Array) -> Array:
        if a.dtype.kind == "f" or a.dtype.kind == "V":
            return a / b
        quotient = np.abs(a.astype(object)) // np.abs(b.astype(object))
        return np.asarray(quotient * np.sign(a) * np.sign(b)).astype(a.dtype)


class Pow(Op, name="pow"):
    """y = a ^ b, in a's dtype."""

    a: Value
    b: Value

    def infer(self) -> Tensor:
        return Tensor(self.a.tensor.dtype, broadcast(a=self.a, b=self.b))

    def evaluate(self, a: Array, b: Array) -> Array:
        return np.power(a, b.astype(np.result_type(a, b))).astype(a.dtype)


class Minimum(Binary, name="min"):
    """y = min(a, b); NaN wins."""

    def evaluate(self, a: Array, b: Array) -> Array:
        return np.minimum(a, b)


class Maximum(Binary, name="max"):
    """y = max(a, b); NaN wins."""

    def evaluate(self, a: Array, b: Array) -> Array:
        return np.maximum(a, b)


class Comparison(Binary):
    """Base: i1 out."""

    def infer(self) -> Tensor:
        return Tensor(DType.I1, same_dtype(a=self.a, b=self.b).shape)


class Equal(Comparison, name="equal"):
    """y = a == b."""

    def evaluate(self, a: Array, b: Array) -> Array:
        return a == b


class Less(Comparison, name="less"):
    """y = a < b."""

    def evaluate(self, a: Array, b: Array) -> Array:
        return a < b


class Greater(Comparison, name="greater"):
    """y = a > b."""

    def evaluate(self, a: Array, b: Array) -> Array:
        return a > b


class And(Binary, name="and"):
    """y = a and b, on i1."""

    def evaluate(self, a: Array, b: Array) -> Array:
        return a & b


class Or(Binary, name="or"):
    """y = a or b, on i1."""

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
