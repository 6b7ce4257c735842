"""What an op class declares: its annotations read once into operands, attributes and regions."""

import enum
import functools
import types
import typing
from collections.abc import Callable, Iterable
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


OPERANDS = (Kind.OPERAND, Kind.OPTIONAL, Kind.VARIADIC)
MISSING = object()
Converter = Callable[[Any], object]
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
    convert: Converter
    """The value as an op stores it, or `MISSING` where the field cannot hold it."""
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
            fields[name] = Field(name, kind, annotation, default, converter(annotation))
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


@functools.cache
def converter(annotation: object) -> Converter:
    """Turns an attribute value into what the annotated type wants; `MISSING` for another type.

    As for type checkers, an int will do for a float. Numpy's scalars become Python's, which print
    and read back. Annotations are read once: modules of tiles have a hundred thousand ops.
    """
    arguments: tuple[object, ...] = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return functools.partial(_literal, arguments)
    if origin in _UNIONS:
        return functools.partial(_union, tuple(map(converter, arguments)))
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return functools.partial(_items, converter(arguments[0]))
        return functools.partial(_tuple, tuple(map(converter, arguments)))
    if isinstance(annotation, type):
        return _SCALARS.get(annotation) or functools.partial(_instance, annotation)
    return _nothing


def _literal(known: tuple[object, ...], value: Any) -> object:
    same = [item for item in known if type(item) is type(value) and item == value]
    return same[0] if same else MISSING


def _union(options: tuple[Converter, ...], value: Any) -> object:
    for option in options:
        if (found := option(value)) is not MISSING:
            return found
    return MISSING


def _items(convert: Converter, value: Any) -> object:
    if not isinstance(value, tuple):
        return MISSING
    converted = tuple([convert(item) for item in typing.cast(tuple[object, ...], value)])
    return MISSING if MISSING in converted else converted


def _tuple(converters: tuple[Converter, ...], value: Any) -> object:
    if not isinstance(value, tuple):
        return MISSING
    items = typing.cast(tuple[object, ...], value)
    if len(items) != len(converters):
        return MISSING
    converted = tuple(
        [convert(item) for convert, item in zip(converters, items, strict=True)],
    )
    return MISSING if MISSING in converted else converted


def _bool(value: Any) -> object:
    return bool(value) if isinstance(value, _BOOLS) else MISSING


def _int(value: Any) -> object:
    if type(value) is int:
        return value
    return int(value) if isinstance(value, _INTS) and not isinstance(value, bool) else MISSING


def _float(value: Any) -> object:
    if type(value) is float:
        return value
    return float(value) if isinstance(value, _FLOATS) and not isinstance(value, bool) else MISSING


def _str(value: Any) -> object:
    return str(value) if isinstance(value, str) else MISSING


def _instance(wanted: type, value: Any) -> object:
    return value if isinstance(value, wanted) else MISSING


def _nothing(value: Any) -> object:
    return MISSING


_SCALARS: dict[type, Converter] = {bool: _bool, int: _int, float: _float, str: _str}
