"""The table of ONNX operators: each is a function whose signature is the operator's schema."""

import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from mcc.ir import Array, Value

from .schemas import is_standard

Ints = tuple[int, ...]
"""A parameter input that must be known while importing: shapes, axes, pads."""

Result = Value | tuple[Value, ...]


class OutputCount(int):
    """A keyword of this type is no ONNX attribute: it gets the number of the node's outputs."""


class UnsupportedError(Exception):
    """The operator is known, this use of it (an attribute's value, an extra output) is not."""


class InputKind(Enum):
    """What an operator's function receives for one of its inputs."""

    VALUE = "value"
    ARRAY = "constant array"
    INTS = "constant integers"


@dataclass(frozen=True)
class Input:
    """One input in the schema."""

    name: str
    kind: InputKind
    required: bool


@dataclass(frozen=True)
class Operator:
    """One version of an ONNX operator."""

    name: str
    since: int
    function: Callable[..., Result]
    inputs: tuple[Input, ...]
    variadic: bool
    attributes: Mapping[str, bool]
    """The attributes by name, and whether each is required."""
    count: str | None
    """The keyword that wants the number of outputs."""


_TABLE: dict[str, list[Operator]] = {}


_Function = TypeVar("_Function", bound=Callable[..., Result])


def operator(*, since: int) -> Callable[[_Function], _Function]:
    """Register a function under its own name as the ONNX operator that holds from opset `since` on.

    Positional parameters are the operator's inputs: a `Value` as it is, an `Array` or `Ints` only
    as a constant. Keyword parameters are its attributes. A superseded version carries its opset in
    the name: `Squeeze_1`.
    """

    def register(function: _Function) -> _Function:
        name = re.sub(r"_\d+$", "", function.__name__)
        versions = _TABLE.setdefault(name, [])
        if any(known.since == since for known in versions):
            raise TypeError(f"two functions for {name} of opset {since}")
        versions.append(_read_signature(name, since, function))
        versions.sort(key=lambda known: known.since)
        return function

    return register


def find(name: str, domain: str, opset: int) -> Operator | None:
    """The version of an operator that holds at an opset, or None where mcc has none."""
    if not is_standard(domain):
        return None
    versions = [known for known in _TABLE.get(name, ()) if known.since <= opset]
    return versions[-1] if versions else None


def known_operators() -> tuple[str, ...]:
    """The names of all registered operators."""
    return tuple(sorted(_TABLE))


def _read_signature(name: str, since: int, function: Callable[..., Result]) -> Operator:
    inputs: list[Input] = []
    attributes: dict[str, bool] = {}
    variadic, count = False, None
    hints = typing.get_type_hints(function)
    for parameter in inspect.signature(function).parameters.values():
        required = parameter.default is inspect.Parameter.empty
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            variadic = True
        elif parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            kind = _input_kind(hints[parameter.name])
            inputs.append(Input(parameter.name, kind, required))
        elif hints[parameter.name] is OutputCount:
            count = parameter.name
        else:
            attributes[parameter.name] = required
    return Operator(name, since, function, tuple(inputs), variadic, attributes, count)


def _input_kind(annotation: object) -> InputKind:
    options = (
        typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    )
    for option in options:
        if option == Ints:
            return InputKind.INTS
        if option is Value:
            return InputKind.VALUE
        if option == Array:
            return InputKind.ARRAY
    raise TypeError(f"an input must be a Value, an Array or Ints, not {annotation}")
