"""Computes at compile time what depends on constants only."""

from typing import cast

import numpy as np

from mcc.ir import (
    Because,
    Constant,
    DType,
    Kind,
    Op,
    Rule,
    Tensor,
    UserError,
    Value,
    Yield,
    constant,
    constant_of,
)
from mcc.ops import Dequantize, Quantize, Reshape, Transpose

from .base import Pass


class FoldConstants(Pass, name="fold-constants"):
    """op(constants) -> constant, by the op's own definition.

    `dequantize(constant)` stays, so that a quantized model keeps its form, and so does
    `quantize(constant)` unless `quantize` says otherwise; a shape op moves in front of the
    `dequantize` instead. A result larger than its operands by more than `limit` bytes stays
    unfolded: the file would grow (an `expand`, for instance).
    """

    limit: int = 1 << 16
    quantize: bool = False

    def active_rules(self) -> tuple[Rule, ...]:
        def fold(op: Op) -> Value | tuple[Value, ...] | Because | None:
            return fold_op(op, self.limit, self.quantize)

        return (shape_before_dequantize, fold)


def fold_op(op: Op, limit: int, quantize: bool) -> Value | tuple[Value, ...] | Because | None:
    """op(constants) -> constant."""
    if isinstance(op, Constant | Yield | Dequantize) or op.regions or not op.pure:
        return None
    if any(constant_of(value) is None for value in op.operands):
        return None
    if isinstance(op, Quantize) and not quantize:
        return Because("weights are quantized only where asked: `fold-constants{quantize=true}`")
    types = [value.type for value in op.results]
    before = sum(value.tensor.nbytes for value in op.operands)
    after = 0
    for type in types:
        if not isinstance(type, Tensor) or type.dtype in (DType.B1, DType.STRING):
            return Because(f"a constant of type {type} cannot be computed")
        if any(not isinstance(dim, int) for dim in type.shape):
            return Because(f"the shape of {type} is not known")
        after += type.nbytes
    if after > before + limit:
        return Because(f"the result has {after} bytes, its operands {before}, the limit is {limit}")
    try:
        arrays = _evaluate(op)
    except (ArithmeticError, IndexError, UserError, ValueError) as error:
        return Because(f"its evaluation fails: {error}")
    folded = tuple(
        constant(np.asarray(array, value.tensor.dtype.numpy), value.name).result
        for array, value in zip(arrays, op.results, strict=True)
    )
    return folded


def shape_before_dequantize(op: Transpose | Reshape) -> Value | None:
    """transpose(dequantize(constant)) -> dequantize(transpose(constant)), also for a reshape."""
    inner = op.x.op
    if not isinstance(inner, Dequantize) or constant_of(inner.x) is None:
        return None
    scale, zero = inner.scale, inner.zero
    if isinstance(op, Transpose):
        axis = op.perm.index(inner.axis) if scale.tensor.rank else inner.axis
        return Dequantize(Transpose(inner.x, op.perm).result, scale, zero, axis).result
    if scale.tensor.rank:
        return None
    return Dequantize(Reshape(inner.x, op.shape).result, scale, zero, inner.axis).result


def variadic(operand: object) -> tuple[Value, ...]:
    """A variadic field, typed."""
    assert isinstance(operand, tuple)
    return cast("tuple[Value, ...]", operand)


def _evaluate(op: Op) -> tuple[object, ...]:
    """The op's definition on its constant operands."""
    arguments: list[object] = []
    for field in op.spec_fields:
        operand: object = getattr(op, field.name)
        if field.kind is Kind.VARIADIC:
            arguments.append(tuple(constant_of(value) for value in variadic(operand)))
        elif field.kind in (Kind.OPERAND, Kind.OPTIONAL):
            arguments.append(constant_of(operand) if isinstance(operand, Value) else None)
    with np.errstate(all="ignore"):
        found: object = getattr(op, "evaluate")(*arguments)  # noqa: B009  # each op declares its own
    return found if isinstance(found, tuple) else (found,)  # pyright: ignore[reportUnknownVariableType]
