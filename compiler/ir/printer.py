"""Module to text. `parse(print(module))` is the same module."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .core import Op, Region, Value
from .data import Data
from .fields import Kind
from .module import Module
from .types import Array, DType

INLINE_LIMIT = 8
"""Constants up to this many elements stand in the text itself."""

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.$/\-]+")


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

    def __init__(self) -> None:
        self._next: dict[str, int] = {}

    def take(self, name: str) -> str:
        candidate = name
        while candidate in self._next:
            candidate = f"{name}.{self._next[name]}"
            self._next[name] += 1
        self._next[candidate] = 1
        return candidate


class Names:
    """Gives every value and every constant a name that is unique in one text."""

    def __init__(self) -> None:
        self._values: dict[Value, str] = {}
        self._value_names = _Unique()
        self._counter = 0
        self.weights: dict[str, Array] = {}
        self._weight_names: dict[bytes, str] = {}
        self._unique_weights = _Unique()

    def value(self, value: Value) -> str:
        known = self._values.get(value)
        if known is None:
            known = self._values[value] = self._fresh(value)
        return known

    def _fresh(self, value: Value) -> str:
        name = value.name
        if not name:
            name = str(self._counter)
            self._counter += 1
        return _quoted("%", self._value_names.take(name))

    def weight(self, data: Data, hint: str) -> str:
        known = self._weight_names.get(data.digest)
        if known is None:
            known = self._unique_weights.take(data.name or hint or "constant")
            self._weight_names[data.digest] = known
            self.weights[known] = data.array
        return _quoted("@", known)


def print_module(module: Module) -> Printed:
    """The module's text and its large constants by name."""
    names = Names()
    params = ", ".join(_typed(names, value) for value in module.inputs)
    outputs = ", ".join(json.dumps(name) for name in module.output_names)
    meta = "".join(
        f"  meta {json.dumps(key)} = {json.dumps(value)}\n" for key, value in module.meta.items()
    )
    lines = [f"module {_quoted('@', module.name)}({params}) -> ({outputs}) {{\n{meta}"]
    _print_region_body(module.body, names, lines)
    lines.append("}\n")
    return Printed("".join(lines), names.weights)


def format_op(op: Op) -> FormattedOp:
    """One op by itself, names made up where values have none."""
    return _format(op, Names())


def with_caret(op: Op, field: str | None) -> str:
    """The op's line with carets under `field` (or under its name), and the ONNX nodes it comes from."""
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
        if field.kind is Kind.REGION:
            continue
        value = op.__dict__[field.name]
        if value is field.default or (
            field.default == value and type(field.default) is type(value)
        ):
            continue
        shown = _field_text(op, value, names)
        keyword = field.kind is not Kind.OPERAND and not (
            field.kind is Kind.VARIADIC and field is op.spec_fields[0]
        )
        if isinstance(value, Data):
            keyword = False
        if field.kind is Kind.VARIADIC and not keyword:
            shown = shown[1:-1]
            if not shown:
                continue
        part = f"{field.name}={shown}" if keyword else shown
        spans[field.name] = (position, position + len(part))
        position += len(part) + 2
        parts.append(part)
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


def _field_text(op: Op, value: object, names: Names) -> str:
    if isinstance(value, Value):
        return names.value(value)
    if isinstance(value, tuple):
        items = [_field_text(op, item, names) for item in value]  # type: ignore[reportUnknownVariableType]
        return f"[{', '.join(items)}]"
    if isinstance(value, Data):
        array = value.array
        if array.size <= INLINE_LIMIT and array.ndim <= 1 and _prints_inline(array):
            return _inline(array)
        return names.weight(value, op.results[0].name if op.results else "")
    return literal(value)


def literal(value: object) -> str:
    """An attribute value as text."""
    match value:
        case bool():
            return "true" if value else "false"
        case None:
            return "none"
        case str():
            return json.dumps(value)
        case float():
            return repr(value)
        case _:
            return str(value)


def _prints_inline(array: Array) -> bool:
    return array.dtype != object and array.dtype.kind != "V"


def _inline(array: Array) -> str:
    """`f32 0.5` or `i64 [1, 2]`: the shortest text that reads back to the same bits."""
    dtype = DType.of(array)
    if dtype.is_float:
        items = ["nan" if item != item else _float_text(item) for item in array.ravel()]
        if any(item == "nan" for item in items):
            # A NaN may carry a payload: give its bits.
            bits = array.view({8: "u8", 4: "u4", 2: "u2"}[array.dtype.itemsize]).ravel()
            items = [f"0x{int(item):x}" for item in bits]
    elif dtype is DType.I1:
        items = ["true" if item else "false" for item in array.ravel()]
    else:
        items = [str(int(item)) for item in array.ravel()]
    return f"{dtype} " + (items[0] if array.ndim == 0 else f"[{', '.join(items)}]")


def _float_text(item: np.generic) -> str:
    text = str(item)
    return text if any(mark in text for mark in ".einf") else text + ".0"


def _quoted(sigil: str, name: str) -> str:
    return f"{sigil}{name}" if _PLAIN_NAME.fullmatch(name) else f"{sigil}{json.dumps(name)}"
