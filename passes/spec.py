"""Pipelines as text: `canonicalize,prune{sparsity=0.5 structure=channel},dce`.

Passes stand between commas; a pass's options stand in braces between spaces or commas. A value is a
bare word (letters, digits, dots, slashes, …), a JSON string, or several of these in round or square
brackets. The option's annotation decides what a word means, so that a path needs no quotes and `1`
can be a string.
"""

import enum
import json
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path

from mcc.ir import UserError, known_names

from .base import Pass, pass_named

_TOKEN = re.compile(
    r'\s*(?:(?P<mark>[,{}()\[\]=])|(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<word>[^\s,{}()\[\]="]+))'
)


class _Quoted(str):
    """A word that stood in quotes: it can only be text."""

    __slots__ = ()


_Word = str | _Quoted
_Parsed = _Word | list["_Parsed"]


def parse_passes(text: str) -> tuple[Pass, ...]:
    """The passes that a pipeline's text names, with their options.

    Raises:
        UserError: For text that is no pipeline (with a caret), an unknown pass or option, or a
            value of the wrong type.
    """
    return _Parser(text).pipeline()


def format_pass(step: Pass) -> str:
    """A pass as a pipeline spells it, with the options that differ from their defaults."""
    hints = option_types(type(step))
    options = [
        f"{field.name}={_format_value(value, hints[field.name])}"
        for field in fields(step)
        if (value := getattr(step, field.name)) != field.default
    ]
    return step.name + (f"{{{' '.join(options)}}}" if options else "")


def format_passes(passes: Iterable[Pass]) -> str:
    """A pipeline's text; `parse_passes` reads the same passes back."""
    return ",".join(format_pass(step) for step in passes)


def option_types(pass_class: type[Pass]) -> dict[str, object]:
    """The options of a pass and their annotations, in order of declaration."""
    hints = typing.get_type_hints(pass_class)
    return {name: hints[name] for name in pass_class.option_names()}


def type_text(annotation: object) -> str:
    """An annotation in the words of a user: `int`, `true or false`, `element | channel`."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is bool:
        return "true or false"
    if annotation is Path:
        return "a path"
    if annotation is types.NoneType:
        return "none"
    if origin is typing.Literal:
        return " | ".join(map(str, arguments))
    if _is_enum(annotation):
        return " | ".join(str(member.value) for member in annotation)
    if origin is tuple:
        shown = [type_text(item) for item in arguments if item is not Ellipsis]
        return f"({shown[0]}, …)" if Ellipsis in arguments else f"({', '.join(shown)})"
    if isinstance(annotation, types.UnionType) or origin is typing.Union:
        return " | ".join(type_text(item) for item in arguments)
    return getattr(annotation, "__name__", str(annotation))


class _Parser:
    """A cursor over the tokens of one pipeline."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, _Word, int]] = []
        position = 0
        while text[position:].strip():
            found = _TOKEN.match(text, position)
            if found is None:
                position += len(text[position:]) - len(text[position:].lstrip())
                raise self.error("a quote is not closed", position)
            kind = found.lastgroup or ""
            word = found[kind]
            if kind == "quoted":
                self.tokens.append(
                    ("word", _Quoted(self.unquote(word, found.start(kind))), found.start(kind))
                )
            else:
                self.tokens.append((word if kind == "mark" else kind, word, found.start(kind)))
            position = found.end()
        self.tokens.append(("end", "", len(text)))
        self.index = 0

    def unquote(self, word: str, position: int) -> str:
        try:
            return str(json.loads(word))
        except json.JSONDecodeError as error:
            raise self.error(f"not a JSON string: {error.msg}", position) from None

    def error(self, message: str, position: int | None = None) -> UserError:
        at = self.tokens[self.index][2] if position is None else position
        return UserError(f"{message}\n  {self.text}\n  {' ' * at}^", where="pipeline")

    @property
    def kind(self) -> str:
        return self.tokens[self.index][0]

    def skip(self, kind: str) -> bool:
        if self.kind == kind:
            self.index += 1
            return True
        return False

    def word(self, wanted: str) -> _Word:
        if self.kind != "word":
            raise self.error(f"{wanted} is expected here")
        self.index += 1
        return self.tokens[self.index - 1][1]

    def pipeline(self) -> tuple[Pass, ...]:
        passes: list[Pass] = []
        while self.kind != "end":
            passes.append(self.step())
            if not self.skip(",") and self.kind != "end":
                raise self.error("a comma between passes is expected here")
        return tuple(passes)

    def step(self) -> Pass:
        name = self.word("the name of a pass")
        pass_class = pass_named(name)
        given: dict[str, _Parsed] = {}
        if self.skip("{"):
            while not self.skip("}"):
                option = self.word("the name of an option or `}`")
                if option in given:
                    raise self.error(f"option {option!r} is given twice")
                if not self.skip("="):
                    raise self.error(f"`=` and a value of {option!r} are expected here")
                given[option] = self.value()
                self.skip(",")
        return make_pass(pass_class, given)

    def value(self) -> _Parsed:
        for opening, closing in (("(", ")"), ("[", "]")):
            if self.skip(opening):
                items: list[_Parsed] = []
                while not self.skip(closing):
                    items.append(self.value())
                    self.skip(",")
                return items
        return self.word("a value")


