"""Angles, and the hyperbolic functions; written so that small arguments keep their precision."""
# ruff: noqa: N802  (names are ONNX's)

import math

import mcc.ops as ops
from mcc.ir import Value

from ..registry import operator
from .common import scalar_like


@operator(since=7)
def Sin(input: Value) -> Value:
    return ops.Sin(input).result


@operator(since=7)
def Cos(input: Value) -> Value:
    return ops.Cos(input).result


@operator(since=7)
def Tan(input: Value) -> Value:
    return ops.Div(ops.Sin(input).result, ops.Cos(input).result).result


@operator(since=7)
def Atan(input: Value) -> Value:
    return ops.Atan(input).result


@operator(since=7)
def Asin(input: Value) -> Value:
    """The angle of x / sqrt((1 - x) (1 + x))."""
    rest = _times(_from_one(input), _plus(input, 1))
    return ops.Atan(ops.Div(input, ops.Sqrt(rest).result).result).result


@operator(since=7)
def Acos(input: Value) -> Value:
    """Twice the angle of sqrt((1 - x) / (1 + x))."""
    ratio = ops.Div(_from_one(input), _plus(input, 1)).result
    return _times(ops.Atan(ops.Sqrt(ratio).result).result, scalar_like(2, input))


@operator(since=9)
def Sinh(input: Value) -> Value:
    """(e^x - e^-x) / 2; near 0 2t / (1 - t^2), where t = tanh(x / 2)."""
    half = scalar_like(0.5, input)
    power, inverse = _powers(input)
    far = _times(ops.Sub(power, inverse).result, half)
    t = ops.Tanh(_times(input, half)).result
    near = ops.Div(ops.Add(t, t).result, _from_one(_times(t, t))).result
    small = ops.Less(ops.Abs(input).result, scalar_like(1, input)).result
    return ops.Where(small, near, far).result


@operator(since=9)
def Cosh(input: Value) -> Value:
    power, inverse = _powers(input)
    return _times(ops.Add(power, inverse).result, scalar_like(0.5, input))


@operator(since=9)
def Asinh(input: Value) -> Value:
    """ln(1 + (|x| + x^2 / (1 + sqrt(x^2 + 1)))), with the sign of x."""
    size = ops.Abs(input).result
    square = _times(input, input)
    root = ops.Sqrt(_plus(square, 1)).result
    grown = ops.Add(size, ops.Div(square, _plus(root, 1)).result).result
    found = _log_of_one_plus(grown)
    negative = ops.Less(input, scalar_like(0, input)).result
    return ops.Where(negative, ops.Neg(found).result, found).result


@operator(since=9)
def Acosh(input: Value) -> Value:
    """ln(1 + t + sqrt(2t + t^2)), where t = x - 1."""
    t = _plus(input, -1)
    root = ops.Sqrt(_times(t, _plus(t, 2))).result
    return _log_of_one_plus(ops.Add(t, root).result)


@operator(since=9)
def Atanh(input: Value) -> Value:
    """ln(1 + 2x / (1 - x)) / 2."""
    ratio = ops.Div(ops.Add(input, input).result, _from_one(input)).result
    return _times(_log_of_one_plus(ratio), scalar_like(0.5, input))


def _log_of_one_plus(x: Value) -> Value:
    """ln(1 + x), corrected for what 1 + x rounds away (W. Kahan, HP-15C handbook, 1982)."""
    whole = _plus(x, 1)
    one, infinity = scalar_like(1, x), scalar_like(math.inf, x)
    log = ops.Log(whole).result
    corrected = _times(log, ops.Div(x, ops.Sub(whole, one).result).result)
    plain = ops.Where(ops.Equal(whole, infinity).result, log, corrected).result
    return ops.Where(ops.Equal(whole, one).result, x, plain).result


def _powers(x: Value) -> tuple[Value, Value]:
    return ops.Exp(x).result, ops.Exp(ops.Neg(x).result).result


def _from_one(x: Value) -> Value:
    return ops.Sub(scalar_like(1, x), x).result


def _plus(x: Value, number: float) -> Value:
    return ops.Add(x, scalar_like(number, x)).result


def _times(a: Value, b: Value) -> Value:
    return ops.Mul(a, b).result
