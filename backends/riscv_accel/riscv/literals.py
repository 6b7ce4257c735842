"""Python values as C text."""

import math
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from mcc.ir import Array

_PER_LINE = 12


def float_literal(value: float) -> str:
    """A float32 that reads back as the same bits; NaN and infinities without a C library."""
    number = float(np.float32(value))
    if math.isnan(number):
        return '__builtin_nanf("")'
    if math.isinf(number):
        return "-__builtin_inff()" if number < 0 else "__builtin_inff()"
    return f"{number.hex()}f"


def struct_literal(fields: Mapping[str, object]) -> str:
    """A struct's initializer, by field name."""
    parts = ", ".join(f".{name} = {_field(value)}" for name, value in fields.items())
    return f"{{{parts}}}"


def _field(value: object) -> str:
    if isinstance(value, float):
        return float_literal(value)
    if isinstance(value, tuple | list):
        items = cast("Sequence[object]", value)
        return "{" + (", ".join(_field(item) for item in items) or "0") + "}"
    return _integer(int(cast(int, value)))


def _integer(value: int) -> str:
    # -2147483648 is a minus and a number that is no int.
    return f"(-{-value - 1} - 1)" if value in (-(2**31), -(2**63)) else str(value)


def array_literal(declaration: str, array: Array) -> str:
    """`declaration[N] = {...};`, aligned for any element."""
    flat = array.reshape(-1)
    if flat.dtype.kind == "f":
        items = [float_literal(float(item)) for item in flat]
    else:
        suffix = "ll" if flat.dtype.itemsize == 8 else ""
        items = [_integer(int(item)) + suffix for item in flat]
    lines = ["    " + ", ".join(items[i : i + _PER_LINE]) for i in range(0, len(items), _PER_LINE)]
    body = ",\n".join(lines) or "    0"
    return f"{declaration}[{max(1, flat.size)}] __attribute__((aligned(64))) = {{\n{body}}};"


def bytes_literal(declaration: str, content: bytes) -> str:
    """Bytes as 64-bit words, for long ones: `declaration[N] = {...};`."""
    padded = content + bytes(-len(content) % 8)
    words = np.frombuffer(padded, "<u8")
    lines = [
        "    " + ", ".join(f"{int(word):#x}" for word in words[i : i + 6])
        for i in range(0, len(words), 6)
    ]
    body = ",\n".join(lines) or "    0"
    return f"{declaration}[{max(1, len(words))}] __attribute__((aligned(64))) = {{\n{body}}};"
