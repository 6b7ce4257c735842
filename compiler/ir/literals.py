"""Attribute values and small constants as text, and back."""

import enum
import json
from collections.abc import Sequence

import numpy as np

from .data import same_array
from .types import Array, DType


def literal(value: object) -> str:
    """An attribute value as text; tuples are the printer's, as constants in them have names."""
    match value:
        case bool():
            return "true" if value else "false"
        case None:
            return "none"
        case str():
            return json.dumps(value)
        case float():
            return float.__repr__(value)
        case enum.Enum():
            return str(value.value)
        case _:
            return str(value)


def array_text(array: Array) -> str:
    """`f32 0.5`, `i64 [1, 2]`: the shortest text that reads back to the same bits.

    Where no decimal text does (a NaN with a payload), the bits are given: `f32 0x7fc00001`.
    """
    dtype = DType.of(array)
    flat = array.ravel()
    items = [_item_text(item, dtype) for item in flat]
    if dtype.is_float and not same_array(read_array(dtype, items), flat):
        items = [f"0x{int(bits):x}" for bits in flat.view(f"u{array.dtype.itemsize}")]
    return f"{dtype} " + (items[0] if array.ndim == 0 else f"[{', '.join(items)}]")


def _item_text(item: object, dtype: DType) -> str:
    if dtype is DType.STRING:
        return json.dumps(str(item))
    if dtype is DType.I1:
        return "true" if item else "false"
    text = str(item)
    if dtype.is_float and not any(mark in text for mark in ".ein"):
        text += ".0"
    return text


def read_array(dtype: DType, items: Sequence[str]) -> Array:
    """The vector of the elements `items`; a `ValueError` says which of them is no `dtype`."""
    storage = dtype.numpy
    if dtype is DType.STRING:
        strings = np.empty(len(items), object)
        strings[:] = [json.loads(item) for item in items]
        return strings
    if items and all(item.startswith("0x") for item in items):
        bits = np.array([int(item, 0) for item in items], np.uint64)
        if int(bits.max()) >= 1 << (8 * storage.itemsize):
            raise ValueError(f"{dtype} has no more than {8 * storage.itemsize} bits")
        return bits.astype(f"u{storage.itemsize}").view(storage)
    values = [_read_item(dtype, item) for item in items]
    wide = np.float64 if dtype.is_float else np.uint64 if dtype is DType.U64 else np.int64
    with np.errstate(over="ignore"):
        return np.array(values, wide).astype(storage)


def _read_item(dtype: DType, text: str) -> float | int:
    try:
        if dtype is DType.I1:
            return {"true": 1, "false": 0}[text]
        if dtype.is_float:
            return float(text)
        low, high = (-1, 1) if dtype is DType.B1 else dtype.limits
        if low <= int(text) <= high:
            return int(text)
    except (KeyError, ValueError):
        pass
    raise ValueError(f"{text} is no {dtype}")
