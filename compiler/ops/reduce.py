"""Reductions and normalizations."""

import math

import numpy as np

from mcc.ir import Array, Dim, Op, OpError, Tensor, Value

from .broadcast import same_dtype
from .window import lowest


def _sum(x: Array, axes: int | tuple[int, ...], *, keepdims: bool) -> Array:
    """The sum in x's dtype; 16-bit floats are summed in float32 and rounded once."""
    wide = np.float32 if x.dtype.itemsize == 2 and x.dtype.kind not in "iu" else x.dtype
    return np.asarray(x.sum(axes, keepdims=keepdims, dtype=wide)).astype(x.dtype)


def _mean(x: Array, axes: tuple[int, ...], *, keepdims: bool) -> Array:
    """The mean over axes; integers truncate towards zero, the mean of nothing is 0 / 0."""
    count = math.prod(x.shape[axis] for axis in axes)
    if x.dtype.kind in "iu":
        total = np.asarray(x.sum(axes, keepdims=keepdims))
        wide = max(count, 1)
        return np.asarray(np.sign(total) * (np.abs(total) // wide)).astype(x.dtype)
    wide_type = np.float32 if x.dtype.itemsize == 2 else x.dtype
    total = np.asarray(x.sum(axes, keepdims=keepdims, dtype=wide_type))
    return np.asarray(total / total.dtype.type(count)).astype(x.dtype)


class Reduce(Op):
    """Base: folds `axes` (not negative, sorted) away, or to 1 with `keepdims`."""

    x: Value
    axes: tuple[int, ...]
    keepdims: bool = False

    def infer(self) -> Tensor:
        x = self.x.tensor
        if not x.dtype.is_number:
            raise OpError(f"x must be a tensor of numbers, is {x}", "x")
        if list(self.axes) != sorted(set(self.axes)) or any(not 0 <= a < x.rank for a in self.axes):
            raise OpError(f"axes {list(self.axes)} do not fit rank {x.rank}", "axes")
        shape: list[Dim] = []
        for axis, dim in enumerate(x.shape):
            if axis not in self.axes:
                shape.append(dim)
            elif self.keepdims:
                shape.append(1)
        return Tensor(x.dtype, tuple(shape))


class ReduceMean(Reduce, name="reduce_mean"):
    """The mean over `axes`; integers truncate towards zero."""

    def evaluate(self, x: Array) -> Array:
        return _mean(x, self.axes, keepdims=self.keepdims)


class ReduceSum(Reduce, name="reduce_sum"):
    """The sum over `axes`; integers wrap."""

    def evaluate(self, x: Array) -> Array:
        return _sum(x, self.axes, keepdims=self.keepdims)


class ReduceMax(Reduce, name="reduce_max"):
    """The largest element over `axes`; of no elements, the dtype's smallest value. NaN wins."""

    def evaluate(self, x: Array) -> Array:
        smallest = lowest(self.x.tensor.dtype)
        return np.asarray(np.max(x, self.axes, keepdims=self.keepdims, initial=smallest))


class Softmax(Op, name="softmax"):
    """e^(x - max) / sum of the same, along `axis` (not negative)."""

    x: Value
    axis: int

    def infer(self) -> Tensor:
        if not 0 <= self.axis < self.x.tensor.rank:
            raise OpError(f"axis {self.axis} is outside rank {self.x.tensor.rank}", "axis")
        if not self.x.tensor.dtype.is_float:
            raise OpError(f"x must be a float tensor, is {self.x.tensor}", "x")
        return self.x.tensor

    def evaluate(self, x: Array) -> Array:
        return softmax_of(x, self.axis)


def softmax_of(x: Array, axis: int) -> Array:
    """e^(x - max) / sum of the same, along an axis."""
    powers = np.exp(x - np.max(x, axis, keepdims=True, initial=-np.inf))
    return np.asarray(powers / _sum(powers, axis, keepdims=True))


class BatchNorm(Op, name="batch_norm"):
    """y = (x - mean) / sqrt(var + epsilon) * scale + bias, per channel.

    x is [N, C, ...], the others [C].
    """

    x: Value
    scale: Value
    bias: Value
    mean: Value
    var: Value
    epsilon: float = 1e-5

    def infer(self) -> Tensor:
        x = self.x.tensor
        if x.rank < 2:
            raise OpError(f"x is {x}, rank 2 at least is needed", "x")
        if not x.dtype.is_float:
            raise OpError(f"x must be a float tensor, is {x}", "x")
        vector = Tensor(x.dtype, x.shape[1:2])
        sides = {"scale": self.scale, "bias": self.bias, "mean": self.mean, "var": self.var}
        for name, value in sides.items():
            if value.tensor != vector:
                raise OpError(f"{name} is {value.tensor}, expected {vector}", name)
        return x

    def evaluate(self, x: Array, scale: Array, bias: Array, mean: Array, var: Array) -> Array:
        column = (1, -1) + (1,) * (x.ndim - 2)
        factor = scale / np.sqrt(var + var.dtype.type(self.epsilon))
        y = (x - mean.reshape(column)) * factor.reshape(column) + bias.reshape(column)
        return np.asarray(y)


class LayerNorm(Op, name="layer_norm"):
    """y = (x - mean) / sqrt(variance + epsilon) * scale + bias over the axes from `axis` on."""

    x: Value
    scale: Value
    bias: Value | None = None
    axis: int = 1
    epsilon: float = 1e-5

    def infer(self) -> Tensor:
        x = self.x.tensor
        if not 0 <= self.axis < x.rank:
            raise OpError(f"axis {self.axis} is outside rank {x.rank}", "axis")
        if not x.dtype.is_float:
            raise OpError(f"x must be a float tensor, is {x}", "x")
        for name, value in (("scale", self.scale), ("bias", self.bias)):
            if value is not None and same_dtype(x=self.x, **{name: value}) != x:
                raise OpError(f"{name} {value.tensor} makes x {x} larger", name)
        return x

    def evaluate(self, x: Array, scale: Array, bias: Array | None) -> Array:
        axes = tuple(range(self.axis, x.ndim))
        centred = x - _mean(x, axes, keepdims=True)
        variance = _mean(centred * centred, axes, keepdims=True)
        y = centred / np.sqrt(variance + x.dtype.type(self.epsilon)) * scale
        return np.asarray(y if bias is None else y + bias)
