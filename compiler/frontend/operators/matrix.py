"""Matrix products."""
# ruff: noqa: N802, N803  (names are ONNX's)

import numpy as np

import mcc.ops as ops
from mcc.ir import Array, Value, constant, constant_of

from ..registry import UnsupportedError, operator
from .common import scalar_like


@operator(since=1)
def MatMul(A: Value, B: Value) -> Value:
    return ops.Matmul(A, B).result


@operator(since=7)
def Gemm(
    A: Value,
    B: Value,
    C: Value | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Value:
    left = _transposed(A) if transA else A
    right = _transposed(B) if transB else B
    y = ops.Matmul(left, right).result
    if alpha != 1.0:
        y = ops.Mul(y, scalar_like(alpha, y)).result
    if C is None or beta == 0.0:
        return y
    return ops.Add(y, C if beta == 1.0 else ops.Mul(C, scalar_like(beta, C)).result).result


@operator(since=10)
def MatMulInteger(
    A: Value, B: Value, a_zero_point: Array | None = None, b_zero_point: Array | None = None
) -> Value:
    if b_zero_point is not None and np.any(b_zero_point):
        raise UnsupportedError("its b_zero_point is not 0: mcc's weights are symmetric")
    if a_zero_point is None or not np.any(a_zero_point):
        return ops.Matmul(A, B).result
    weights = constant_of(B)
    if a_zero_point.size != 1 or weights is None or weights.ndim != 2:
        raise UnsupportedError(
            "its a_zero_point is not 0, and not one number beside a constant matrix"
        )
    # (a - z) @ b = a @ b - z * (column sums of b)
    bias = -int(a_zero_point.item()) * weights.astype(np.int64).sum(axis=0)
    return ops.Matmul(A, B, b=constant(bias.astype(np.int32)).result).result


def _transposed(matrix: Value) -> Value:
    """The transpose; of a constant, and of a dequantized one, folded into the constant."""
    array = constant_of(matrix)
    if array is not None:
        return constant(np.ascontiguousarray(array.T), _name(matrix)).result
    source = matrix.op
    if isinstance(source, ops.Dequantize) and constant_of(source.x) is not None:
        turned = ops.Dequantize(_transposed(source.x), source.scale, source.zero, 1 - source.axis)
        turned.named(matrix.name, source.nodes)
        return turned.result
    return ops.Transpose(matrix, perm=(1, 0)).result


def _name(value: Value) -> str:
    return f"{value.name}.T" if value.name else ""
