"""Attention as one op: what its products and softmax compute together."""

import math

import numpy as np

from mcc.ir import Array, DType, Op, OpError, Tensor, Value

from .broadcast import broadcast
from .reduce import softmax_of


class Attention(Op, name="attention"):
    """y = softmax(q @ kᵀ * scale + mask) @ v (A. Vaswani et al., 2017).

    q is [..., M, D], k [..., N, D], v [..., N, E], y [..., M, E]; leading dimensions agree. The
    mask broadcasts to [..., M, N]; one of i1 keeps the scores where it is true, and puts `fill`
    in place of the others. A row of which every score is -inf is NaN.
    """

    q: Value
    k: Value
    v: Value
    mask: Value | None = None
    scale: float = 1.0
    fill: float = -math.inf

    def infer(self) -> Tensor:
        q, k, v = self.q.tensor, self.k.tensor, self.v.tensor
        for name, value in (("q", self.q), ("k", self.k), ("v", self.v)):
            tensor = value.tensor
            if tensor.dtype is not q.dtype or not tensor.dtype.is_float:
                raise OpError(f"{name} must be floats as q is, is {tensor}", name)
            if tensor.rank < 2 or tensor.shape[:-2] != q.shape[:-2]:
                raise OpError(f"{name} is {tensor}; leading dimensions agree with q {q}", name)
        if q.shape[-1] != k.shape[-1]:
            raise OpError(f"q {q} and k {k} must have equally many columns", "k")
        if k.shape[-2] != v.shape[-2]:
            raise OpError(f"k {k} and v {v} must have equally many rows", "v")
        scores = Tensor(q.dtype, (*q.shape[:-1], k.shape[-2]))
        if self.mask is not None:
            mask = self.mask.tensor
            if mask.dtype not in (q.dtype, DType.I1):
                raise OpError(f"mask must be {q.dtype} or i1, is {mask}", "mask")
            if broadcast(scores=Value(scores), mask=self.mask) != scores.shape:
                raise OpError(f"mask {mask} does not broadcast to {scores}", "mask")
        return Tensor(q.dtype, (*q.shape[:-1], v.shape[-1]))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of both products."""
        return self.q.tensor.size * self.k.tensor.dims[-2] + (
            self.result.tensor.size * self.k.tensor.dims[-2]
        )

    def evaluate(self, q: Array, k: Array, v: Array, mask: Array | None) -> Array:
        scores: Array = np.matmul(q, k.swapaxes(-1, -2)) * q.dtype.type(self.scale)
        if mask is not None and mask.dtype == np.bool_:
            scores = np.where(mask, scores, q.dtype.type(self.fill))
        elif mask is not None:
            scores = scores + mask
        return np.asarray(np.matmul(softmax_of(scores, -1), v))
