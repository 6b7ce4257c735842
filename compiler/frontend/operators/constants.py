"""Operators whose result is known while importing."""
# ruff: noqa: N802  (names are ONNX's)

import numpy as np

from mcc.ir import Array, Value, constant

from ..registry import Ints, UnsupportedError, operator


@operator(since=1)
def Constant(
    *,
    value: Array | None = None,
    value_float: float | None = None,
    value_floats: tuple[float, ...] | None = None,
    value_int: int | None = None,
    value_ints: Ints | None = None,
    value_string: str | None = None,
    value_strings: tuple[str, ...] | None = None,
) -> Value:
    if value is not None:
        return constant(value).result
    for given, dtype in (
        (value_float, np.float32),
        (value_floats, np.float32),
        (value_int, np.int64),
        (value_ints, np.int64),
        (value_string, np.object_),
        (value_strings, np.object_),
    ):
        if given is not None:
            return constant(np.asarray(given, dtype)).result
    raise UnsupportedError("it has no value")


@operator(since=9)
def ConstantOfShape(input: Ints, *, value: Array | None = None) -> Value:
    fill = np.zeros(1, np.float32) if value is None else value
    return constant(np.full(input, fill.ravel()[0], fill.dtype)).result


@operator(since=1)
def Shape(data: Value, *, start: int = 0, end: int | None = None) -> Value:
    return constant(np.asarray(data.tensor.dims[start:end], np.int64)).result


@operator(since=1)
def Size(data: Value) -> Value:
    return constant(np.asarray(data.tensor.size, np.int64)).result


@operator(since=11)
def Range(start: Array, limit: Array, delta: Array) -> Value:
    count = max(0, int(np.ceil((limit.item() - start.item()) / delta.item())))
    return constant((start + np.arange(count) * delta).astype(start.dtype)).result
