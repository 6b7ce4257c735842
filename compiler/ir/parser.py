"""Text to module: ops are built from the text's records, in order."""

import enum
import gc
import typing
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from .core import OPS, Op, Region, Value
from .data import Data
from .errors import OpError, UserError
from .fields import Field, Kind
from .links import set_nodes
from .literals import read_array
from .module import Module
from .records import (
    Literal,
    ModuleText,
    OpText,
    RegionText,
    TextError,
    Typed,
    integers,
    located,
    read_note,
    read_records,
    read_type,
    string,
    unquote,
)
from .types import Array, DType, Symbol

if TYPE_CHECKING:
    from lark import Token


def parse(
    text: str, weights: Mapping[str, Array] | None = None, *, source: str = "<text>"
) -> Module:
    """Read a module.

    Args:
        text: The module's text.
        weights: The arrays that the text names with `@name`.
        source: What to call the text in error messages, such as a file name.

    Raises:
        UserError: With line, column and a caret, for anything that is not a valid module.
    """
    with _without_collector():
        record = read_records(text, source)
        try:
            return _Builder(weights or {}).module(record)
        except TextError as error:
            raise located(text, source, error) from None


@contextmanager
def _without_collector() -> Generator[None]:
    """No search for garbage: a large text makes many objects and no cycle, in half the time."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


class _Builder:
    """Builds ops in text order: a value must be defined before it is used."""

    def __init__(self, weights: Mapping[str, Array]) -> None:
        self._weights = weights
        self._values: dict[str | int, Value] = {}
        self._data: dict[str, Data] = {}

    def module(self, record: ModuleText) -> Module:
        body = self._region(record.body)
        module = Module(record.name, body, record.outputs)
        module.meta.update(record.meta)
        if body.last is None or body.last.op_name != "yield":
            raise UserError(
                f"module {record.name} does not end in a yield",
                remedy="its last line says what it hands out, such as yield(%y)",
            )
        return module

    def _region(self, record: RegionText) -> Region:
        """One region. Nested ones by recursion: loops nest a few levels, never thousands."""
        region = Region([typed.type for _, typed in record.params])
        for value, (token, typed) in zip(region.args, record.params, strict=True):
            self._define(value, token, typed)
        for op in record.ops:
            region.append(self._op(op))
        return region

    def _define(self, value: Value, token: "Token", typed: Typed) -> None:
        key = _key(token)
        if key in self._values:
            raise TextError(f"{token} is defined twice", token)
        value.name = key if isinstance(key, str) else ""
        value.quant, value.axes = typed.quant, typed.axes
        self._values[key] = value

    def _op(self, record: OpText) -> Op:
        op_class: Any = OPS.get(record.name)
        if op_class is None:
            raise TextError(
                f"unknown op {str(record.name)!r}{_close(record.name, OPS)}", record.name
            )
        places: dict[str, Token] = {}
        keywords = self._fields(op_class, record, places)
        try:
            op: Op = op_class(**keywords)
        except OpError as error:
            place = places.get(error.field or "", record.name)
            raise TextError(f"{record.name}: {error.reason}", place) from None
        set_nodes(op, tuple(record.nodes))
        found = len(op.results)
        if found != len(record.results) or found != len(record.types):
            raise TextError(
                f"{record.name} defines {found} values, not {len(record.results)} "
                f"of {len(record.types)} types",
                record.name,
            )
        for value, token, typed in zip(op.results, record.results, record.types, strict=True):
            if value.type != typed.type:
                raise TextError(
                    f"{token} is {value.type} by the rule of {record.name}, not {typed.type}", token
                )
            self._define(value, token, typed)
        return op

    def _fields(
        self, op_class: type[Op], record: OpText, places: "dict[str, Token]"
    ) -> dict[str, object]:
        """What the text gives for each field; `places` learns where it stands."""
        by_name = {field.name: field for field in op_class.spec_fields}
        by_place = [field for field in op_class.spec_fields if field.positional]
        variadic = bool(by_place) and by_place[0].kind is Kind.VARIADIC
        found: dict[str, object] = {}
        loose: list[object] = []
        for argument in record.arguments:
            keyword, item = argument.keyword, argument.item
            place = keyword if keyword is not None else _place(item) or record.name
            if keyword is not None:
                field = by_name.get(keyword[:-1])
                if field is None:
                    hint = f"known: {', '.join(by_name) or 'none'}"
                    raise TextError(
                        f"{record.name} has no field {keyword[:-1]!r} ({hint})", keyword
                    )
            elif variadic:
                loose.append(self._value(item, place))
                continue
            elif by_place:
                field = by_place.pop(0)
            else:
                count = sum(field.positional for field in op_class.spec_fields)
                raise TextError(
                    f"{record.name} takes {count} operands by place; others go by name=", place
                )
            if field.name in found:
                raise TextError(f"{record.name} is given {field.name} twice", place)
            places[field.name] = place
            found[field.name] = self._field(field, item, place)
        if variadic and (loose or by_place[0].name not in found):
            if by_place[0].name in found:
                raise TextError(f"{record.name} is given {by_place[0].name} twice", record.name)
            found[by_place[0].name] = tuple(loose)
        regions = [field for field in op_class.spec_fields if field.kind is Kind.REGION]
        if len(regions) != len(record.regions):
            raise TextError(
                f"{record.name} has {len(regions)} regions, not {len(record.regions)}", record.name
            )
        for field, region in zip(regions, record.regions, strict=True):
            found[field.name] = self._region(region)
        return found

    def _value(self, item: object, place: "Token") -> Value:
        token = _place(item)
        if token is None or token.type != "VALUE":
            raise TextError(f"a value (%x) is needed here, not {_shown(item)}", place)
        key = _key(token)
        if key not in self._values:
            names = [name for name in self._values if isinstance(name, str)]
            raise TextError(
                f"{token} is not defined before this line{_close(str(key), names)}", token
            )
        return self._values[key]

    def _field(self, field: Field, item: Any, place: "Token") -> object:
        match field.kind:
            case Kind.OPERAND | Kind.OPTIONAL:
                return self._value(item, place)
            case Kind.VARIADIC:
                if not isinstance(item, list) and str(item) != "[]":
                    raise TextError(f"a list of values is needed here, not {_shown(item)}", place)
                parts = cast(list[object], item) if isinstance(item, list) else []
                return tuple(self._value(part, place) for part in parts)
            case _:
                try:
                    return self._attribute(field, item, place)
                except (ValueError, OverflowError) as error:
                    raise TextError(f"{field.name}: {error}", place) from None

    def _attribute(self, field: Field, item: Any, place: "Token") -> object:
        if isinstance(item, Literal):
            vector = read_array(item.dtype, item.items)
            return Data(vector.reshape(()) if item.scalar else vector)
        if isinstance(item, list):
            parts = cast(list[object], item)
            return tuple(self._attribute(field, part, place) for part in parts)
        text = str(item)
        for member in _members(field.annotation):
            if text == str(member.value):
                return member
        match item.type:
            case "INTEGERS":
                return integers(text[1:-1])
            case "STRING":
                return string(item)
            case "NUMBER" if text.startswith(("0x", "-0x")):
                return int(text, 16)
            case "NUMBER":
                return float(text) if any(mark in text for mark in ".eE") else int(text)
            case "WORD_NUMBER":
                return float(text)
            case "DTYPE":
                return DType(text)
            case "DIM":
                return Symbol(unquote(text))
            case "TENSOR" | "BUFFER" | "INDEX":
                return read_type(item)
            case "NOTE":
                return read_note(item)
            case "SYMBOL":
                return self._constant(unquote(text), item)
            case "NAME" if text in ("true", "false", "none"):
                return {"true": True, "false": False, "none": None}[text]
            case _:
                members = [str(member.value) for member in _members(field.annotation)]
                wanted = ", ".join(members) if members else field.wanted
                raise TextError(f"{field.name} must be {wanted}, not {text!r}", item)

    def _constant(self, name: str, token: "Token") -> Data:
        if name not in self._data:
            if name not in self._weights:
                count = len(self._weights)
                given = f"{count} others are{_close(name, self._weights)}" if count else "none are"
                raise TextError(f"no weights are given for {token} ({given})", token)
            self._data[name] = Data(np.asarray(self._weights[name]), name)
        return self._data[name]


def _key(token: "Token") -> str | int:
    """What a name refers to: `%12` an anonymous value, `%x` and `%"12"` one of that name."""
    return int(token[1:]) if token[1:].isdecimal() else unquote(token)


def _place(item: object) -> "Token | None":
    """The token where an item stands; a list has none of its own."""
    if isinstance(item, Literal):
        return item.token
    token: Any = item
    return token if hasattr(item, "column") else None


def _shown(item: object) -> str:
    if isinstance(item, Literal):
        return f"a constant of {item.dtype}"
    return "a list" if isinstance(item, list) else str(item)


def _members(annotation: object) -> Iterator[enum.Enum]:
    """The members of the enums that an annotation allows, at any depth."""
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        yield from annotation
    for argument in typing.get_args(annotation):
        yield from _members(argument)


def _close(name: str, known: Iterable[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, list(known))
    return f"; did you mean {', '.join(close)}?" if close else ""
