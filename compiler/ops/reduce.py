"""Reductions and normalizations."""

import numpy as np

from mcc.ir import Array, Dim, Op, OpError, Tensor, Value


class Reduce(Op):
    """Base: folds `axes` (not negative, sorted) away, or to 1 with `keepdims`."""

    x: Value
    axes: tuple[int, ...]
    keepdims: bool = False

    def infer(self) -> Tensor:
        x = self.x.tensor
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
    """The mean over `axes`."""

    def evaluate(self, x: Array) -> Array:
        return x.mean(self.axes, keepdims=self.keepdims, dtype=x.dtype)


class ReduceSum(Reduce, name="reduce_sum"):
    """The sum over `axes`."""

    def evaluate(self, x: Array) -> Array:
        return x.sum(self.axes, keepdims=self.keepdims, dtype=x.dtype)


class ReduceMax(Reduce, name="reduce_max"):
    """The largest element over `axes`."""

    def evaluate(self, x: Array) -> Array:
        return x.max(self.axes, keepdims=self.keepdims)


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
        powers = np.exp(x - x.max(self.axis, keepdims=True))
        return powers / powers.sum(self.axis, keepdims=True)


class BatchNorm(Op, name="batch_norm"):
    """y = (x - mean) / sqrt(var + epsilon) * scale + bias, per channel; x is [N, C, ...], the others [C]."""

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
        for name in ("scale", "bias", "mean", "var"):
            value = self.__dict__[name]
            if isinstance(value, Value) and value.tensor.shape != x.shape[1:2]:
                raise OpError(f"{name} is {value.tensor}, x has {x.shape[1]} channels", name)
        return x

    def evaluate(self, x: Array, scale: Array, bias: Array, mean: Array, var: Array) -> Array:
        column = (1, -1) + (1,) * (x.ndim - 2)
        factor = scale / np.sqrt(var + var.dtype.type(self.epsilon))
        return (x - mean.reshape(column)) * factor.reshape(column) + bias.reshape(column)


class LayerNorm(Op, name="layer_norm"):
    """y = (x - mean) / sqrt(variance + epsilon) * scale + bias over the axes from `axis` on."""

    x: Value
    scale: Value
    bias: Value | None = None
    axis: int = 1
    epsilon: float = 1e-5

    def infer(self) -> Tensor:
        if not 0 <= self.axis < self.x.tensor.rank:
            raise OpError(f"axis {self.axis} is outside rank {self.x.tensor.rank}", "axis")
        return self.x.tensor

    def evaluate(self, x: Array, scale: Array, bias: Array | None) -> Array:
        axes = tuple(range(self.axis, x.ndim))
        centred = x - x.mean(axes, keepdims=True, dtype=x.dtype)
        variance = (centred * centred).mean(axes, keepdims=True, dtype=x.dtype)
        y = centred / np.sqrt(variance + x.dtype.type(self.epsilon)) * scale
        return y if bias is None else y + bias
