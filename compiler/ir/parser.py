"""Text to module: lark reads the grammar into plain records, then ops are built in order."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from .core import OPS, Op, Region, Value
from .data import Data
from .errors import OpError, UserError
from .fields import Field, Kind
from .links import set_nodes
from .module import Module
from .types import Array, Buffer, Dim, DType, Index, Quant, Space, Symbol, Tensor, Type

if TYPE_CHECKING:
    from lark import Lark, Token


@dataclass(slots=True)
class _Typed:
    type: Type
    quant: Quant | None
    axes: tuple[int, ...] | None


@dataclass(slots=True)
class _Region:
    params: "list[tuple[Token, _Typed]]"
    ops: "list[_Op]"


@dataclass(slots=True)
class _Op:
    name: "Token"
    results: "list[Token]"
    arguments: "list[tuple[Token | None, object]]"
    regions: list[_Region]
    types: list[_Typed]
    nodes: list[str]


@dataclass(slots=True)
class _Module:
    name: str
    params: "list[tuple[Token, _Typed]]"
    outputs: list[str]
    meta: dict[str, str]
    ops: list[_Op]


@dataclass(slots=True)
class _Literal:
    """`f32 [1.0, 2.0]` in the text: a small constant."""

    dtype: DType
    value: object


class _Failure(Exception):
    def __init__(self, message: str, token: "Token | None") -> None:
        super().__init__(message)
        self.token = token


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
    from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedToken

    try:
        tree = _lark().parse(text)
        return _Builder(weights or {}).module(tree)  # type: ignore[arg-type]
    except _Failure as failure:
        token = failure.token
        line, column = (token.line or 1, token.column or 1) if token is not None else (1, 1)
        raise _at(text, source, line, column, str(failure)) from None
    except UnexpectedEOF:
        last = text.count("\n") + 1
        raise _at(text, source, last, 1, "the text ends before the module does") from None
    except UnexpectedToken as error:
        if error.token.type == "$END":
            last = text.rstrip().count("\n") + 1
            raise _at(text, source, last, 1, "the text ends before the module does") from None
        expected = ", ".join(sorted(error.accepts or error.expected)[:8])
        message = f"unexpected {str(error.token)!r}; expected {expected}"
        raise _at(text, source, error.line, error.column, message) from None
    except UnexpectedCharacters as error:
        message = f"unexpected character {text[error.pos_in_stream]!r}"
        raise _at(text, source, error.line, error.column, message) from None


def _at(text: str, source: str, line: int, column: int, message: str) -> UserError:
    lines = text.splitlines() or [""]
    shown = lines[min(line, len(lines)) - 1]
    start = max(0, column - 60)
    caret = " " * (column - 1 - start) + "^"
    return UserError(
        f"{message}\n  {shown[start : start + 120]}\n  {caret}", where=f"{source}:{line}:{column}"
    )


@cache
def _lark() -> "Lark":
    from pathlib import Path

    from lark import Lark, Transformer, v_args

    @v_args(inline=True)
    class Records(Transformer):  # type: ignore[type-arg]
        """Turns each rule into its record as soon as it is reduced: no tree is ever built."""

        def module(self, name: "Token", *rest: object) -> _Module:
            return _Module(
                _unquote(name),
                [item for item in rest if isinstance(item, tuple)],
                [json.loads(item) for item in rest if isinstance(item, str)],
                dict(item for item in rest if isinstance(item, list)),
                [item for item in rest if isinstance(item, _Op)],
            )

        def meta(self, key: "Token", value: "Token") -> list[str]:
            return [json.loads(key), json.loads(value)]

        def param(self, name: "Token", type: _Typed) -> "tuple[Token, _Typed]":
            return name, type

        def type(self, first: "Token", *notes: "Token") -> _Typed:
            return _type(first, notes)

        def op(self, results: "list[Token] | None", name: "Token", *rest: object) -> _Op:
            arguments: list[tuple[Token | None, object]] = []
            regions: list[_Region] = []
            types: list[_Typed] = []
            nodes: list[str] = []
            for item in rest:
                match item:
                    case tuple():
                        arguments.append(item)
                    case _Region():
                        regions.append(item)
                    case _Typed():
                        types.append(item)
                    case list():
                        nodes = item
                    case _:
                        pass
            return _Op(name, results or [], arguments, regions, types, nodes)

        def results(self, *names: "Token") -> "list[Token]":
            return list(names)

        def origin(self, *names: "Token") -> list[str]:
            return [json.loads(name) for name in names]

        def region(self, *items: object) -> _Region:
            return _Region(
                [item for item in items if isinstance(item, tuple)],
                [item for item in items if isinstance(item, _Op)],
            )

        def argument(self, keyword: "Token | None", item: object) -> "tuple[Token | None, object]":
            return keyword, item

        def typed(self, dtype: "Token", value: object) -> _Literal:
            return _Literal(DType(str(dtype)), value)

        def list(self, *items: object) -> object:
            return [item for item in items if item is not None]

    grammar = (Path(__file__).parent / "grammar.lark").read_text()
    return Lark(
        grammar, start="module", parser="lalr", transformer=Records(), maybe_placeholders=True
    )


def _unquote(token: str) -> str:
    return str(json.loads(token[1:])) if token[1] == '"' else str(token[1:])


def _type(first: "Token", notes: "Sequence[Token]") -> _Typed:
    quant: Quant | None = None
    axes: tuple[int, ...] | None = None
    try:
        for note in notes:
            kind, _, body = note[:-1].partition("(")
            if kind == "axes":
                axes = tuple(int(part) for part in body.split(","))
            else:
                quant = _quant(body)
        return _Typed(_read_type(str(first), first.type), quant, axes)
    except ValueError as error:
        raise _Failure(f"bad type or note: {error}", first) from None


def _read_type(text: str, kind: str) -> Type:
    if kind == "INDEX":
        return Index()
    if kind == "BUFFER":
        space, _, inner = text[:-1].partition("<")
        tensor = _read_tensor(inner)
        return Buffer(Space(space), tensor.dtype, tensor.dims)
    return _read_tensor(text)


def _read_tensor(text: str) -> Tensor:
    dtype, _, inner = text[:-1].partition("[")
    dims: list[Dim] = [
        Symbol(part[1:]) if part[0] == "?" else int(part) for part in inner.split(",") if part
    ]
    return Tensor(DType(dtype), tuple(dims))


def _quant(body: str) -> Quant:
    parts = json.loads(f"[{body}]")
    if isinstance(parts[0], list):
        return Quant(tuple(map(float, parts[0])), tuple(map(int, parts[1])), int(parts[2]))
    return Quant((float(parts[0]),), (int(parts[1]),))


class _Builder:
    """Builds ops in text order: a value must be defined before it is used."""

    def __init__(self, weights: Mapping[str, Array]) -> None:
        self._weights = weights
        self._values: dict[str, Value] = {}
        self._data: dict[str, Data] = {}

    def module(self, record: _Module) -> Module:
        body = self._region(_Region(record.params, record.ops))
        module = Module(record.name, body, record.outputs)
        module.meta.update(record.meta)
        if body.last is None or body.last.op_name != "yield":
            raise _Failure("the module must end in a yield", None)
        return module

    def _region(self, record: _Region) -> Region:
        """One region. Nested ones are built first, by recursion: loops nest a few levels, never thousands."""
        region = Region([typed.type for _, typed in record.params])
        for value, (token, typed) in zip(region.args, record.params, strict=True):
            self._define(value, token, typed)
        for op in record.ops:
            region.append(self._op(op))
        return region

    def _define(self, value: Value, token: "Token", typed: _Typed) -> None:
        name = _unquote(token)
        if name in self._values:
            raise _Failure(f"%{name} is defined twice", token)
        value.name = "" if name.isdecimal() else name
        value.quant, value.axes = typed.quant, typed.axes
        self._values[name] = value

    def _op(self, record: _Op) -> Op:
        from difflib import get_close_matches

        op_class = OPS.get(record.name)
        if op_class is None:
            close = get_close_matches(record.name, OPS)
            hint = f"; did you mean {', '.join(close)}?" if close else ""
            raise _Failure(f"unknown op {str(record.name)!r}{hint}", record.name)
        keywords = self._fields(op_class, record)
        try:
            op = op_class(**keywords)  # type: ignore[call-arg]
        except OpError as error:
            raise _Failure(error.message, record.name) from None
        set_nodes(op, record.nodes)
        if len(op.results) != len(record.results) or len(op.results) != len(record.types):
            raise _Failure(f"{record.name} defines {len(op.results)} values", record.name)
        for value, token, typed in zip(op.results, record.results, record.types, strict=True):
            if value.type != typed.type:
                raise _Failure(
                    f"{token} is {value.type} by the rule of {record.name}, not {typed.type}", token
                )
            self._define(value, token, typed)
        return op

    def _fields(self, op_class: type[Op], record: _Op) -> dict[str, object]:
        fields = {field.name: field for field in op_class.spec_fields}
        positional = [
            field
            for index, field in enumerate(op_class.spec_fields)
            if field.kind is Kind.OPERAND
            or (field.kind is Kind.VARIADIC and index == 0)
            or field.annotation is Data
        ]
        found: dict[str, object] = {}
        loose: list[tuple[Token, object]] = []
        for keyword, item in record.arguments:
            if keyword is None:
                if item is not None:
                    loose.append((record.name, item))
                continue
            name = keyword[:-1]
            if name not in fields:
                known = ", ".join(fields)
                raise _Failure(f"{record.name} has no field {name!r} (known: {known})", keyword)
            found[name] = self._field(fields[name], item, keyword)
        if positional and positional[0].kind is Kind.VARIADIC:
            found[positional[0].name] = tuple(self._value(item, token) for token, item in loose)
        elif len(loose) > len(positional):
            raise _Failure(f"{record.name} takes {len(positional)} operands", record.name)
        else:
            for field, (token, item) in zip(positional, loose, strict=False):
                found[field.name] = self._field(field, item, token)
        region_fields = [field for field in op_class.spec_fields if field.kind is Kind.REGION]
        if len(region_fields) != len(record.regions):
            raise _Failure(f"{record.name} has {len(region_fields)} regions", record.name)
        for field, region in zip(region_fields, record.regions, strict=True):
            found[field.name] = self._region(region)
        return found

    def _value(self, item: object, token: "Token") -> Value:
        if getattr(item, "type", None) != "VALUE":
            raise _Failure(f"a value is needed here, not {item}", token)
        value = self._values.get(_unquote(str(item)))
        if value is None:
            raise _Failure(f"{item} is not defined before this line", item)  # type: ignore[arg-type]
        return value

    def _field(self, field: Field, item: object, token: "Token") -> object:
        match field.kind:
            case Kind.VARIADIC:
                items = item if isinstance(item, list) else [] if str(item) == "[]" else [item]
                return tuple(self._value(part, token) for part in items)
            case Kind.OPERAND | Kind.OPTIONAL:
                return self._value(item, token)
            case _:
                return self._attribute(item, token)

    def _attribute(self, item: object, token: "Token") -> object:
        if isinstance(item, _Literal):
            return Data(self._array(item, token))
        if isinstance(item, list):
            return tuple(self._attribute(part, token) for part in item)
        text = str(item)
        match getattr(item, "type", ""):
            case "INTEGERS":
                return tuple(int(part) for part in text[1:-1].split(",") if part)
            case "STRING":
                return json.loads(text)
            case "NUMBER":
                return (
                    float(text)
                    if any(mark in text for mark in ".eE") and text[:2] != "0x"
                    else int(text, 0)
                )
            case "WORD_NUMBER":
                return float(text)
            case "DTYPE":
                return DType(text)
            case "TENSOR" | "BUFFER":
                return _read_type(text, getattr(item, "type", ""))
            case "SYMBOL":
                return self._constant(_unquote(text), token)
            case "NAME" if text in ("true", "false", "none"):
                return {"true": True, "false": False, "none": None}[text]
            case _:
                raise _Failure(f"{text!r} is not a value for an attribute", token)

    def _constant(self, name: str, token: "Token") -> Data:
        if name not in self._data:
            if name not in self._weights:
                raise _Failure(f"no weights are given for @{name}", token)
            self._data[name] = Data(self._weights[name], name)
        return self._data[name]

    def _array(self, item: _Literal, token: "Token") -> Array:
        parts = item.value if isinstance(item.value, list) else None
        text = str(item.value)
        if parts is None and text.startswith("["):
            parts = [part.strip() for part in text[1:-1].split(",") if part.strip()]
        scalars = [str(part) for part in parts] if parts is not None else [text]
        storage = item.dtype.numpy
        if any(scalar.startswith("0x") for scalar in scalars):
            bits = np.array([int(s, 0) for s in scalars], f"u{storage.itemsize}").view(storage)
            return bits if parts is not None else bits[0:1].reshape(())
        if item.dtype is DType.I1:
            values: list[object] = [scalar == "true" for scalar in scalars]
        else:
            values = [float(s) if item.dtype.is_float else int(s) for s in scalars]
        array = np.array(values).astype(storage) if values else np.zeros(0, storage)
        return array if parts is not None else array.reshape(())
