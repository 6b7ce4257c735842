"""What an op class declares: its annotations read once into operands, attributes and regions."""

import enum
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .data import Data
from .types import Buffer, Index, Quant, Symbol, Tensor


class Kind(enum.Enum):
    """The role of one declared field."""

    OPERAND = "operand"
    OPTIONAL = "optional operand"
    VARIADIC = "variadic operands"
    ATTRIBUTE = "attribute"
    REGION = "region"


MISSING = object()
_PLAIN = (
    bool,
    int,
    float,
    str,
    enum.Enum,
    types.NoneType,
    Data,
    Symbol,
    Quant,
    Tensor,
    Buffer,
    Index,
)
_BOOLS: tuple[type[Any], ...] = (bool, np.bool_)
_INTS: tuple[type[Any], ...] = (int, np.integer)
_FLOATS: tuple[type[Any], ...] = (*_INTS, float, np.floating)
_UNIONS = (types.UnionType, typing.Union)  # `Value | None`, `Optional[Value]`


@dataclass(frozen=True, slots=True)
class Field:
    """One declared field of an op class, in declaration order."""

    name: str
    kind: Kind
    annotation: object
    default: object
    positional: bool = False
    """Whether the text gives it by its place; the others go by `name=`."""

    @property
    def required(self) -> bool:
        return self.default is MISSING

    @property
    def wanted(self) -> str:
        """The annotation as a reader knows it."""
        if isinstance(self.annotation, type) and not typing.get_args(self.annotation):
            return self.annotation.__name__
        return str(self.annotation).replace("typing.", "")

    def accepts(self, value: object) -> bool:
        """Whether an attribute value has the annotated type, or converts to it without loss."""
        return convert(value, self.annotation) is not MISSING


def read_fields(cls: type, value_type: type, region_type: type) -> tuple[Field, ...]:
    """The fields of an op class, its bases' first, as a dataclass would order them."""
    fields: dict[str, Field] = {}
    for base in reversed(cls.__mro__):
        if "spec_fields" in base.__dict__:
            fields |= {field.name: field for field in base.__dict__["spec_fields"]}
            continue
        for name, annotation in base.__dict__.get("__annotations__", {}).items():  # noqa: RUF063 -- inherited ones must not count here
            if typing.get_origin(annotation) is typing.ClassVar:
                continue
            if isinstance(annotation, str):
                raise TypeError(
                    f"{cls.__name__}.{name}: the annotation of a field must not be a string"
                )
            kind = _kind(annotation, value_type, region_type)
            if kind is Kind.ATTRIBUTE and not _has_text(annotation):
                raise TypeError(f"{cls.__name__}.{name}: {annotation} has no text form")
            default = base.__dict__.get(name, MISSING)
            fields[name] = Field(name, kind, annotation, default)
    return tuple(_with_places(list(fields.values())))


def _with_places(fields: list[Field]) -> Iterable[Field]:
    """Operands and constants go by place; variadic operands where they come first and alone."""
    placed = {
        field.name for field in fields if field.kind is Kind.OPERAND or field.annotation is Data
    }
    if not placed and fields and fields[0].kind is Kind.VARIADIC:
        placed = {fields[0].name}
    return (replace(field, positional=field.name in placed) for field in fields)


def _kind(annotation: object, value_type: type, region_type: type) -> Kind:
    if annotation is value_type:
        return Kind.OPERAND
    if annotation is region_type:
        return Kind.REGION
    arguments = typing.get_args(annotation)
    if value_type in arguments:
        if typing.get_origin(annotation) in _UNIONS:
            return Kind.OPTIONAL
        return Kind.VARIADIC
    return Kind.ATTRIBUTE


def _has_text(annotation: object) -> bool:
    """Whether printer and parser know how to write every value of a type."""
    origin = typing.get_origin(annotation)
    parts: tuple[object, ...] = typing.get_args(annotation)
    if origin is typing.Literal:
        return all(isinstance(part, bool | int | str) for part in parts)
    if origin is tuple or origin in _UNIONS:
        return all(part is Ellipsis or _has_text(part) for part in parts)
    return isinstance(annotation, type) and issubclass(annotation, _PLAIN)


def convert(value: Any, annotation: object) -> object:
    """An attribute value as the annotated type wants it, or `MISSING` where it has another type.

    As for type checkers, an int will do for a float. Numpy's scalars become Python's, which print
    and read back.
    """
    arguments: tuple[object, ...] = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        same = [item for item in arguments if type(item) is type(value) and item == value]
        return same[0] if same else MISSING
    if origin in _UNIONS:
        found = (convert(value, option) for option in arguments)
        return next((item for item in found if item is not MISSING), MISSING)
    if origin is tuple:
        return _convert_tuple(value, arguments)
    if annotation is bool and isinstance(value, _BOOLS):
        return bool(value)
    if annotation is float and isinstance(value, _FLOATS):
        return MISSING if isinstance(value, bool) else float(value)
    if annotation is int and isinstance(value, _INTS):
        return MISSING if isinstance(value, bool) else int(value)
    if annotation is str and isinstance(value, str):
        return str(value)
    fits = isinstance(annotation, type) and isinstance(value, annotation)
    return value if fits else MISSING


def _convert_tuple(value: object, elements: tuple[object, ...]) -> object:
    if not isinstance(value, tuple):
        return MISSING
    items = typing.cast(tuple[object, ...], value)
    if len(elements) == 2 and elements[1] is Ellipsis:
        elements = (elements[0],) * len(items)
    if len(elements) != len(items):
        return MISSING
    converted = tuple(convert(item, element) for item, element in zip(items, elements, strict=True))
    return MISSING if any(item is MISSING for item in converted) else converted
