"""Element-wise ops: nearly all have a namesake in ONNX."""

from mcc.ir import DType, Op
from mcc.ops import (
    Abs,
    And,
    Atan,
    Cast,
    Clip,
    Cos,
    Div,
    Equal,
    Erf,
    Exp,
    Floor,
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
    Remainder,
    Round,
    Sigmoid,
    Sin,
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
    Atan,
    Cos,
    Div,
    Equal,
    Erf,
    Exp,
    Floor,
    Greater,
    Less,
    Log,
    Maximum,
    Minimum,
    Mul,
    Neg,
    Not,
    Pow,
    Reciprocal,
    Relu,
    Round,
    Sigmoid,
    Sin,
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


@emits(And, Or)
def write_logical(writer: Writer, op: Op) -> None:
    """Truth values and bits have operators of their own."""
    prefix = "" if op.result.tensor.dtype is DType.I1 else "Bitwise"
    inputs = [writer.name(value) for value in op.operands]
    writer.node(op, prefix + type(op).__name__, inputs, writer.name(op.result))


@emits(Remainder)
def write_remainder(writer: Writer, op: Remainder) -> None:
    inputs = [writer.name(value) for value in op.operands]
    writer.node(op, "Mod", inputs, writer.name(op.result), fmod=1)


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
