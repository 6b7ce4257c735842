"""Ops that move elements and compute nothing."""

import math
from typing import Literal

import numpy as np

from mcc.ir import Array, Dim, DType, Op, OpError, Tensor, UserError, Value

from .broadcast import broadcast


class Reshape(Op, name="reshape"):
    """The same elements in row-major order under another shape of integers."""

    x: Value
    shape: tuple[int, ...]

    def infer(self) -> Tensor:
        x = self.x.tensor
        if min(self.shape, default=0) < 0:
            raise OpError(f"shape {list(self.shape)} has a negative dimension", "shape")
        if math.prod(self.shape) != x.size:
            raise OpError(
                f"x {x} has {x.size} elements, shape {list(self.shape)} another number", "shape"
            )
        return Tensor(x.dtype, self.shape)

    def evaluate(self, x: Array) -> Array:
        return x.reshape(self.shape)


class Transpose(Op, name="transpose"):
    """Axis i of y is axis perm[i] of x."""

    x: Value
    perm: tuple[int, ...]

    def infer(self) -> Tensor:
        x = self.x.tensor
        if sorted(self.perm) != list(range(x.rank)):
            raise OpError(f"perm {list(self.perm)} is no permutation of x's {x.rank} axes", "perm")
        return Tensor(x.dtype, tuple(x.shape[axis] for axis in self.perm))

    def evaluate(self, x: Array) -> Array:
        return x.transpose(self.perm).copy()


class Concat(Op, name="concat"):
    """Operands one after another along `axis` (not negative)."""

    xs: tuple[Value, ...]
    axis: int

    def infer(self) -> Tensor:
        if not self.xs:
            raise OpError("nothing to concatenate", "xs")
        first = self.xs[0].tensor
        if not 0 <= self.axis < first.rank:
            raise OpError(f"axis {self.axis} is outside rank {first.rank}", "axis")
        total = 0
        for value in self.xs:
            other = value.tensor
            rest = [dim for i, dim in enumerate(other.shape) if i != self.axis]
            if (
                other.rank != first.rank
                or other.dtype is not first.dtype
                or rest != [dim for i, dim in enumerate(first.shape) if i != self.axis]
            ):
                raise OpError(
                    f"{first} and {other} do not concatenate along axis {self.axis}", "xs"
                )
            size = other.shape[self.axis]
            if not isinstance(size, int):
                raise OpError(f"axis {self.axis} of {other} must be an integer", "xs")
            total += size
        shape: list[Dim] = list(first.shape)
        shape[self.axis] = total
        return Tensor(first.dtype, tuple(shape))

    def evaluate(self, xs: tuple[Array, ...]) -> Array:
        return np.concatenate(xs, self.axis)


class Slice(Op, name="slice"):
    """x[starts:stops:steps] on every axis; starts and stops are normalized, steps may be negative.

    A negative step runs from `start` down to, and not including, `stop`, which is -1 for «to the
    first element».
    """

    x: Value
    starts: tuple[int, ...]
    stops: tuple[int, ...]
    steps: tuple[int, ...] = ()

    def infer(self) -> Tensor:
        x = self.x.tensor
        steps = self.steps or (1,) * x.rank
        if {len(self.starts), len(self.stops), len(steps)} != {x.rank}:
            raise OpError(f"starts, stops and steps need {x.rank} numbers each", "starts")
        if 0 in steps:
            raise OpError("a step must not be 0", "steps")
        shape: list[int] = []
        for size, start, stop, step in zip(x.dims, self.starts, self.stops, steps, strict=True):
            picked = range(start, stop, step)
            if picked and not (0 <= picked[0] < size and 0 <= picked[-1] < size):
                raise OpError(f"{start}:{stop}:{step} runs out of a dimension of {size}", "starts")
            shape.append(len(picked))
        return Tensor(x.dtype, tuple(shape))

    def evaluate(self, x: Array) -> Array:
        steps = self.steps or (1,) * x.ndim
        index = tuple(
            # numpy reads a stop of -1 as the last element, and an empty range may be any.
            slice(start, None if stop < 0 else stop, step) if range(start, stop, step) else slice(0)
            for start, stop, step in zip(self.starts, self.stops, steps, strict=True)
        )
        return x[index].copy()


