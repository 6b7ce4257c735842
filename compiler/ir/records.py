"""What a module's text says, as plain records: lark reads the grammar straight into them."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from .errors import UserError
from .types import Buffer, Dim, DType, Index, Quant, Space, Symbol, Tensor, Type

if TYPE_CHECKING:
    from lark import Lark, Token


@dataclass(slots=True)
class Typed:
    """A type with the notes behind it."""

    type: Type
    quant: Quant | None
    axes: tuple[int, ...] | None


@dataclass(slots=True)
class Literal:
    """`f32 [1.0, 2.0]` in the text: a small constant."""

    dtype: DType
    items: list[str]
    scalar: bool
    token: "Token"


Item = "Token | Literal | list[Any]"
"""What may stand for an operand or an attribute; lists hold items."""

Param = tuple["Token", Typed]


@dataclass(slots=True)
class Argument:
    """`%x` or `name=3` between an op's parentheses."""

    keyword: "Token | None"
    item: "Token | Literal | list[Any]"


@dataclass(slots=True)
class RegionText:
    params: list[Param]
    ops: "list[OpText]"


@dataclass(slots=True)
class OpText:
    name: "Token"
    results: "list[Token]"
    arguments: list[Argument]
    regions: list[RegionText]
    types: list[Typed]
    nodes: list[str]


@dataclass(slots=True)
class ModuleText:
    name: str
    body: RegionText
    outputs: list[str]
    meta: list[tuple[str, str]]


class TextError(Exception):
    """A mistake at a token of the text; `parse` turns it into a `UserError` with a caret."""

    def __init__(self, message: str, token: "Token | None") -> None:
        super().__init__(message)
        self.token = token


def read_records(text: str, source: str) -> ModuleText:
    """Text to records; a `UserError` shows the line and a caret where it breaks the grammar."""
    from lark.exceptions import UnexpectedCharacters, UnexpectedToken

    try:
        record: Any = _lark().parse(text)
    except TextError as error:
        raise located(text, source, error) from None
    except UnexpectedToken as error:
        if error.token.type == "$END":
            kept = text.rstrip()
            line, column = kept.count("\n") + 1, len(kept) - kept.rfind("\n")
            message = "the text ends before the module does"
            raise error_at(text, source, line, column, message) from None
        terminals: Any = error.accepts or error.expected
        expected = ", ".join(_wording(terminals))
        message = f"unexpected {error.token.value!r}; expected {expected}"
        raise error_at(text, source, error.line, error.column, message) from None
    except UnexpectedCharacters as error:
        found = text[error.pos_in_stream or 0]
        message = "a string without its end" if found == '"' else f"unexpected character {found!r}"
        raise error_at(text, source, error.line, error.column, message) from None
    assert isinstance(record, ModuleText)
    return record


def located(text: str, source: str, error: TextError) -> UserError:
    """The error at its token's place."""
    token = error.token
    line, column = (token.line or 1, token.column or 1) if token is not None else (1, 1)
    return error_at(text, source, line, column, str(error))


def error_at(text: str, source: str, line: int, column: int, message: str) -> UserError:
    """The message, the line of the text (as much as fits) and a caret under the column."""
    lines = text.split("\n")
    shown = lines[min(line, len(lines)) - 1].replace("\t", " ")
    start = max(0, column - 60)
    caret = " " * (column - 1 - start) + "^"
    return UserError(
        f"{message}\n  {shown[start : start + 120]}\n  {caret}", where=f"{source}:{line}:{column}"
    )


_WORDS = {
    "VALUE": "a value (%x)",
    "SYMBOL": "a name (@x)",
    "NAME": "the name of an op",
    "STRING": "a string",
    "NUMBER": "a number",
    "KEYWORD": "a field (name=)",
    "TENSOR": "a type",
    "LPAR": "'('",
    "RPAR": "')'",
    "LBRACE": "'{'",
    "RBRACE": "'}'",
    "COLON": "':'",
    "COMMA": "','",
    "EQUAL": "'='",
    "LSQB": "'['",
    "RSQB": "']'",
    "FROM": "from",
    "META": "meta",
    "MODULE": "module",
    "NOTE": "a note (quant, axes)",
    "$END": "the end of the text",
}


def _wording(terminals: Iterable[str]) -> list[str]:
    """What lark calls the terminals, as readers know them."""
    return sorted(_WORDS[name] for name in terminals if name in _WORDS) or sorted(terminals)


