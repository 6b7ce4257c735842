"""Element-wise operators with several inputs, broadcast by numpy's rule."""
# ruff: noqa: N802, N803  (names are ONNX's)

from collections.abc import Callable
from functools import reduce

import mcc.ops as ops
from mcc.ir import Value

from ..registry import operator
from .common import scalar_like


@operator(since=7)
def Add(A: Value, B: Value) -> Value:
    return ops.Add(A, B).result


@operator(since=7)
def Sub(A: Value, B: Value) -> Value:
    return ops.Sub(A, B).result


@operator(since=7)
def Mul(A: Value, B: Value) -> Value:
    return ops.Mul(A, B).result


@operator(since=7)
def Div(A: Value, B: Value) -> Value:
    return ops.Div(A, B).result


@operator(since=7)
def Pow(X: Value, Y: Value) -> Value:
    return ops.Pow(X, Y).result


@operator(since=8)
def Min(*data_0: Value) -> Value:
    return _fold(lambda a, b: ops.Minimum(a, b).result, data_0)


@operator(since=8)
def Max(*data_0: Value) -> Value:
    return _fold(lambda a, b: ops.Maximum(a, b).result, data_0)


@operator(since=8)
def Sum(*data_0: Value) -> Value:
    return _fold(lambda a, b: ops.Add(a, b).result, data_0)


@operator(since=8)
def Mean(*data_0: Value) -> Value:
    total = Sum(*data_0)
    return ops.Div(total, scalar_like(len(data_0), total)).result


@operator(since=7)
def Equal(A: Value, B: Value) -> Value:
    return ops.Equal(A, B).result


@operator(since=7)
def Less(A: Value, B: Value) -> Value:
    return ops.Less(A, B).result


@operator(since=7)
def Greater(A: Value, B: Value) -> Value:
    return ops.Greater(A, B).result


@operator(since=7)
def And(A: Value, B: Value) -> Value:
    return ops.And(A, B).result


@operator(since=7)
def Or(A: Value, B: Value) -> Value:
    return ops.Or(A, B).result


@operator(since=7)
def Xor(A: Value, B: Value) -> Value:
    return ops.Not(ops.Equal(A, B).result).result


@operator(since=9)
def Where(condition: Value, X: Value, Y: Value) -> Value:
    return ops.Where(condition, X, Y).result


def _fold(combine: Callable[[Value, Value], Value], values: tuple[Value, ...]) -> Value:
    return reduce(combine, values)
