"""Element-wise ops on floats, integers and truth values (i1 is a byte that is 0 or 1)."""

import math

from mcc.ir import DType, Op
from mcc.ops import (
    Abs,
    Add,
    And,
    Atan,
    BatchNorm,
    Cast,
    Clip,
    Cos,
    Div,
    Equal,
    Erf,
    Exp,
    Floor,
    Greater,
    LeakyRelu,
    Less,
    Log,
    Maximum,
    Minimum,
    Mul,
    Neg,
    Not,
    Or,
    Pow,
    Reciprocal,
    Relu,
    Remainder,
    Round,
    Sigmoid,
    Sin,
    Sqrt,
    Sub,
    Tanh,
    Where,
)

from ..registry import channel, elementwise
from ..storage import stored
from ..tir import Expr, Writer, constant, intrinsic, libm, select
from . import maths


def clamp(x: Expr, lo: float, hi: float) -> Expr:
    """Clip to [lo, hi] in x's dtype; NaN stays, infinite bounds do nothing."""
    if lo > -math.inf:
        bound = lo if x.is_float else int(lo)
        x = select(x < bound, bound, x)
    if hi < math.inf:
        bound = hi if x.is_float else int(hi)
        x = select(x > bound, bound, x)
    return x


def exactly(x: Expr) -> Expr:
    """The rounded value of x: the code generator must not fuse its product into a following sum."""
    return intrinsic("llvm.arithmetic.fence", x)


def _is_double(op: Op) -> bool:
    return op.results[0].tensor.dtype is DType.F64


def _always(op: Op) -> bool:
    return True


@elementwise(Neg)
def neg(op: Neg, writer: Writer, x: Expr) -> Expr:
    return -x


@elementwise(Abs)
def absolute(op: Abs, writer: Writer, x: Expr) -> Expr:
    if x.is_float:
        return intrinsic("llvm.fabs", x)
    return x if x.dtype.startswith("u") else select(x < 0, 0 - x, x)


@elementwise(Not)
def logical_not(op: Not, writer: Writer, x: Expr) -> Expr:
    return x ^ 1


@elementwise(Exp, scalar=_is_double)
def exp(op: Exp, writer: Writer, x: Expr) -> Expr:
    return maths.exp(writer, x)


@elementwise(Log, scalar=_always)
def log(op: Log, writer: Writer, x: Expr) -> Expr:
    return libm("log", x)


@elementwise(Sqrt)
def sqrt(op: Sqrt, writer: Writer, x: Expr) -> Expr:
    return intrinsic("llvm.sqrt", x)


@elementwise(Reciprocal)
def reciprocal(op: Reciprocal, writer: Writer, x: Expr) -> Expr:
    return 1.0 / x


@elementwise(Tanh, scalar=_is_double)
def tanh(op: Tanh, writer: Writer, x: Expr) -> Expr:
    return maths.tanh(writer, x)


@elementwise(Sigmoid, scalar=_is_double)
def sigmoid(op: Sigmoid, writer: Writer, x: Expr) -> Expr:
    return maths.sigmoid(writer, x)


@elementwise(Erf, scalar=_is_double)
def erf(op: Erf, writer: Writer, x: Expr) -> Expr:
    return maths.erf(writer, x)


@elementwise(Sin, scalar=_always)
def sin(op: Sin, writer: Writer, x: Expr) -> Expr:
    return libm("sin", x)


@elementwise(Cos, scalar=_always)
def cos(op: Cos, writer: Writer, x: Expr) -> Expr:
    return libm("cos", x)


@elementwise(Atan, scalar=_always)
def atan(op: Atan, writer: Writer, x: Expr) -> Expr:
    return libm("atan", x)


@elementwise(Floor)
def floor(op: Floor, writer: Writer, x: Expr) -> Expr:
    return intrinsic("llvm.floor", x)


@elementwise(Round)
def nearest(op: Round, writer: Writer, x: Expr) -> Expr:
    return intrinsic("llvm.roundeven", x)


@elementwise(Relu)
def relu(op: Relu, writer: Writer, x: Expr) -> Expr:
    return clamp(x, 0.0, math.inf)


@elementwise(LeakyRelu)
def leaky_relu(op: LeakyRelu, writer: Writer, x: Expr) -> Expr:
    return select(x >= 0.0, x, x * op.alpha)


@elementwise(Clip)
def clip(op: Clip, writer: Writer, x: Expr) -> Expr:
    return clamp(x, op.lo, op.hi)


@elementwise(Cast)
def cast(op: Cast, writer: Writer, x: Expr) -> Expr:
    if op.to is DType.I1:
        # NaN is not 0; TVM's `!=` would say that it does not differ.
        one, zero = (constant(bit, "uint8", x.lanes) for bit in (1, 0))
        return select(x.equals(0), zero, one)
    if op.x.tensor.dtype is DType.BF16:
        x = maths.widened(x)
    if op.to is DType.BF16:
        return maths.shortened(writer, x.cast("float32"))
    return x.cast(stored(op.to))