class Gather(Op, name="gather"):
    """Slices of x along `axis`, picked by integer indices; a negative index counts from the end."""

    x: Value
    indices: Value
    axis: int = 0

    def infer(self) -> Tensor:
        x, indices = self.x.tensor, self.indices.tensor
        if indices.dtype not in (DType.I64, DType.I32):
            raise OpError(f"indices must be i32 or i64, are {indices.dtype}", "indices")
        if not 0 <= self.axis < x.rank:
            raise OpError(f"axis {self.axis} is outside rank {x.rank}", "axis")
        return Tensor(x.dtype, x.shape[: self.axis] + indices.shape + x.shape[self.axis + 1 :])

    def evaluate(self, x: Array, indices: Array) -> Array:
        size = x.shape[self.axis]
        outside = indices[(indices < -size) | (indices >= size)]
        if outside.size:
            raise UserError(
                f"gather reads index {outside.flat[0]} of an axis of {size}",
                where=", ".join(self.nodes) or repr(self),
                remedy="the indices come from the model or from its inputs: check those",
            )
        return np.take(x, indices, self.axis)


class Expand(Op, name="expand"):
    """x broadcast to at least `shape`, by numpy's rule in both directions."""

    x: Value
    shape: tuple[int, ...]

    def infer(self) -> Tensor:
        if min(self.shape, default=0) < 0:
            raise OpError(f"shape {list(self.shape)} has a negative dimension", "shape")
        target = Value(Tensor(self.x.tensor.dtype, self.shape))
        return Tensor(self.x.tensor.dtype, broadcast(x=self.x, shape=target))

    def evaluate(self, x: Array) -> Array:
        return np.broadcast_to(x, np.broadcast_shapes(x.shape, self.shape)).copy()


class Pad(Op, name="pad"):
    """x with a border of `value`, or one that `mode` takes from x.

    `pads` counts the begin of every axis, then the end of every axis; negative ones crop.
    """

    x: Value
    pads: tuple[int, ...]
    value: float = 0.0
    mode: Literal["constant", "reflect", "edge"] = "constant"

    def infer(self) -> Tensor:
        x = self.x.tensor
        if len(self.pads) != 2 * x.rank:
            raise OpError(f"pads has {len(self.pads)} numbers, {2 * x.rank} are needed", "pads")
        if x.dtype in (DType.STRING, DType.B1):
            raise OpError(f"x must be a tensor of numbers or i1, is {x}", "x")
        dims: list[int] = []
        for size, before, after in zip(
            x.dims, self.pads[: x.rank], self.pads[x.rank :], strict=True
        ):
            left = size + min(before, 0) + min(after, 0)
            if left < 0:
                raise OpError(f"pads crop more than the {size} elements there are", "pads")
            if self.mode != "constant" and left == 0 and max(before, after) > 0:
                raise OpError(f"mode {self.mode} has nothing to take the border from", "pads")
            dims.append(size + before + after)
        return Tensor(x.dtype, tuple(dims))

    def evaluate(self, x: Array) -> Array:
        if x.ndim == 0:
            return x
        pairs = [(self.pads[i], self.pads[x.ndim + i]) for i in range(x.ndim)]
        crop = tuple(
            slice(max(0, -before), size - max(0, -after))
            for (before, after), size in zip(pairs, x.shape, strict=True)
        )
        widths = [(max(0, before), max(0, after)) for before, after in pairs]
        if self.mode == "constant":
            border = np.asarray(self.value).astype(x.dtype)
            return np.pad(x[crop], widths, constant_values=border)
        return np.pad(x[crop], widths, mode=self.mode)
