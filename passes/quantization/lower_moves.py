"""Ops that move or pick elements, on integers."""

from mcc.ir import Because, Value
from mcc.ops import Concat, Expand, Gather, MaxPool, Pad, Quantize, Reshape, Slice, Transpose

from .chain import activation, noted
from .clone import with_operands
from .encoding import Encoding
from .lower_table import converted

_Move = MaxPool | Reshape | Transpose | Slice | Pad | Expand | Gather
_MOVES = (MaxPool, Reshape, Transpose, Slice, Pad, Expand, Gather)


def lower_move(op: Quantize, result: Encoding) -> Value | Because | None:
    """quantize(move(dequantize(x))) -> move(x), through a table first where the scales differ.

    Several moves in a row likewise.
    """
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
    if not isinstance(move, _MOVES):
        return None
    moves = [move]
    # Others may move twice before they quantize again.
    while isinstance(inner := moves[-1].x.op, _MOVES) and sum(inner.result.uses.values()) == 1:
        moves.append(inner)
    source = activation(moves[-1].x)
    if source is None:
        return Because("its operand is no dequantized integers")
    value = converted(source[0], source[1], result, f"{name}.rescaled")
    for number, each in enumerate(reversed(moves), 1):
        here = name if number == len(moves) else f"{name}.moved{number}"
        value = _moved(each, value, result, here)
    return value


def _moved(move: _Move, x: Value, encoding: Encoding, name: str) -> Value:
    """The op on integers x."""
    changes: dict[str, object] = {"x": x}
    if isinstance(move, Pad):
        changes["value"] = float(encoding.quantized(move.value))
    if isinstance(move, Gather):
        changes["indices"] = move.indices
    fresh = with_operands(move, {}, **changes).named(name, move.nodes)
    return noted(fresh.result, encoding)