def make_pass(pass_class: type[Pass], given: Mapping[str, _Parsed]) -> Pass:
    """An instance of a pass from its options as text.

    Raises:
        UserError: For an option that the pass does not have, or a value that its type refuses.
    """
    annotations = option_types(pass_class)
    where = f"pass {pass_class.name}"
    options: dict[str, object] = {}
    for name, text in given.items():
        if name not in annotations:
            raise UserError(f"no option {name!r}", where=where, remedy=_options_text(pass_class))
        try:
            options[name] = _convert(text, annotations[name])
        except ValueError:
            wanted = type_text(annotations[name])
            raise UserError(
                f"option {name} must be {wanted}, not {_shown(text)}", where=where
            ) from None
    missing = [
        field.name
        for field in fields(pass_class)
        if field.name not in options and field.default is MISSING
    ]
    if missing:
        raise UserError(
            f"option {missing[0]!r} is needed", where=where, remedy=_options_text(pass_class)
        )
    try:
        return pass_class(**options)
    except ValueError as error:  # a pass may check ranges in __post_init__
        raise UserError(str(error), where=where) from None


def _options_text(pass_class: type[Pass]) -> str:
    annotations = option_types(pass_class)
    if not annotations:
        return f"{pass_class.name} has no options"
    return known_names(f"{name} ({type_text(kind)})" for name, kind in annotations.items())


def _shown(text: _Parsed) -> str:
    return f"({', '.join(map(_shown, text))})" if isinstance(text, list) else repr(str(text))


def _convert(text: _Parsed, annotation: object) -> object:
    """Text as a value of the annotated type; `ValueError` where it is none."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if isinstance(annotation, types.UnionType) or origin is typing.Union:
        # `none` must not become the text "none" where the option may be absent.
        ordered = sorted(arguments, key=lambda option: option is not types.NoneType)
        return _first(text, ordered)
    if origin is tuple:
        items = text if isinstance(text, list) else [text]
        if Ellipsis in arguments:
            return tuple(_convert(item, arguments[0]) for item in items)
        return tuple(_convert(item, kind) for item, kind in zip(items, arguments, strict=True))
    if isinstance(text, list):
        raise ValueError
    if annotation is str:
        return str(text)
    if annotation is Path:
        return Path(text)
    if origin is typing.Literal:
        return _choice(text, [(str(item), item) for item in arguments])
    if _is_enum(annotation):
        return _choice(text, [(str(member.value), member) for member in annotation])
    if isinstance(text, _Quoted):
        raise ValueError
    if annotation is bool:
        return _choice(text, [("true", True), ("false", False)])
    if annotation is types.NoneType:
        return _choice(text, [("none", None)])
    if annotation is int:
        return int(text, 0)
    if annotation is float:
        return float(text)
    raise TypeError(f"an option cannot be annotated {annotation}")


def _first(text: _Parsed, options: Sequence[object]) -> object:
    for option in options:
        try:
            return _convert(text, option)
        except ValueError:
            continue
    raise ValueError


def _choice(text: str, options: Sequence[tuple[str, object]]) -> object:
    for name, value in options:
        if name == text:
            return value
    raise ValueError


def _is_enum(annotation: object) -> typing.TypeGuard[type[enum.Enum]]:
    return isinstance(annotation, type) and issubclass(annotation, enum.Enum)


def _format_value(value: object, annotation: object) -> str:
    if isinstance(value, tuple):
        items: tuple[object, ...] = value  # pyright: ignore[reportUnknownVariableType]
        kinds = _element_types(annotation, len(items))
        shown = [_format_value(item, kind) for item, kind in zip(items, kinds, strict=True)]
        return f"({','.join(shown)})"
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "none"
    text = str(value.value) if isinstance(value, enum.Enum) else str(value)
    bare = _TOKEN.fullmatch(text)
    if isinstance(value, str | Path) and (
        bare is None or bare["word"] != text or _convert(text, annotation) != value
    ):
        return json.dumps(text, ensure_ascii=False)
    return text


def _element_types(annotation: object, count: int) -> tuple[object, ...]:
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        tuples = [a for a in typing.get_args(annotation) if typing.get_origin(a) is tuple]
        annotation = tuples[0]
    arguments = typing.get_args(annotation)
    return (arguments[0],) * count if Ellipsis in arguments else arguments
