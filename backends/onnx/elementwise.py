"""Element-wise ops: nearly all have a namesake in ONNX."""

from mcc.ir import Op
from mcc.ops import (
    Abs,
    And,
    Cast,
    Clip,
    Div,
    Equal,
    Erf,
    Exp,
    Greater,
    LeakyRelu,
    Less,
    Log,
    Maximum,
    Minimum,
    Mul,
    Neg,
    Not,
    Or,
    Pow,
    Reciprocal,
    Relu,
    Sigmoid,
    Sqrt,
    Sub,
    Tanh,
    Where,
)

from .bounds import clamped, is_bounded
from .registry import emits
from .writer import Writer, element_type

_NAMESAKES = (
    Abs,
    And,
    Div,
    Equal,
    Erf,
    Exp,
    Greater,
    Less,
    Log,
    Maximum,
    Minimum,
    Mul,
    Neg,
    Not,
    Or,
    Pow,
    Reciprocal,
    Relu,
    Sigmoid,
    Sqrt,
    Sub,
    Tanh,
    Where,
)
_RENAMED = {"Maximum": "Max", "Minimum": "Min"}


@emits(*_NAMESAKES)
def write_namesake(writer: Writer, op: Op) -> None:
    """The operands in order, no attributes."""
    name = type(op).__name__
    inputs = [writer.name(value) for value in op.operands]
    writer.node(op, _RENAMED.get(name, name), inputs, writer.name(op.result))


@emits(Clip)
def write_clip(writer: Writer, op: Clip) -> None:
    x = writer.name(op.x)
    if is_bounded(op):
        clamped(writer, op, x)
    else:
        writer.node(op, "Identity", [x], writer.name(op.result))


@emits(LeakyRelu)
def write_leaky_relu(writer: Writer, op: LeakyRelu) -> None:
    writer.node(op, "LeakyRelu", [writer.name(op.x)], writer.name(op.result), alpha=op.alpha)


@emits(Cast)
def write_cast(writer: Writer, op: Cast) -> None:
    to = element_type(op.to)
    writer.node(op, "Cast", [writer.name(op.x)], writer.name(op.result), to=to)
