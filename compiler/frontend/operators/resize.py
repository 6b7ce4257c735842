"""Resize and Upsample: nearest elements are gathered, all else is resampled, axis by axis.

The formulas are those of ONNX's definition of Resize. They depend on shapes alone, so that
what is left of them in the module are constants.
"""
# ruff: noqa: N802, N803  (names are ONNX's)

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

import mcc.ops as ops
from mcc.ir import Array, OpError, Value, constant

from ..registry import Ints, UnsupportedError, operator
from .common import axis_of, scalar_like


@dataclass(frozen=True)
class _Axis:
    """One axis before and after."""

    number: int
    size: int
    scale: float
    count: int
    """Elements after."""
    first: float
    """Where the region of interest begins and ends, as parts of the axis."""
    last: float

    @property
    def length(self) -> float:
        """The extent after, before it was rounded."""
        return self.scale * self.size


@dataclass(frozen=True)
class _Filter:
    """How elements around a coordinate are weighted."""

    mode: str
    nearest_mode: str
    cubic_coeff_a: float
    antialias: bool
    exclude_outside: bool


def _half_pixel(axis: _Axis, place: Array) -> Array:
    return (place + 0.5) / axis.scale - 0.5


def _align_corners(axis: _Axis, place: Array) -> Array:
    if axis.length == 1:
        return np.zeros_like(place)
    return place * (axis.size - 1) / (axis.length - 1)


def _asymmetric(axis: _Axis, place: Array) -> Array:
    return place / axis.scale


def _crop_and_resize(axis: _Axis, place: Array) -> Array:
    reach = (axis.last - axis.first) * (axis.size - 1)
    if axis.length == 1:
        moved = np.full_like(place, reach / 2)
    else:
        moved = place * reach / (axis.length - 1)
    return moved + axis.first * (axis.size - 1)


def _pytorch_half_pixel(axis: _Axis, place: Array) -> Array:
    return np.full_like(place, -0.5) if axis.length == 1 else _half_pixel(axis, place)


def _half_pixel_symmetric(axis: _Axis, place: Array) -> Array:
    offset = axis.size / 2 * (1 - axis.count / axis.length)
    return offset + _half_pixel(axis, place)


_COORDINATES: dict[str, Callable[[_Axis, Array], Array]] = {
    "half_pixel": _half_pixel,
    "align_corners": _align_corners,
    "asymmetric": _asymmetric,
    "tf_crop_and_resize": _crop_and_resize,
    "pytorch_half_pixel": _pytorch_half_pixel,
    "half_pixel_symmetric": _half_pixel_symmetric,
}
"""Where in the operand the elements of an axis of the result lie."""

