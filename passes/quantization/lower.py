"""From the quantize/dequantize form to integer ops: what a machine computes, bit for bit.

Works on mcc's own modules and on those of others. What has no integer form stays `dequantize, op,
quantize`.
"""

import json
from typing import ClassVar

from mcc.ir import Because, DType, Module, RewriteReport, Rule, Value, constant_of
from mcc.ops import Conv, Matmul, Quantize

from ..base import Pass
from .chain import encoding_of
from .lower_add import lower_add
from .lower_moves import lower_move
from .lower_pool import lower_mean
from .lower_product import lower_product
from .lower_table import lower_table
from .overflow import accumulator_bounds
from .products import rows_of


def lower(op: Quantize) -> Value | Because | None:
    """quantize(f(dequantize(x), ...)) -> the integer form of f."""
    if op.x.op is None:
        return None
    result = encoding_of(op)
    if isinstance(result, Because):
        return result
    reason: Because | None = None
    for attempt in (lower_product, lower_mean, lower_move, lower_add, lower_table):
        found = attempt(op, result)
        if isinstance(found, Value):
            return found
        reason = reason or found
    return reason


class LowerQuantized(Pass, name="lower-quantized"):
    """Integer ops in the place of `dequantize, op, quantize`."""

    rules: ClassVar[tuple[Rule, ...]] = (lower,)

    def run(self, module: Module, report: RewriteReport) -> Module:
        module = super().run(module, report)
        for op in module.ops():
            if isinstance(op, Quantize):
                encoding = encoding_of(op)
                if not isinstance(encoding, Because) and op.result.quant is None:
                    op.result.quant = encoding.quant
        bounds = accumulators(module)
        if bounds:
            module.meta["accumulators"] = json.dumps(bounds)
        return module


def accumulators(module: Module) -> dict[str, tuple[int, int, int]]:
    """For each int32 accumulator with constant weights.

    Smallest sum, largest sum, and a bound of all partial sums.
    """
    found: dict[str, tuple[int, int, int]] = {}
    for op in module.ops():
        if not isinstance(op, Conv | Matmul) or op.result.tensor.dtype is not DType.I32:
            continue
        weights = constant_of(op.w)
        if weights is None:
            continue
        bounds = accumulator_bounds(
            rows_of(op, weights),
            (*op.x.tensor.dtype.limits, 0),
            constant_of(op.b),
            constant_of(op.k),
            (-128, 127, 0) if op.k is not None else (0, 0, 0),
        )
        found[op.result.name] = bounds.summary
    return found
