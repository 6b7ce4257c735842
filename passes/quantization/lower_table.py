"""Element-wise functions of one 8-bit integer: tables of 256 entries."""

import numpy as np

from mcc.ir import Array, Because, DType, Value, constant
from mcc.ops import Lookup, Quantize

from .chain import activation, constant_real, noted
from .elementwise import ELEMENTWISE, function_at
from .encoding import Encoding


def lower_table(op: Quantize, result: Encoding) -> Value | Because | None:
    """quantize(f(dequantize(x))) -> lookup(x, table of f), for an element-wise f.

    Nothing at all if f only moves bits.
    """
    leaves = _leaves(op.x)
    if isinstance(leaves, Because):
        return leaves
    sources = {activation(leaf) for leaf in leaves}
    source = sources.pop() if len(sources) == 1 else None
    if source is None:
        return Because("it is no function of a single tensor of 8-bit integers")
    integers, encoding = source
    if integers.type != op.result.type and integers.tensor.shape != op.result.tensor.shape:
        return Because("it changes its operand's shape")
    if op.x in leaves and encoding == result:
        return integers
    points = dequantized_points(encoding)
    real = np.broadcast_to(function_at(op.x, {leaf: points for leaf in leaves}), (256,))
    return lookup(integers, result.array(real), op.result.name, result)


def dequantized_points(encoding: Encoding) -> Array:
    """What each of the 256 integers stands for, from the smallest."""
    low, high = encoding.dtype.limits
    integers = np.arange(low, high + 1) - encoding.zero
    return integers.astype(np.float32) * np.float32(encoding.scale)


def converted(integers: Value, encoding: Encoding, result: Encoding, name: str) -> Value:
    """Integers in another encoding; the same value where the encodings are one."""
    if encoding == result:
        return integers
    return lookup(integers, result.array(dequantized_points(encoding)), name, result)


def lookup(integers: Value, table: Array, name: str, result: Encoding) -> Value:
    """A lookup op's value, with its name and note."""
    op = Lookup(integers, constant(table, f"{name}.table").result).named(name)
    return noted(op.result, result)


def _leaves(value: Value) -> set[Value] | Because:
    """The dequantized tensors that an element-wise function reads."""
    leaves: set[Value] = set()
    pending, seen = [value], {value}
    while pending:
        current = pending.pop()
        if activation(current) is not None and constant_real(current) is None:
            leaves.add(current)
            continue
        array = constant_real(current)
        if array is not None and array.size == 1:
            continue
        op = current.op
        if not isinstance(op, ELEMENTWISE) or op.result.tensor.dtype is not DType.F32:
            name = op.op_name if op is not None else "an input"
            return Because(f"{name} has no integer form")
        fresh = [operand for operand in op.operands if operand not in seen]
        seen.update(fresh)
        pending.extend(fresh)
    return leaves
