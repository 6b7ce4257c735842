"""Sampling an axis anew: each element of the result is a weighted sum of a few of the operand's."""

import numpy as np

from mcc.ir import Array, DType, Op, OpError, Tensor, Value


class Resample(Op, name="resample"):
    """y[..., j, ...] = sum over t of weights[j, t] * x[..., indices[j, t], ...] along `axis`.

    indices are integers [J, T], weights [J, T] in x's dtype. An index beyond an end of the axis
    reads the element at that end. One axis of an image's interpolation is such a sum; picking
    whole elements is a gather. 16-bit floats are multiplied and added in float32 and rounded once.
    """

    x: Value
    indices: Value
    weights: Value
    axis: int

    def infer(self) -> Tensor:
        x, indices, weights = self.x.tensor, self.indices.tensor, self.weights.tensor
        if not x.dtype.is_float:
            raise OpError(f"x must be a float tensor, is {x}", "x")
        if not 0 <= self.axis < x.rank:
            raise OpError(f"axis {self.axis} is outside rank {x.rank}", "axis")
        if x.shape[self.axis] == 0:
            raise OpError(f"x {x} has nothing to sample along axis {self.axis}", "x")
        if indices.dtype not in (DType.I64, DType.I32) or indices.rank != 2:
            raise OpError(f"indices must be an i32 or i64 matrix, is {indices}", "indices")
        if weights != Tensor(x.dtype, indices.shape):
            expected = Tensor(x.dtype, indices.shape)
            raise OpError(f"weights is {weights}, expected {expected}", "weights")
        count = indices.shape[0]
        return Tensor(x.dtype, (*x.shape[: self.axis], count, *x.shape[self.axis + 1 :]))

    def evaluate(self, x: Array, indices: Array, weights: Array) -> Array:
        wide = np.float32 if x.dtype.itemsize == 2 else x.dtype
        column = (-1, *(1,) * (x.ndim - self.axis - 1))
        places = np.clip(indices, 0, x.shape[self.axis] - 1)
        shape = (*x.shape[: self.axis], len(indices), *x.shape[self.axis + 1 :])
        total = np.zeros(shape, wide)
        for tap in range(indices.shape[1]):
            factor = weights[:, tap].astype(wide).reshape(column)
            total += np.take(x, places[:, tap], self.axis).astype(wide) * factor
        return total.astype(x.dtype)