@elementwise(Add)
def add(op: Add, writer: Writer, a: Expr, b: Expr) -> Expr:
    return clamp(writer.bind(a + b), op.lo, op.hi)


@elementwise(Sub)
def sub(op: Sub, writer: Writer, a: Expr, b: Expr) -> Expr:
    return a - b


@elementwise(Mul)
def mul(op: Mul, writer: Writer, a: Expr, b: Expr) -> Expr:
    return exactly(a * b) if a.is_float else a * b


def _integer_dividend(op: Op) -> bool:
    return not op.results[0].tensor.dtype.is_float


@elementwise(Div, scalar=_integer_dividend)
def div(op: Div, writer: Writer, a: Expr, b: Expr) -> Expr:
    if a.is_float:
        return a / b
    # The processor traps on division by 0, and on the one quotient by -1 that does not fit.
    safe = writer.bind(select(b.equals(0), 1, b))
    if not b.dtype.startswith("u"):
        quotient = a / writer.bind(select(safe.equals(-1), 1, safe))
        quotient = select(b.equals(-1), 0 - a, quotient)
    else:
        quotient = a / safe
    return select(b.equals(0), 0, writer.bind(quotient))


@elementwise(Remainder, scalar=_always)
def remainder(op: Remainder, writer: Writer, a: Expr, b: Expr) -> Expr:
    if a.is_float:
        return libm("fmod", a, b)
    # As for the division; whatever is divided by 1 or -1 leaves 0.
    safe = select(b.equals(0), 1, b)
    if not b.dtype.startswith("u"):
        safe = select(b.equals(-1), 1, writer.bind(safe))
    divisor = writer.bind(safe)
    return a - writer.bind(a / divisor) * divisor


@elementwise(Pow, scalar=_always)
def power(op: Pow, writer: Writer, a: Expr, b: Expr) -> Expr:
    if a.dtype == "float32" and b.dtype in ("float32", "int8", "uint8", "int16", "uint16"):
        return libm("pow", a, b.cast("float32"))
    if a.is_float or b.is_float:
        return libm("pow", a.cast("float64"), b.cast("float64")).cast(a.dtype)
    if b.dtype.startswith("u"):
        return _integer_power(writer, a, b)
    positive = _integer_power(writer, a, writer.bind(select(b < 0, 0, b)))
    odd = (b & 1).differs(0)
    # 1 / a^n truncates to 0 but for these two.
    inverse = select(a.equals(1), 1, constant(0, a.dtype))
    if not a.dtype.startswith("u"):
        sign = writer.bind(select(odd, constant(-1, a.dtype), constant(1, a.dtype)))
        inverse = select(a.equals(-1), sign, writer.bind(inverse))
    return select(b < 0, writer.bind(inverse), positive)


def _integer_power(writer: Writer, a: Expr, b: Expr) -> Expr:
    """Square and multiply; products wrap as numpy's do."""
    bits = int("".join(letter for letter in b.dtype if letter.isdigit()))
    result, square, left = constant(1, a.dtype), a, b
    for _ in range(bits):
        odd = (left & 1).differs(0)
        result = writer.bind(select(odd, result * square, result))
        square = writer.bind(square * square)
        left = writer.bind(left >> 1)
    return result


@elementwise(Minimum)
def minimum(op: Minimum, writer: Writer, a: Expr, b: Expr) -> Expr:
    return maths.smaller(writer, a, b)


@elementwise(Maximum)
def maximum(op: Maximum, writer: Writer, a: Expr, b: Expr) -> Expr:
    return maths.larger(writer, a, b)


def _truth(condition: Expr) -> Expr:
    one, zero = (constant(bit, "uint8", condition.lanes) for bit in (1, 0))
    return select(condition, one, zero)


@elementwise(Equal)
def equal(op: Equal, writer: Writer, a: Expr, b: Expr) -> Expr:
    return _truth(a.equals(b))


@elementwise(Less)
def less(op: Less, writer: Writer, a: Expr, b: Expr) -> Expr:
    return _truth(a < b)


@elementwise(Greater)
def greater(op: Greater, writer: Writer, a: Expr, b: Expr) -> Expr:
    return _truth(a > b)


@elementwise(And)
def logical_and(op: And, writer: Writer, a: Expr, b: Expr) -> Expr:
    return a & b


@elementwise(Or)
def logical_or(op: Or, writer: Writer, a: Expr, b: Expr) -> Expr:
    return a | b


@elementwise(Where)
def where(op: Where, writer: Writer, condition: Expr, a: Expr, b: Expr) -> Expr:
    return select(condition.differs(0), a, b)


@elementwise(BatchNorm, align=channel(lambda op: 1))
def batch_norm(
    op: BatchNorm, writer: Writer, x: Expr, scale: Expr, bias: Expr, mean: Expr, var: Expr
) -> Expr:
    root = intrinsic("llvm.sqrt", writer.bind(var + op.epsilon))
    return (x - mean) * writer.bind(scale / root) + bias