@cache
def _lark() -> "Lark":
    from pathlib import Path

    from lark import Lark, Transformer

    class Records(Transformer[Any, Any]):
        """Turns each rule into its record as soon as it is reduced: no tree is ever built."""

        def module(self, items: list[Any]) -> ModuleText:
            rest = items[1:]
            return ModuleText(
                unquote(items[0]),
                RegionText(
                    [item for item in rest if isinstance(item, tuple)],
                    [item for item in rest if isinstance(item, OpText)],
                ),
                [string(item) for item in rest if isinstance(item, str)],
                [(item[0], item[1]) for item in rest if isinstance(item, list)],
            )

        def meta(self, items: "list[Token]") -> list[str]:
            return [string(item) for item in items]

        def param(self, items: list[Any]) -> Param:
            return items[0], items[1]

        def type(self, items: "list[Token]") -> Typed:
            return _typed(items[0], items[1:])

        def op(self, items: list[Any]) -> OpText:
            record = OpText(items[1], items[0] or [], [], [], [], [])
            for item in items[2:]:
                match item:
                    case Argument():
                        record.arguments.append(item)
                    case RegionText():
                        record.regions.append(item)
                    case Typed():
                        record.types.append(item)
                    case list():
                        record.nodes = item
                    case _:
                        pass
            return record

        def results(self, items: "list[Token]") -> "list[Token]":
            return items

        def origin(self, items: "list[Token]") -> list[str]:
            return [string(item) for item in items]

        def region(self, items: list[Any]) -> RegionText:
            return RegionText(
                [item for item in items if isinstance(item, tuple)],
                [item for item in items if isinstance(item, OpText)],
            )

        def argument(self, items: list[Any]) -> Argument:
            return Argument(items[0], items[1])

        def typed(self, items: list[Any]) -> Literal:
            return _literal(items[0], items[1])

        def items(self, items: list[Any]) -> list[Any]:
            return [item for item in items if item is not None]

    grammar = (Path(__file__).parent / "grammar.lark").read_text(encoding="utf-8")
    return Lark(
        grammar, start="module", parser="lalr", transformer=Records(), maybe_placeholders=True
    )


def unquote(token: str) -> str:
    """The name in `%x`, `@x` or `%"any thing"`."""
    return string(token, 1) if token[1:2] == '"' else str(token[1:])


def string(token: str, start: int = 0) -> str:
    """A quoted string's content, JSON's escapes resolved."""
    try:
        return str(json.loads(token[start:]))
    except ValueError:
        place: Any = token  # a token, wherever the grammar made it
        raise TextError("not a valid string: escapes are those of JSON", place) from None


def integers(text: str) -> tuple[int, ...]:
    """`1, -2` as integers."""
    return tuple(int(part) for part in text.split(",") if part.strip())


def _literal(dtype: "Token", item: Any) -> Literal:
    if isinstance(item, list):
        tokens = cast(list[object], item)
        return Literal(DType(str(dtype)), [str(part) for part in tokens], False, dtype)
    if item.type == "INTEGERS":
        return Literal(DType(str(dtype)), [str(i) for i in integers(item[1:-1])], False, dtype)
    return Literal(DType(str(dtype)), [str(item)], True, dtype)


def _typed(first: "Token", notes: "list[Token]") -> Typed:
    typed = Typed(read_type(first), None, None)
    for note in notes:
        read = read_note(note)
        if isinstance(read, Quant):
            typed.quant = read
        else:
            typed.axes = read
    return typed


def read_note(token: "Token") -> Quant | tuple[int, ...]:
    """`quant(0.5, 3)`, `quant([0.5, 1.0], [0, 0], 1)` or `axes(0, 2, 3, 1)`."""
    kind, _, body = token[:-1].partition("(")
    try:
        if kind == "axes":
            return integers(body)
        # JSON spells infinities its own way.
        parts = json.loads(f"[{body.replace('inf', 'Infinity').replace('nan', 'NaN')}]")
        match parts:
            case [list(), list(), int(axis)]:
                scale, zero = cast(list[list[Any]], parts[:2])
                return Quant(tuple(scale), tuple(zero), axis)
            case [int() | float() as scale, int(zero)]:
                return Quant((float(scale),), (zero,))
            case _:
                raise ValueError("two numbers, or two lists and an axis, are needed")
    except (TypeError, ValueError) as error:
        raise TextError(f"bad note: {error}", token) from None


def read_type(token: "Token") -> Type:
    """A tensor, buffer or index type."""
    text = str(token)
    try:
        if token.type == "INDEX":
            return Index()
        if token.type == "BUFFER":
            space, _, inner = text[:-1].partition("<")
            tensor = _tensor(inner)
            return Buffer(Space(space), tensor.dtype, tensor.dims)
        return _tensor(text)
    except ValueError as error:
        raise TextError(f"bad type: {error}", token) from None


_DIM = re.compile(r'\s*(\?(?:"(?:[^"\\]|\\.)*"|[^",\s]+)|\d+)\s*(,|$)')


def _tensor(text: str) -> Tensor:
    dtype, _, inner = text.strip()[:-1].partition("[")
    return Tensor(DType(dtype), tuple(_dims(inner)))


def _dims(inner: str) -> Iterator[Dim]:
    position = 0
    while position < len(inner):
        found = _DIM.match(inner, position)
        if found is None:
            raise ValueError(f"{inner[position:]!r} is no dimension (an integer, or ?name)")
        dim = found[1]
        yield Symbol(unquote(dim)) if dim[0] == "?" else int(dim)
        position = found.end()
