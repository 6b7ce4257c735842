"""Which function writes which op."""

from collections.abc import Callable
from typing import TypeVar

from mcc.ir import Op

from .writer import Writer

_Some = TypeVar("_Some", bound=Op)
Emitter = Callable[[Writer, _Some], None]

_EMITTERS: dict[type[Op], Callable[[Writer, Op], None]] = {}


def emits(*classes: type[_Some]) -> Callable[[Emitter[_Some]], Emitter[_Some]]:
    """Register the function that writes ops of these classes as ONNX nodes."""

    def register(function: Emitter[_Some]) -> Emitter[_Some]:
        def write(writer: Writer, op: Op) -> None:
            assert isinstance(op, classes)
            function(writer, op)

        for item in classes:
            _EMITTERS[item] = write
        return function

    return register


def emitter(op: Op) -> Callable[[Writer, Op], None] | None:
    """The function for an op, or None where ONNX has no counterpart."""
    return _EMITTERS.get(type(op))
