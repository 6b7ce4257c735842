"""Element-wise ops with one operand."""

import math

import numpy as np

from mcc.ir import Array, DType, Op, OpError, Tensor, Value


class Unary(Op):
    """Base: one operand, same type out."""

    x: Value

    def infer(self) -> Tensor:
        return self.x.tensor


class FloatUnary(Unary):
    """Base: defined on floats only."""

    def infer(self) -> Tensor:
        if not self.x.tensor.dtype.is_float:
            raise OpError(f"x must be a float tensor, is {self.x.tensor}", "x")
        return self.x.tensor


class Neg(Unary, name="neg"):
    """y = -x."""

    def evaluate(self, x: Array) -> Array:
        return -x


class Abs(Unary, name="abs"):
    """y = |x|."""

    def evaluate(self, x: Array) -> Array:
        return np.abs(x)


class Not(Unary, name="not"):
    """y = not x, on i1."""

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
    """y = 1 / (1 + e^-x), without overflow on either side."""

    def evaluate(self, x: Array) -> Array:
        wide = x.astype(np.float64)
        return (0.5 * (np.tanh(0.5 * wide) + 1.0)).astype(x.dtype)


class Erf(FloatUnary, name="erf"):
    """y = erf x, the Gauss error function."""

    def evaluate(self, x: Array) -> Array:
        return _erf(x.astype(np.float64)).astype(x.dtype)


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
    """Convert to another dtype: float to integer truncates, to i1 is `x != 0`."""

    x: Value
    to: DType

    def infer(self) -> Tensor:
        return Tensor(self.to, self.x.tensor.shape)

    def evaluate(self, x: Array) -> Array:
        return x.astype(self.to.numpy)


def clamp(x: Array, lo: float, hi: float) -> Array:
    """Clip to [lo, hi] in x's own dtype; infinite bounds do nothing."""
    if lo > -math.inf:
        x = np.maximum(x, x.dtype.type(lo))
    if hi < math.inf:
        x = np.minimum(x, x.dtype.type(hi))
    return x


_math_erf = np.frompyfunc(math.erf, 1, 1)


def _erf(x: Array) -> Array:
    return np.asarray(_math_erf(x), np.float64)
