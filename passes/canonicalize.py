"""Removes ops that do nothing, and writes the rest in one way for later rules to match."""

import math

import numpy as np

from mcc.ir import Because, Rule, Value, constant, constant_of
from mcc.ops import Add, Cast, Clip, Div, Maximum, Minimum, Mul, Neg, Not, Pow, Relu, Sub

from .base import Pass
from .canonicalize_shapes import SHAPE_RULES
from .matching import uniform, zeros


class Canonicalize(Pass, name="canonicalize"):
    """x * 1 -> x, relu(relu(x)) -> relu(x), reshape(reshape(x)) -> reshape(x), x - c -> x + (-c).

    With `exact` every output keeps its bits, NaN, infinities and the sign of zero included (though
    ONNX leaves open which zero a clamp at 0.0 makes of -0.0). Without it, rules that hold for real
    numbers only join in.
    """

    exact: bool = True

    def active_rules(self) -> tuple[Rule, ...]:
        return EXACT_RULES if self.exact else (*EXACT_RULES, *REAL_RULES)


def constant_second(op: Add | Mul) -> Value | None:
    """C + x -> x + c, c * x -> x * c."""
    if constant_of(op.a) is None or constant_of(op.b) is not None:
        return None
    return Add(op.b, op.a, op.lo, op.hi).result if isinstance(op, Add) else Mul(op.b, op.a).result


def subtract_constant(op: Sub) -> Value | None:
    """X - c -> x + (-c)."""
    array = constant_of(op.b)
    if array is None or constant_of(op.a) is not None or array.dtype.kind != "f":
        return None
    return Add(op.a, constant(-array, op.b.name).result).result


def divide_by_power_of_two(op: Div) -> Value | None:
    """X / 2^n -> x * 2^-n."""
    array = constant_of(op.b)
    if array is None or array.dtype.kind != "f" or not np.isfinite(array).all():
        return None
    mantissa, _ = np.frexp(array)
    with np.errstate(all="ignore"):
        inverse = (1 / array).astype(array.dtype)
    # A reciprocal that is subnormal or infinite would round.
    normal = np.isfinite(inverse) & (np.abs(inverse) >= np.finfo(array.dtype).tiny)
    if not ((np.abs(mantissa) == 0.5) & normal).all():
        return None
    return Mul(op.a, constant(inverse, op.b.name).result).result


def add_nothing(op: Add) -> Value | Because | None:
    """X + 0 -> x, for the zero that changes no sign: -0.0 in floats."""
    signs = zeros(op.b)
    if not signs or op.a.type != op.result.type or _clamps(op):
        return None
    if op.a.tensor.dtype.is_float and 1.0 in signs:
        return Because("x + 0.0 makes 0.0 of -0.0; `canonicalize{exact=false}` removes it")
    return op.a


def multiply_by_one(op: Mul | Div) -> Value | None:
    """X * 1 -> x, x / 1 -> x."""
    return op.a if uniform(op.b) == 1 and op.a.type == op.result.type else None


def first_power(op: Pow) -> Value | None:
    """X ^ 1 -> x."""
    return op.a if uniform(op.b) == 1 and op.a.type == op.result.type else None


def twice_undone(op: Neg | Not) -> Value | None:
    """-(-x) -> x, not not x -> x."""
    inner = op.x.op
    return inner.x if isinstance(inner, Neg | Not) and type(inner) is type(op) else None


def bound_is_clip(op: Maximum | Minimum) -> Value | None:
    """max(x, c) -> clip(x, lo=c), min(x, c) -> clip(x, hi=c)."""
    for x, bound in ((op.a, op.b), (op.b, op.a)):
        value = uniform(bound)
        if value is None or math.isnan(value) or not x.tensor.dtype.is_float:
            continue
        if x.type == op.result.type:
            clip = Clip(x, lo=value) if isinstance(op, Maximum) else Clip(x, hi=value)
            return clip.result
    return None


def clip_is_relu(op: Clip) -> Value | None:
    """clip(x, 0, inf) -> relu(x), clip(x, -inf, inf) -> x."""
    if (op.lo, op.hi) == (-math.inf, math.inf):
        return op.x
    return Relu(op.x).result if (op.lo, op.hi) == (0.0, math.inf) else None


def merge_clips(op: Relu | Clip) -> Value | None:
    """clip(clip(x)) -> clip(x) with both bounds; a relu counts as clip(x, 0, inf)."""
    inner = op.x.op
    if not isinstance(inner, Relu | Clip):
        return None
    (low, high), (inner_low, inner_high) = _bounds(op), _bounds(inner)
    if low > high or inner_low > inner_high:
        return None
    lo, hi = (min(max(bound, low), high) for bound in (inner_low, inner_high))
    if (lo, hi) == (0.0, math.inf):
        return Relu(inner.x).result
    return Clip(inner.x, lo=lo, hi=hi).result


def cast_to_itself(op: Cast) -> Value | None:
    """cast(x: T, to=T) -> x."""
    return op.x if op.x.tensor.dtype is op.to else None


def cast_there_and_back(op: Cast) -> Value | None:
    """cast(cast(x: T, to=wider), to=T) -> x."""
    inner = op.x.op
    if not isinstance(inner, Cast) or inner.x.tensor.dtype is not op.to:
        return None
    if not (op.to.is_integer or op.to.is_float):
        return None
    return inner.x if np.can_cast(op.to.numpy, inner.to.numpy, "safe") else None


def add_positive_zero(op: Add) -> Value | None:
    """X + 0.0 -> x (turns 0.0 into -0.0 where x is -0.0)."""
    same = op.a.type == op.result.type and not _clamps(op)
    return op.a if same and zeros(op.b) else None


def merge_factors(op: Mul) -> Value | None:
    """(x * c) * d -> x * (c * d) (rounds once instead of twice)."""
    inner, outer_factor = op.a.op, constant_of(op.b)
    if not isinstance(inner, Mul) or outer_factor is None:
        return None
    factor = constant_of(inner.b)
    if factor is None or factor.dtype.kind != "f":
        return None
    product = Mul(inner.a, constant(np.asarray(factor * outer_factor, factor.dtype)).result)
    return product.result if product.result.type == op.result.type else None


def square(op: Pow) -> Value | None:
    """X ^ 2 -> x * x (a library's power may differ in the last bit)."""
    return Mul(op.a, op.a).result if uniform(op.b) == 2 and op.a.type == op.result.type else None


def _clamps(op: Add) -> bool:
    return (op.lo, op.hi) != (-math.inf, math.inf)


def _bounds(op: Relu | Clip) -> tuple[float, float]:
    return (0.0, math.inf) if isinstance(op, Relu) else (op.lo, op.hi)


EXACT_RULES: tuple[Rule, ...] = (
    constant_second,
    subtract_constant,
    divide_by_power_of_two,
    add_nothing,
    multiply_by_one,
    first_power,
    twice_undone,
    bound_is_clip,
    clip_is_relu,
    merge_clips,
    cast_to_itself,
    cast_there_and_back,
    *SHAPE_RULES,
)
REAL_RULES: tuple[Rule, ...] = (add_positive_zero, merge_factors, square)
