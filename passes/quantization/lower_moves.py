"""Ops that move or pick elements, on integers."""

from mcc.ir import Because, Value
from mcc.ops import Concat, Expand, Gather, MaxPool, Pad, Quantize, Reshape, Slice, Transpose

from .chain import activation, noted
from .clone import with_operands
from .encoding import Encoding
from .lower_table import converted


def lower_move(op: Quantize, result: Encoding) -> Value | Because | None:
    """quantize(move(dequantize(x))) -> move(x), through a table first where the scales differ."""
    move = op.x.op
    name = op.result.name
    if isinstance(move, Concat):
        sources = [activation(value) for value in move.xs]
        parts = [
            converted(source[0], source[1], result, f"{name}.part{i}")
            for i, source in enumerate(sources)
            if source is not None
        ]
        if len(parts) < len(sources):
            return Because("one of its operands is no dequantized integers")
        joined = Concat(tuple(parts), move.axis).named(name, move.nodes)
        return noted(joined.result, result)
    if not isinstance(move, MaxPool | Reshape | Transpose | Slice | Pad | Expand | Gather):
        return None
    source = activation(move.x)
    if source is None:
        return Because("its operand is no dequantized integers")
    changes: dict[str, object] = {"x": converted(source[0], source[1], result, f"{name}.rescaled")}
    if isinstance(move, Pad):
        changes["value"] = float(result.quantized(move.value))
    if isinstance(move, Gather):
        changes["indices"] = move.indices
    fresh = with_operands(move, {}, **changes).named(name, move.nodes)
    return noted(fresh.result, result)
