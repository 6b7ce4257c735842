"""Operators that move elements and compute nothing."""
# ruff: noqa: N802  (names are ONNX's)

import math
from itertools import accumulate, pairwise
from typing import Literal

import numpy as np

import mcc.ops as ops
from mcc.ir import Array, OpError, Value, constant

from ..registry import Ints, OutputCount, UnsupportedError, operator
from .common import axes_of, axis_of, scalar_like


def reshaped(x: Value, shape: Ints) -> Value:
    return x if shape == x.tensor.shape else ops.Reshape(x, shape).result


@operator(since=5)
def Reshape(data: Value, shape: Ints, *, allowzero: int = 0) -> Value:
    dims = data.tensor.dims
    if not allowzero and any(not d and i >= len(dims) for i, d in enumerate(shape)):
        raise OpError(f"shape {list(shape)} copies a dimension that data {data.tensor} lacks")
    wanted = [d if d or allowzero else dims[i] for i, d in enumerate(shape)]
    if -1 in wanted:
        rest = math.prod(d for d in wanted if d != -1)
        wanted[wanted.index(-1)] = data.tensor.size // rest if rest else 0
    return reshaped(data, tuple(wanted))


@operator(since=1)
def Flatten(input: Value, *, axis: int = 1) -> Value:
    dims = input.tensor.dims
    first = axis if axis == len(dims) else axis_of(axis, len(dims))
    return reshaped(input, (math.prod(dims[:first]), math.prod(dims[first:])))


@operator(since=13)
def Squeeze(data: Value, axes: Ints | None = None) -> Value:
    dims = data.tensor.dims
    if axes is None:
        return reshaped(data, tuple(d for d in dims if d != 1))
    gone = axes_of(axes, len(dims))
    if any(dims[axis] != 1 for axis in gone):
        raise OpError(f"axes {list(axes)} of data {data.tensor} are not all 1")
    return reshaped(data, tuple(d for i, d in enumerate(dims) if i not in gone))


@operator(since=1)
def Squeeze_1(data: Value, *, axes: Ints | None = None) -> Value:
    return Squeeze(data, axes)


@operator(since=13)
def Unsqueeze(data: Value, axes: Ints) -> Value:
    rank = data.tensor.rank + len(axes)
    new = axes_of(axes, rank)
    if len(new) != len(axes):
        raise OpError(f"axes {list(axes)} name an axis twice")
    rest = iter(data.tensor.dims)
    return reshaped(data, tuple(1 if i in new else next(rest) for i in range(rank)))


@operator(since=1)
def Unsqueeze_1(data: Value, *, axes: Ints) -> Value:
    return Unsqueeze(data, axes)


@operator(since=1)
def Transpose(data: Value, *, perm: Ints | None = None) -> Value:
    order = perm if perm is not None else tuple(reversed(range(data.tensor.rank)))
    return ops.Transpose(data, order).result


@operator(since=4)
def Concat(*inputs: Value, axis: int) -> Value:
    if len(inputs) == 1:
        return inputs[0]
    return ops.Concat(inputs, axis_of(axis, inputs[0].tensor.rank)).result


