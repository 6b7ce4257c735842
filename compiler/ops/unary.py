"""Element-wise ops with one operand."""

import math

import numpy as np

from mcc.ir import Array, DType, Op, OpError, Tensor, Value

from .erf import erf


class Unary(Op):
    """Base: one operand of numbers, same type out."""

    x: Value

    def infer(self) -> Tensor:
        if not self.x.tensor.dtype.is_number:
            raise OpError(f"x must be a tensor of numbers, is {self.x.tensor}", "x")
        return self.x.tensor


class FloatUnary(Unary):
    """Base: defined on floats only."""

    def infer(self) -> Tensor:
        if not self.x.tensor.dtype.is_float:
            raise OpError(f"x must be a float tensor, is {self.x.tensor}", "x")
        return self.x.tensor


class Neg(Unary, name="neg"):
    """y = -x; integers wrap."""

    def evaluate(self, x: Array) -> Array:
        return -x


class Abs(Unary, name="abs"):
    """y = |x|; integers wrap, so the smallest one stays."""

    def evaluate(self, x: Array) -> Array:
        return np.abs(x)


class Not(Op, name="not"):
    """y = not x, on i1."""

    x: Value

    def infer(self) -> Tensor:
        if self.x.tensor.dtype is not DType.I1:
            raise OpError(f"x must be i1, is {self.x.tensor}", "x")
        return self.x.tensor

    def evaluate(self, x: Array) -> Array:
        return ~x


class Exp(FloatUnary, name="exp"):
    """y = e^x."""

    def evaluate(self, x: Array) -> Array:
        return np.exp(x)


class Log(FloatUnary, name="log"):
    """y = ln x."""

    def evaluate(self, x: Array) -> Array:
        return np.log(x)


class Sqrt(FloatUnary, name="sqrt"):
    """y = sqrt(x)."""

    def evaluate(self, x: Array) -> Array:
        return np.sqrt(x)


class Reciprocal(FloatUnary, name="reciprocal"):
    """y = 1 / x."""

    def evaluate(self, x: Array) -> Array:
        return np.ones((), x.dtype) / x


class Tanh(FloatUnary, name="tanh"):
    """y = tanh x."""

    def evaluate(self, x: Array) -> Array:
        return np.tanh(x)


class Sigmoid(FloatUnary, name="sigmoid"):
    """y = 1 / (1 + e^-x), rounded once from float64, without overflow or cancellation."""

    def evaluate(self, x: Array) -> Array:
        wide = x.astype(np.float64)
        power = np.exp(-np.abs(wide))  # at most 1: both branches keep their relative precision
        return (np.where(wide >= 0, 1.0, power) / (1.0 + power)).astype(x.dtype)


class Erf(FloatUnary, name="erf"):
    """y = erf x, the Gauss error function, rounded once from float64."""

    def evaluate(self, x: Array) -> Array:
        return erf(x.astype(np.float64)).astype(x.dtype)


class Sin(FloatUnary, name="sin"):
    """y = sin x."""

    def evaluate(self, x: Array) -> Array:
        return np.sin(x)


class Cos(FloatUnary, name="cos"):
    """y = cos x."""

    def evaluate(self, x: Array) -> Array:
        return np.cos(x)


class Atan(FloatUnary, name="atan"):
    """y = the angle between -pi/2 and pi/2 whose tangent x is."""

    def evaluate(self, x: Array) -> Array:
        return np.arctan(x)


class Floor(FloatUnary, name="floor"):
    """y = the largest whole number that is at most x."""

    def evaluate(self, x: Array) -> Array:
        return np.floor(x)


class Round(FloatUnary, name="round"):
    """y = the whole number nearest to x, the even one of two."""

    def evaluate(self, x: Array) -> Array:
        return np.rint(x)


class Relu(Unary, name="relu"):
    """y = max(x, 0); NaN stays NaN."""

    def evaluate(self, x: Array) -> Array:
        return np.maximum(x, np.zeros((), x.dtype))


class LeakyRelu(FloatUnary, name="leaky_relu"):
    """y = x where x >= 0, else alpha * x."""

    alpha: float = 0.01

    def evaluate(self, x: Array) -> Array:
        return np.where(x >= 0, x, x * x.dtype.type(self.alpha))


class Clip(Unary, name="clip"):
    """y = min(max(x, lo), hi)."""

    lo: float = -math.inf
    hi: float = math.inf

    def evaluate(self, x: Array) -> Array:
        return clamp(x, self.lo, self.hi)


class Cast(Op, name="cast"):
    """Convert to another dtype.

    Float to integer truncates (beyond the integer's range the result is not defined, as in ONNX),
    integers wrap, to i1 is `x != 0`.
    """

    x: Value
    to: DType

    def infer(self) -> Tensor:
        for name, dtype in (("x", self.x.tensor.dtype), ("to", self.to)):
            if dtype in (DType.STRING, DType.B1):
                raise OpError(f"a cast from or to {dtype} is not defined", name)
        return Tensor(self.to, self.x.tensor.shape)

    def evaluate(self, x: Array) -> Array:
        small = (DType.I4, DType.U4)
        if self.to in small and self.x.tensor.dtype.is_float:
            x = np.trunc(x)  # ml_dtypes rounds
        return x.astype(self.to.numpy)


def clamp(x: Array, lo: float, hi: float) -> Array:
    """Clip to [lo, hi] in x's own dtype; infinite bounds do nothing."""
    dtype = DType.of(x)
    if dtype.is_integer:
        least, most = dtype.limits
        if lo > least:
            x = np.maximum(x, x.dtype.type(math.ceil(min(lo, most))))
        if hi < most:
            x = np.minimum(x, x.dtype.type(math.floor(max(hi, least))))
        return x
    if lo > -math.inf:
        x = np.maximum(x, x.dtype.type(lo))
    if hi < math.inf:
        x = np.minimum(x, x.dtype.type(hi))
    return x
