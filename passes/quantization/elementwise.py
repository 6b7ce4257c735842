"""Which values are a function of one other value, element by element.

What a table of 256 entries can hold.
"""

from collections.abc import Callable, Mapping

import numpy as np

from mcc.ir import Array, DType, Module, Op, Value, constant_of
from mcc.ops import (
    Abs,
    Add,
    Atan,
    Clip,
    Cos,
    Div,
    Erf,
    Exp,
    Floor,
    LeakyRelu,
    Log,
    Maximum,
    Minimum,
    Mul,
    Neg,
    Pow,
    Reciprocal,
    Relu,
    Round,
    Sigmoid,
    Sin,
    Sqrt,
    Sub,
    Tanh,
)

TRANSCENDENTAL = (Atan, Cos, Erf, Exp, Log, Pow, Sigmoid, Sin, Sqrt, Tanh)
ELEMENTWISE = (
    *(Abs, Clip, Floor, LeakyRelu, Neg, Reciprocal, Relu, Round),
    *(Add, Div, Maximum, Minimum, Mul, Sub),
    *TRANSCENDENTAL,
)


def root_of(op: Op, roots: Mapping[Value, Value]) -> Value | None:
    """The value that alone decides the result, element by element; None if there is none."""
    if not isinstance(op, ELEMENTWISE) or op.result.tensor.dtype is not DType.F32:
        return None
    found: Value | None = None
    for value in op.operands:
        array = constant_of(value)
        if array is not None and array.size == 1:
            continue
        root = roots.get(value, value)
        if array is not None or (found is not None and root is not found):
            return None
        found = root
    if found is None or found.type != op.result.type:
        return None
    return found


def roots_of(module: Module) -> dict[Value, Value]:
    """Every value that is an element-wise function of one other, with the earliest such value."""
    roots: dict[Value, Value] = {}
    for op in module.body:
        root = root_of(op, roots)
        if root is not None:
            roots[op.result] = root
    return roots


def function_at(value: Value, roots: Mapping[Value, Array]) -> Array:
    """`value` where each root is its vector of float32 points.

    Every step is rounded to float32; exponentials and their kin are computed in float64 before
    that, so that the table is the same on every machine.
    """
    known: dict[Value, Array] = {root: points.astype(np.float32) for root, points in roots.items()}
    stack = [value]
    while stack:
        current = stack[-1]
        if current in known:
            stack.pop()
            continue
        array = constant_of(current)
        if array is not None:
            known[current] = array.reshape(()).astype(np.float32)
            continue
        op = current.op
        assert op is not None, "an element-wise function does not reach past its roots"
        missing = [operand for operand in op.operands if operand not in known]
        if missing:
            stack.extend(missing)
            continue
        wide = np.float64 if isinstance(op, TRANSCENDENTAL) else np.float32
        arguments = [known[operand].astype(wide) for operand in op.operands]
        evaluate: Callable[..., Array] = op.__getattribute__("evaluate")
        with np.errstate(all="ignore"):
            known[current] = np.asarray(evaluate(*arguments), np.float32)
    return known[value]