_NEAREST: dict[str, Callable[[Array], Array]] = {
    "round_prefer_floor": lambda place: np.ceil(place - 0.5),
    "round_prefer_ceil": lambda place: np.floor(place + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


@operator(since=11)
def Resize(
    X: Value,
    roi: Array | None = None,
    scales: Array | None = None,
    sizes: Ints | None = None,
    *,
    antialias: int = 0,
    axes: Ints | None = None,
    coordinate_transformation_mode: str = "half_pixel",
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest",
    nearest_mode: str = "round_prefer_floor",
) -> Value:
    _check("mode", mode, ("nearest", "linear", "cubic"))
    _check("coordinate_transformation_mode", coordinate_transformation_mode, _COORDINATES)
    _check("nearest_mode", nearest_mode, _NEAREST)
    _check("keep_aspect_ratio_policy", keep_aspect_ratio_policy, _POLICIES)
    if mode != "nearest" and not X.tensor.dtype.is_float:
        raise UnsupportedError(f"it interpolates {X.tensor.dtype}: mcc does so for floats only")
    rank = X.tensor.rank
    named = tuple(range(rank)) if axes is None else tuple(axis_of(axis, rank) for axis in axes)
    crops = coordinate_transformation_mode == "tf_crop_and_resize"
    regions = _regions(roi if crops else None, len(named))
    extents = _extents(X, named, scales, sizes, keep_aspect_ratio_policy)
    kind = _Filter(mode, nearest_mode, cubic_coeff_a, bool(antialias), bool(exclude_outside))
    y = X
    changes = [
        _Axis(number, X.tensor.dims[number], scale, count, *region)
        for number, (scale, count), region in zip(named, extents, regions, strict=True)
    ]
    # The axes that grow least come first: less is left to do for the others.
    for axis in sorted(changes, key=lambda axis: axis.count / axis.size if axis.size else 0):
        place = np.arange(axis.count, dtype=np.float64)
        source = _COORDINATES[coordinate_transformation_mode](axis, place)
        y = _resized(y, axis, source, kind)
        if crops:
            y = _extrapolated(y, axis, source, extrapolation_value)
    return y


@operator(since=10)
def Resize_10(X: Value, scales: Array, *, mode: str = "nearest") -> Value:
    return Resize(
        X,
        None,
        scales,
        coordinate_transformation_mode="asymmetric",
        mode=mode,
        nearest_mode="floor",
    )


@operator(since=9)
def Upsample(X: Value, scales: Array, *, mode: str = "nearest") -> Value:
    return Resize_10(X, scales, mode=mode)


@operator(since=7)
def Upsample_7(X: Value, *, mode: str = "nearest", scales: tuple[float, ...]) -> Value:
    return Resize_10(X, np.asarray(scales, np.float32), mode=mode)


def _check(name: str, value: str, known: Collection[str]) -> None:
    if value not in known:
        raise UnsupportedError(f"its {name} is {value!r}; mcc knows {', '.join(known)}")


def _regions(roi: Array | None, count: int) -> list[tuple[float, float]]:
    """The region of interest along each axis."""
    if roi is None or not roi.size:
        return [(0.0, 1.0)] * count
    if roi.size != 2 * count:
        raise OpError(f"roi has {roi.size} numbers, {2 * count} are needed")
    return [(float(roi[i]), float(roi[count + i])) for i in range(count)]


_POLICIES = ("stretch", "not_larger", "not_smaller")


def _extents(
    x: Value, axes: tuple[int, ...], scales: Array | None, sizes: Ints | None, policy: str
) -> list[tuple[float, int]]:
    """The scale of each axis, and its elements after."""
    before = [x.tensor.dims[axis] for axis in axes]
    if sizes:
        if len(sizes) != len(axes):
            raise OpError(f"sizes has {len(sizes)} numbers, {len(axes)} are needed")
        if 0 in before:
            raise OpError(f"X {x.tensor} has nothing to sample")
        ratios = [size / was for size, was in zip(sizes, before, strict=True)]
        if policy == "stretch":
            return list(zip(ratios, sizes, strict=True))
        ratio = min(ratios) if policy == "not_larger" else max(ratios)
        return [(ratio, math.floor(ratio * was + 0.5)) for was in before]
    if scales is None or not scales.size:
        raise UnsupportedError("it has neither scales nor sizes")
    if scales.size != len(axes):
        raise OpError(f"scales has {scales.size} numbers, {len(axes)} are needed")
    if not (scales > 0).all():
        raise OpError(f"scales {scales.tolist()} must be positive")
    factors = [float(scale) for scale in scales.ravel()]
    return [(f, math.floor(f * was)) for f, was in zip(factors, before, strict=True)]


def _resized(x: Value, axis: _Axis, source: Array, kind: _Filter) -> Value:
    """The axis sampled at the coordinates `source`."""
    if axis.size == 0:
        raise OpError(f"axis {axis.number} of {x.tensor} has nothing to sample")
    if kind.mode == "nearest":
        indices = np.clip(_NEAREST[kind.nearest_mode](source), 0, axis.size - 1).astype(np.int64)
        if np.array_equal(indices, np.arange(axis.size)):
            return x
        return ops.Gather(x, constant(indices).result, axis.number).result
    base = np.floor(source)
    offsets, weights = _weights(source - base, axis, kind)
    indices = base[:, None].astype(np.int64) + offsets
    outside = (indices < 0) | (indices >= axis.size)
    if kind.exclude_outside:
        weights = np.where(outside, 0.0, weights)
        total = weights.sum(axis=1, keepdims=True)
        # Where all is outside, the result is extrapolated.
        weights = weights / np.where(total == 0, 1.0, total)
    indices = np.clip(indices, 0, axis.size - 1)
    if axis.count == axis.size and _is_identity(indices, weights):
        return x
    used = weights.any(axis=0) | (np.arange(len(offsets)) == 0)
    factors = constant(weights[:, used].astype(x.tensor.dtype.numpy)).result
    return ops.Resample(x, constant(indices[:, used]).result, factors, axis.number).result


def _is_identity(indices: Array, weights: Array) -> bool:
    here = indices == np.arange(len(indices))[:, None]
    return bool(((weights == 0) | here).all() and (weights.sum(axis=1) == 1).all())


def _weights(ratio: Array, axis: _Axis, kind: _Filter) -> tuple[Array, Array]:
    """The taps around floor(coordinate), and their weights [count, taps] at that ratio beyond it.

    Where an axis shrinks, `antialias` stretches the filter by as much.
    """
    reach, shape = (1, _linear) if kind.mode == "linear" else (2, _cubic)
    stretch = min(axis.scale, 1.0) if kind.antialias else 1.0
    first = math.floor(-reach / stretch) + 1
    offsets = np.arange(first, 2 - first)
    distance = np.abs(offsets - ratio[:, None]) * stretch
    weights = shape(distance, kind.cubic_coeff_a)
    if kind.antialias:
        weights = weights / weights.sum(axis=1, keepdims=True)
    return offsets, weights


def _linear(distance: Array, a: float) -> Array:
    return np.asarray(np.clip(1 - distance, 0, 1))


def _cubic(distance: Array, a: float) -> Array:
    """Keys' cubic convolution (1981)."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.asarray(np.where(distance <= 1, near, np.where(distance < 2, far, 0.0)))


def _extrapolated(x: Value, axis: _Axis, source: Array, value: float) -> Value:
    """`value` wherever the coordinate lies outside of the operand."""
    outside = (source < 0) | (source > axis.size - 1)
    if not outside.any():
        return x
    column = outside.reshape(-1, *(1,) * (x.tensor.rank - axis.number - 1))
    return ops.Where(constant(column).result, scalar_like(value, x), x).result
