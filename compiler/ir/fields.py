"""What an op class declares: its annotations read once into operands, attributes and regions."""

import enum
import types
import typing
from dataclasses import dataclass


class Kind(enum.Enum):
    """The role of one declared field."""

    OPERAND = "operand"
    OPTIONAL = "optional operand"
    VARIADIC = "variadic operands"
    ATTRIBUTE = "attribute"
    REGION = "region"


MISSING = object()


@dataclass(frozen=True, slots=True)
class Field:
    """One declared field of an op class, in declaration order."""

    name: str
    kind: Kind
    annotation: object
    default: object

    @property
    def required(self) -> bool:
        return self.default is MISSING

    def accepts(self, value: object) -> bool:
        """Whether an attribute value has the annotated type."""
        return _matches(value, self.annotation)


def read_fields(cls: type, value_type: type, region_type: type) -> tuple[Field, ...]:
    """The fields of an op class, its bases' first, as a dataclass would order them."""
    fields: dict[str, Field] = {}
    for base in reversed(cls.__mro__):
        if "spec_fields" in base.__dict__:
            fields |= {field.name: field for field in base.__dict__["spec_fields"]}
            continue
        for name, annotation in base.__dict__.get("__annotations__", {}).items():
            if typing.get_origin(annotation) is typing.ClassVar:
                continue
            kind = _kind(annotation, value_type, region_type)
            default = base.__dict__.get(name, MISSING)
            fields[name] = Field(name, kind, annotation, default)
    return tuple(fields.values())


def _kind(annotation: object, value_type: type, region_type: type) -> Kind:
    if annotation is value_type:
        return Kind.OPERAND
    if annotation is region_type:
        return Kind.REGION
    arguments = typing.get_args(annotation)
    if value_type in arguments:
        if isinstance(annotation, types.UnionType):
            return Kind.OPTIONAL
        return Kind.VARIADIC
    return Kind.ATTRIBUTE


def _matches(value: object, annotation: object) -> bool:
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return value in typing.get_args(annotation)
    if isinstance(annotation, types.UnionType):
        return any(_matches(value, option) for option in typing.get_args(annotation))
    if origin is tuple:
        element = typing.get_args(annotation)[0]
        return isinstance(value, tuple) and all(_matches(item, element) for item in value)
    if annotation is float:
        return isinstance(value, float)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(annotation, type) and isinstance(value, annotation)
