"""Module to text. `parse(print(module))` is the same module."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from .core import Op, Region, Value
from .data import Data
from .fields import Field, Kind
from .literals import array_text, literal
from .module import Module
from .types import PLAIN_NAME, Array

INLINE_LIMIT = 8
"""Constants up to this many elements stand in the text itself."""


@dataclass(frozen=True)
class Printed:
    """A module's text and the arrays that it names."""

    text: str
    weights: Mapping[str, Array]


@dataclass(frozen=True)
class FormattedOp:
    """One op's line, and where in it each field stands."""

    text: str
    spans: Mapping[str, tuple[int, int]]


class _Unique:
    """Hands out names, each once; a taken one gets a number behind it. Constant time a name."""

    def __init__(self, *reserved: str) -> None:
        self._next = dict.fromkeys(reserved, 1)

    def take(self, name: str) -> str:
        candidate = name
        while candidate in self._next:
            candidate = f"{name}.{self._next[name]}"
            self._next[name] += 1
        self._next[candidate] = 1
        return candidate


class Weights:
    """Large constants by name, equal ones once. Texts may share them."""

    def __init__(self) -> None:
        self.arrays: dict[str, Array] = {}
        self._names: dict[bytes, str] = {}
        self._unique = _Unique("__metadata__")  # what safetensors keeps for itself

    def name(self, data: Data, hint: str) -> str:
        """The name of a constant; a new one is called `hint` where it has no name itself."""
        known = self._names.get(data.digest)
        if known is None:
            known = self._unique.take(data.name or hint or "constant")
            self._names[data.digest] = known
            self.arrays[known] = data.array
        return known


class Names:
    """Gives every value a name that is unique in one text, and every constant one in `weights`."""

    def __init__(self, weights: Weights | None = None) -> None:
        self._values: dict[Value, str] = {}
        self._value_names = _Unique()
        self._counter = 0
        self.weights = Weights() if weights is None else weights

    def value(self, value: Value) -> str:
        known = self._values.get(value)
        if known is None:
            known = self._values[value] = self._fresh(value)
        return known

    def _fresh(self, value: Value) -> str:
        if value.name:
            return quoted("%", self._value_names.take(value.name))
        self._counter += 1
        return f"%{self._counter - 1}"

    def weight(self, data: Data, hint: str) -> str:
        return quoted("@", self.weights.name(data, hint))


def print_module(module: Module, weights: Weights | None = None) -> Printed:
    """The module's text and its large constants by name.

    Args:
        module: What to print.
        weights: Those of other texts, which this one shares and adds its own to.
    """
    names = Names(weights)
    params = ", ".join(_typed(names, value) for value in module.inputs)
    outputs = ", ".join(json.dumps(name) for name in module.output_names)
    meta = "".join(
        f"  meta {json.dumps(key)} = {json.dumps(value)}\n" for key, value in module.meta.items()
    )
    lines = [f"module {quoted('@', module.name)}({params}) -> ({outputs}) {{\n{meta}"]
    _print_region_body(module.body, names, lines)
    lines.append("}\n")
    return Printed("".join(lines), names.weights.arrays)


def format_op(op: Op) -> FormattedOp:
    """One op by itself, names made up where values have none."""
    return _format(op, Names())


def with_caret(op: Op, field: str | None) -> str:
    """The op's line with carets under `field` (or its name), and the ONNX nodes it comes from."""
    formatted = format_op(op)
    line = formatted.text.split("\n", 1)[0]
    start, end = formatted.spans.get(field or "", formatted.spans["op"])
    end = min(end, len(line))
    text = f"  {line}\n  {' ' * start}{'^' * max(1, end - start)}"
    if op.nodes:
        text += "\n  from ONNX node " + ", ".join(json.dumps(node) for node in op.nodes)
    return text


def _print_region_body(body: Region, names: Names, lines: list[str]) -> None:
    """Ops line by line; nested regions by an explicit stack, so that depth costs no recursion."""
    stack: list[tuple[str, object]] = [("op", op) for op in reversed(list(body))]
    depth = 1
    while stack:
        kind, item = stack.pop()
        if kind == "text":
            assert isinstance(item, str)
            lines.append(item)
        elif kind == "close":
            depth -= 1
            lines.append("  " * depth + "}")
        elif kind == "open":
            assert isinstance(item, Region)
            params = ", ".join(_typed(names, value) for value in item.args)
            lines.append(f" ({params}) {{\n")
            depth += 1
            stack.append(("close", None))
            stack.extend(("op", op) for op in reversed(list(item)))
        else:
            assert isinstance(item, Op)
            formatted = _format(item, names)
            lines.append("  " * depth + formatted.text)
            tail = _tail(item)
            stack.append(("text", tail + "\n"))
            stack.extend(("open", region) for region in reversed(item.regions))


def _format(op: Op, names: Names) -> FormattedOp:
    results = ", ".join(names.value(value) for value in op.results)
    text = f"{results} = " if results else ""
    spans = {"op": (len(text), len(text) + len(op.op_name))}
    text += f"{op.op_name}("
    parts: list[str] = []
    position = len(text)
    for field in op.spec_fields:
        value = op.__dict__[field.name]
        if field.kind is Kind.REGION or _is_default(field, value):
            continue
        shown = _field_text(op, value, names)
        if not field.positional:
            shown = f"{field.name}={shown}"
        elif field.kind is Kind.VARIADIC:
            shown = shown[1:-1]
        if shown:
            spans[field.name] = (position, position + len(shown))
            position += len(shown) + 2
            parts.append(shown)
    text += ", ".join(parts) + ")"
    if not op.regions:
        types = ", ".join(_type_and_notes(value) for value in op.results)
        text += f" : {types}" if types else ""
    return FormattedOp(text + ("" if op.regions else _from(op)), spans)


def _tail(op: Op) -> str:
    """What follows the regions of an op that has some."""
    if not op.regions:
        return ""
    types = ", ".join(_type_and_notes(value) for value in op.results)
    return (f" : {types}" if types else "") + _from(op)


def _from(op: Op) -> str:
    return " from " + ", ".join(json.dumps(node) for node in op.nodes) if op.nodes else ""


def _typed(names: Names, value: Value) -> str:
    return f"{names.value(value)}: {_type_and_notes(value)}"


def _type_and_notes(value: Value) -> str:
    text = str(value.type)
    if value.quant is not None:
        text += f" {value.quant}"
    if value.axes is not None:
        text += f" axes({', '.join(map(str, value.axes))})"
    return text


def _is_default(field: Field, value: object) -> bool:
    """Whether the text may leave the field out. By text: 0.0 is not -0.0, and a NaN is itself."""
    if value is field.default:
        return True
    if field.required or field.kind is not Kind.ATTRIBUTE or field.default is None:
        return False
    return repr(value) == repr(field.default)


def _field_text(op: Op, value: object, names: Names) -> str:
    if isinstance(value, Value):
        return names.value(value)
    if isinstance(value, tuple):
        items = cast(tuple[object, ...], value)
        return f"[{', '.join(_field_text(op, item, names) for item in items)}]"
    if isinstance(value, Data):
        if value.array.size <= INLINE_LIMIT and value.array.ndim <= 1:
            return array_text(value.array)
        return names.weight(value, op.results[0].name if op.results else "")
    return literal(value)


def quoted(sigil: str, name: str) -> str:
    """`%x`; in quotes where the name has odd characters, or is a number like unnamed values."""
    if PLAIN_NAME.fullmatch(name) and not name.isdecimal():
        return f"{sigil}{name}"
    return f"{sigil}{json.dumps(name)}"
