"""Arithmetic of axis permutations: how tensors in different layouts relate.

A permutation `perm` describes a stored array by an original one: stored axis i is original axis
perm[i].
"""

import math
from collections.abc import Sequence

import numpy as np

from mcc.ir import Array, Dim, Value

Perm = tuple[int, ...]


def identity(rank: int) -> Perm:
    return tuple(range(rank))


def channels_last(rank: int) -> Perm:
    """[N, C, *S] stored as [N, *S, C]."""
    return (0, *range(2, rank), 1)


def inverse(perm: Sequence[int]) -> Perm:
    found = [0] * len(perm)
    for position, axis in enumerate(perm):
        found[axis] = position
    return tuple(found)


def between(stored: Sequence[int], wanted: Sequence[int]) -> Perm:
    """The transpose that turns one stored form of a tensor into another."""
    where = inverse(stored)
    return tuple(where[axis] for axis in wanted)


def moves_only_units(shape: Sequence[Dim], perm: Sequence[int]) -> bool:
    """Whether a transpose leaves the order of the elements in memory as it is."""
    moved = [axis for axis in perm if shape[axis] != 1]
    return moved == sorted(moved)


def as_transpose(src: Sequence[int], dst: Sequence[int]) -> Perm | None:
    """A permutation that does what a reshape from `src` to `dst` does; None when none does.

    Only moves of axes of extent 1 are both; the others keep their order.
    """
    if len(src) != len(dst) or [n for n in src if n != 1] != [n for n in dst if n != 1]:
        return None
    units = iter([axis for axis, n in enumerate(src) if n == 1])
    others = iter([axis for axis, n in enumerate(src) if n != 1])
    return tuple(next(units) if n == 1 else next(others) for n in dst)


def reshape_groups(
    src: Sequence[int], dst: Sequence[int]
) -> list[tuple[list[int], list[int]]] | None:
    """The finest split of a reshape into runs of axes with equal products; None for empty tensors.

    Each pair is (axes of `src`, axes of `dst`), in order; an axis of extent 1 may stand in any run.
    """
    if 0 in src:
        return None
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(src) and j < len(dst):
        left, right = [i], [j]
        while (a := math.prod(src[k] for k in left)) != (b := math.prod(dst[k] for k in right)):
            if a < b:
                left.append(left[-1] + 1)
            else:
                right.append(right[-1] + 1)
        groups.append((left, right))
        i, j = left[-1] + 1, right[-1] + 1
    rest = (list(range(i, len(src))), list(range(j, len(dst))))
    if groups:
        groups[-1][0].extend(rest[0])
        groups[-1][1].extend(rest[1])
    else:
        groups.append(rest)
    return groups


def reshaped_layout(src: Sequence[int], dst: Sequence[int], perm: Sequence[int]) -> Perm | None:
    """The layout in which a reshape of the stored array gives the reshape of the original one.

    `src` and `dst` are shapes in the original layout, `perm` is how the operand is stored. None
    where the elements would come in another order.
    """
    groups = reshape_groups(src, dst)
    if groups is None:
        return None
    stored = [axis for axis in perm if src[axis] != 1]
    place = {axis: position for position, axis in enumerate(stored)}
    keyed: list[tuple[int, list[int], list[int]]] = []
    key = -1
    for left, right in groups:
        solid = [axis for axis in left if src[axis] != 1]
        # A run of extent 1 may stand anywhere: it stays behind the run before it.
        key = place[solid[0]] if solid else key
        keyed.append((key, solid, right))
    keyed.sort(key=lambda item: item[0])
    if [axis for _, solid, _ in keyed for axis in solid] != stored:
        return None
    return tuple(axis for _, _, right in keyed for axis in right)


def to_onnx_layout(array: Array, value: Value) -> Array:
    """An array of `value` with its axes as the ONNX tensor of that name has them (a view)."""
    return array if value.axes is None else array.transpose(inverse(value.axes))


def from_onnx_layout(array: Array, value: Value) -> Array:
    """An array of the ONNX tensor with its axes as `value` has them (a view)."""
    return array if value.axes is None else array.transpose(value.axes)


def flattened_order(shape: Sequence[int], perm: Sequence[int]) -> Array:
    """Element k of the stored array, read in order, is element `order[k]` of the original one."""
    return np.arange(math.prod(shape)).reshape(tuple(shape)).transpose(tuple(perm)).reshape(-1)