@operator(since=13)
def Split(
    input: Value,
    split: Ints | None = None,
    *,
    axis: int = 0,
    num_outputs: int | None = None,
    outputs: OutputCount,
) -> tuple[Value, ...]:
    dims = input.tensor.dims
    along = axis_of(axis, len(dims))
    size = dims[along]
    if split is None:
        parts = num_outputs or outputs
        chunk = -(-size // parts)
        split = (*(chunk,) * (parts - 1), size - chunk * (parts - 1))
    if sum(split) != size or min(split) < 0:
        raise OpError(f"split {list(split)} does not add up to the {size} of axis {along}")
    found: list[Value] = []
    for start, stop in pairwise((0, *accumulate(split))):
        starts = tuple(start if i == along else 0 for i in range(len(dims)))
        stops = tuple(stop if i == along else d for i, d in enumerate(dims))
        found.append(ops.Slice(input, starts, stops).result)
    return tuple(found)


@operator(since=2)
def Split_2(
    input: Value, *, axis: int = 0, split: Ints | None = None, outputs: OutputCount
) -> tuple[Value, ...]:
    return Split(input, split, axis=axis, outputs=outputs)


@operator(since=10)
def Slice(
    data: Value, starts: Ints, ends: Ints, axes: Ints | None = None, steps: Ints | None = None
) -> Value:
    dims = data.tensor.dims
    named = axes if axes is not None else tuple(range(len(starts)))
    pace = steps if steps is not None else (1,) * len(starts)
    begin, end, step = [0] * len(dims), list(dims), [1] * len(dims)
    for axis, start, stop, by in zip(named, starts, ends, pace, strict=True):
        i = axis_of(axis, len(dims))
        begin[i], end[i], step[i] = _slice_range(dims[i], start, stop, by)
    return ops.Slice(data, tuple(begin), tuple(end), tuple(step)).result


def _slice_range(size: int, start: int, stop: int, step: int) -> tuple[int, int, int]:
    """ONNX's clamping; a backward slice from before the first element has it, unlike Python's."""
    if not step:
        raise OpError("a step is 0")
    start, stop = (n + size if n < 0 else n for n in (start, stop))
    if step > 0:
        begin, end = min(max(start, 0), size), min(max(stop, 0), size)
    else:
        begin, end = min(max(start, 0), size - 1), min(max(stop, -1), size - 1)
    return (begin, end, step) if size and len(range(begin, end, step)) else (0, 0, 1)


@operator(since=1)
def Slice_1(data: Value, *, starts: Ints, ends: Ints, axes: Ints | None = None) -> Value:
    return Slice(data, starts, ends, axes)


@operator(since=1)
def Gather(data: Value, indices: Value, *, axis: int = 0) -> Value:
    return ops.Gather(data, indices, axis=axis_of(axis, data.tensor.rank)).result


@operator(since=8)
def Expand(input: Value, shape: Ints) -> Value:
    return ops.Expand(input, shape).result


@operator(since=6)
def Tile(input: Value, repeats: Ints) -> Value:
    dims = input.tensor.dims
    if len(repeats) != len(dims):
        raise OpError(f"repeats has {len(repeats)} numbers, input {input.tensor} {len(dims)} axes")
    # Each axis of d elements becomes (r, d): repeating is broadcasting the new axis.
    split = reshaped(input, tuple(n for d in dims for n in (1, d)))
    wide = tuple(n for r, d in zip(repeats, dims, strict=True) for n in (r, d))
    whole = tuple(r * d for r, d in zip(repeats, dims, strict=True))
    return reshaped(ops.Expand(split, wide).result, whole)


_MODES: dict[str, Literal["constant", "reflect", "edge"]] = {
    "constant": "constant",
    "reflect": "reflect",
    "edge": "edge",
}


@operator(since=11)
def Pad(
    data: Value,
    pads: Ints,
    constant_value: Array | None = None,
    axes: Ints | None = None,
    *,
    mode: str = "constant",
) -> Value:
    rank = data.tensor.rank
    if mode not in _MODES:
        raise UnsupportedError(f"its mode is {mode!r}; mcc knows {', '.join(_MODES)}")
    named = axes if axes is not None else tuple(range(rank))
    if len(pads) != 2 * len(named):
        raise OpError(f"pads has {len(pads)} numbers, {2 * len(named)} are needed")
    full = [0] * (2 * rank)
    for position, axis in enumerate(named):
        full[axis_of(axis, rank)] = pads[position]
        full[rank + axis_of(axis, rank)] = pads[len(named) + position]
    fill = 0.0 if constant_value is None else float(np.asarray(constant_value).item())
    return ops.Pad(data, tuple(full), value=fill, mode=_MODES[mode]).result


@operator(since=2)
def Pad_2(data: Value, *, pads: Ints, mode: str = "constant", value: float = 0.0) -> Value:
    return Pad(data, pads, np.asarray(value), mode=mode)


@operator(since=1)
def DepthToSpace(input: Value, *, blocksize: int, mode: str = "DCR") -> Value:
    n, c, h, w = input.tensor.dims
    b, deep = blocksize, c // (blocksize * blocksize)
    split, perm = (
        ((n, b, b, deep, h, w), (0, 3, 4, 1, 5, 2))
        if mode == "DCR"
        else ((n, deep, b, b, h, w), (0, 1, 4, 2, 5, 3))
    )
    moved = ops.Transpose(ops.Reshape(input, split).result, perm).result
    return ops.Reshape(moved, (n, deep, h * b, w * b)).result


@operator(since=1)
def SpaceToDepth(input: Value, *, blocksize: int) -> Value:
    n, c, h, w = input.tensor.dims
    b = blocksize
    split = ops.Reshape(input, (n, c, h // b, b, w // b, b)).result
    moved = ops.Transpose(split, (0, 3, 5, 1, 2, 4)).result
    return ops.Reshape(moved, (n, c * b * b, h // b, w // b)).result


@operator(since=14)
def Trilu(input: Value, k: Ints | None = None, *, upper: int = 1) -> Value:
    rows, columns = input.tensor.dims[-2:]
    offset = k[0] if k else 0
    distance = np.arange(columns) - np.arange(rows)[:, None]
    kept = distance >= offset if upper else distance <= offset
    return ops.Where(constant(kept).result, input, scalar_like(0, input)).result
