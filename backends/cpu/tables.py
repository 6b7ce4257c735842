"""Functions of one 8-bit integer that were several tables and sums, as one table."""

from collections.abc import Callable

import numpy as np

from mcc.ir import Array, Because, DType, Op, Value, constant, constant_of
from mcc.ops import Dequantize, Lookup, QAdd, Quantize
from mcc.passes import Pass
from mcc.passes.quantization import ELEMENTWISE

_BYTES = (DType.I8, DType.U8)
_MOST = 32
"""Ops behind one integer that are looked at."""


def compose_tables(op: Quantize | QAdd | Lookup) -> Value | Because | None:
    """qadd(lookup(x), c) -> lookup(x), likewise quantize(f(dequantize(lookup(x)))) and such."""
    if not _is_bytes(op.result):
        return None
    ops = _between(op)
    if not any(isinstance(each, Lookup) and each is not op for each in ops):
        return Because("no table stands before it, or there are too many ops between")
    made = {each.results[0] for each in ops}
    roots = {value for each in ops for value in _variables(each) if value not in made}
    if len(roots) != 1 or not all(map(_is_bytes, roots)):
        return Because("it is no function of a single tensor of 8-bit integers")
    (root,) = roots
    if root.tensor.shape != op.result.tensor.shape:
        return Because("it changes its operand's shape")
    low, high = root.tensor.dtype.limits
    points: dict[Value, Array] = {root: np.arange(low, high + 1).astype(root.tensor.dtype.numpy)}
    for each in ops:
        evaluate: Callable[..., Array] = each.__getattribute__("evaluate")
        points[each.results[0]] = evaluate(*(_at(value, points) for value in each.operands))
    table = np.broadcast_to(points[op.result], (256,))
    return Lookup(root, constant(table, f"{op.result.name}.table").result).result


def _between(last: Op) -> list[Op]:
    """The element-wise ops that an op is computed by, itself last, each behind its operands.

    None of them where they are too many, or it has a constant for each channel.
    """
    found: dict[Op, None] = {}
    pending = [last] if _is_pointwise(last) else []
    while pending and len(found) + len(pending) <= _MOST:
        op = pending[-1]
        before = [value.op for value in _variables(op) if value.op is not None]
        missing = [each for each in before if each not in found and _has_one_variable(each)]
        if missing:
            pending += missing
        else:
            found[pending.pop()] = None
    return [] if pending else list(found)


def _is_pointwise(op: Op) -> bool:
    """Whether an element of the result depends on elements at the same place, and on numbers."""
    if isinstance(op, Lookup):
        return constant_of(op.table) is not None
    kind = isinstance(op, Dequantize | QAdd | Quantize)
    if not kind and (
        not isinstance(op, ELEMENTWISE) or op.results[0].tensor.dtype is not DType.F32
    ):
        return False
    return all(_number(value) is not None or constant_of(value) is None for value in op.operands)


def _has_one_variable(op: Op) -> bool:
    """Whether to look behind an op: sums of two tensors of bytes are where functions begin.

    So are bytes that come from floats.
    """
    if not _is_pointwise(op) or isinstance(op, Quantize):
        return False
    return not isinstance(op, QAdd) or len(_variables(op)) == 1


def _variables(op: Op) -> list[Value]:
    """The operands that are computed."""
    return [value for value in op.operands if constant_of(value) is None]


def _is_bytes(value: Value) -> bool:
    return value.tensor.dtype in _BYTES


def _number(value: Value) -> Array | None:
    """A constant that is one number, as a scalar."""
    array = constant_of(value)
    return array.reshape(()) if array is not None and array.size == 1 else None


def _at(value: Value, points: dict[Value, Array]) -> Array:
    """A value at all points of the root; tables as they are."""
    if value in points:
        return points[value]
    number, array = _number(value), constant_of(value)
    assert array is not None
    return array if number is None else number


class ComposeTables(Pass, name="compose-tables"):
    """qadd(lookup(x), c) -> lookup(x), likewise quantize(f(dequantize(lookup(x)), dequantize(x))).

    Whatever depends on one 8-bit integer is one table, to the same bits. A GELU that was quantized
    op by op becomes one.
    """

    rules = (compose_tables,)
