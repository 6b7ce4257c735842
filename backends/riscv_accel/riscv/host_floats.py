"""Calls of `kernels/elementwise.c` and `kernels/reduce.c`, in float32."""

import numpy as np

import mcc.ops as ops
from mcc.ir import DType, Op, Value

from .host import HostCode, lower
from .literals import float_literal
from .shapes import broadcast_strides, spans_of, strides_of


def _map(code: HostCode, op: Op, name: str, *arguments: object) -> list[str]:
    code.only(op, DType.F32)
    (x,) = op.operands
    size = x.tensor.size
    return code.kernel(
        "elementwise", name, size, *arguments, code.typed(x), code.typed(op.results[0])
    )


def _function(code: HostCode, op: Op, name: str) -> list[str]:
    code.files.add("math")
    return _map(code, op, "mcc_map", name)


@lower.register
def _(op: ops.Neg, code: HostCode) -> list[str]:
    return _map(code, op, "mcc_neg")


@lower.register
def _(op: ops.Abs, code: HostCode) -> list[str]:
    return _map(code, op, "mcc_abs")


@lower.register
def _(op: ops.Reciprocal, code: HostCode) -> list[str]:
    return _map(code, op, "mcc_reciprocal")


@lower.register
def _(op: ops.LeakyRelu, code: HostCode) -> list[str]:
    return _map(code, op, "mcc_leaky_relu", float_literal(op.alpha))


@lower.register
def _(op: ops.Relu, code: HostCode) -> list[str]:
    return _map(code, op, "mcc_clip", "0.0f", float_literal(np.inf))


@lower.register
def _(op: ops.Clip, code: HostCode) -> list[str]:
    return _map(code, op, "mcc_clip", float_literal(op.lo), float_literal(op.hi))


@lower.register
def _(op: ops.Exp, code: HostCode) -> list[str]:
    return _function(code, op, "mcc_exp")


@lower.register
def _(op: ops.Log, code: HostCode) -> list[str]:
    return _function(code, op, "mcc_log")


@lower.register
def _(op: ops.Sqrt, code: HostCode) -> list[str]:
    return _function(code, op, "mcc_sqrt")


@lower.register
def _(op: ops.Tanh, code: HostCode) -> list[str]:
    return _function(code, op, "mcc_tanh")


@lower.register
def _(op: ops.Sigmoid, code: HostCode) -> list[str]:
    return _function(code, op, "mcc_sigmoid")


@lower.register
def _(op: ops.Sin, code: HostCode) -> list[str]:
    return _function(code, op, "mcc_sin")


@lower.register
def _(op: ops.Cos, code: HostCode) -> list[str]:
    return _function(code, op, "mcc_cos")


@lower.register
def _(op: ops.Atan, code: HostCode) -> list[str]:
    return _function(code, op, "mcc_atan")


@lower.register
def _(op: ops.Floor, code: HostCode) -> list[str]:
    return _map(code, op, "mcc_map", "mcc_floor")


@lower.register
def _(op: ops.Round, code: HostCode) -> list[str]:
    return _map(code, op, "mcc_map", "mcc_round")


@lower.register
def _(op: ops.Erf, code: HostCode) -> list[str]:
    return _function(code, op, "mcc_erf")


def _binary(
    code: HostCode, op: Op, name: str, a: Value, b: Value, lo: float = -np.inf, hi: float = np.inf
) -> list[str]:
    code.only(op, DType.F32)
    dims, left, right = broadcast_strides(a, b, op.results[0])
    parameters = code.struct(
        "mcc_binary", dims=dims, a_strides=left, b_strides=right, rank=len(dims), lo=lo, hi=hi
    )
    x, w, y = code.typed(a), code.typed(b), code.typed(op.results[0])
    return code.kernel("elementwise", name, parameters, x, w, y)


@lower.register
def _(op: ops.Add, code: HostCode) -> list[str]:
    return _binary(code, op, "mcc_add", op.a, op.b, op.lo, op.hi)


@lower.register
def _(op: ops.Sub, code: HostCode) -> list[str]:
    return _binary(code, op, "mcc_sub", op.a, op.b)


@lower.register
def _(op: ops.Mul, code: HostCode) -> list[str]:
    return _binary(code, op, "mcc_mul", op.a, op.b)


@lower.register
def _(op: ops.Div, code: HostCode) -> list[str]:
    return _binary(code, op, "mcc_div", op.a, op.b)


@lower.register
def _(op: ops.Minimum, code: HostCode) -> list[str]:
    return _binary(code, op, "mcc_min", op.a, op.b)


@lower.register
def _(op: ops.Maximum, code: HostCode) -> list[str]:
    return _binary(code, op, "mcc_max", op.a, op.b)


@lower.register
def _(op: ops.Softmax, code: HostCode) -> list[str]:
    code.only(op, DType.F32)
    code.files.add("math")
    spans = spans_of(op.x, op.axis)
    return code.kernel("reduce", "mcc_softmax", *spans, code.typed(op.x), code.typed(op.result))


def _reduce(
    code: HostCode, op: ops.ReduceSum | ops.ReduceMean | ops.ReduceMax, name: str
) -> list[str]:
    code.only(op, DType.F32)
    code.files.add("math")
    dims = op.x.tensor.dims
    if op.x.tensor.size == 0:
        raise code.refused(op, "its kernel needs at least one element")
    strides = strides_of(dims)
    kept = [axis for axis in range(len(dims)) if axis not in op.axes]
    parameters = code.struct(
        "mcc_reduce",
        kept=[dims[axis] for axis in kept],
        kept_strides=[strides[axis] for axis in kept],
        folded=[dims[axis] for axis in op.axes],
        folded_strides=[strides[axis] for axis in op.axes],
        kept_rank=len(kept),
        folded_rank=len(op.axes),
    )
    count: tuple[int, ...] = ()
    if not isinstance(op, ops.ReduceMax):
        mean = isinstance(op, ops.ReduceMean)
        count = (int(np.prod([dims[axis] for axis in op.axes])) if mean else 0,)
    return code.kernel("reduce", name, parameters, *count, code.typed(op.x), code.typed(op.result))


@lower.register
def _(op: ops.ReduceSum, code: HostCode) -> list[str]:
    return _reduce(code, op, "mcc_reduce_sum")


@lower.register
def _(op: ops.ReduceMean, code: HostCode) -> list[str]:
    return _reduce(code, op, "mcc_reduce_sum")


@lower.register
def _(op: ops.ReduceMax, code: HostCode) -> list[str]:
    return _reduce(code, op, "mcc_reduce_max")


@lower.register
def _(op: ops.BatchNorm, code: HostCode) -> list[str]:
    code.only(op, DType.F32)
    code.files.add("math")
    spans = spans_of(op.x, 1)
    sides = [code.typed(value) for value in (op.scale, op.bias, op.mean, op.var)]
    epsilon = float_literal(op.epsilon)
    x, y = code.typed(op.x), code.typed(op.result)
    return code.kernel("reduce", "mcc_batch_norm", *spans, epsilon, x, *sides, y)


@lower.register
def _(op: ops.LayerNorm, code: HostCode) -> list[str]:
    code.only(op, DType.F32)
    code.files.add("math")
    dims = op.x.tensor.dims
    for value in (op.scale, op.bias):
        if value is not None and value.tensor.dims != dims[op.axis :]:
            raise code.refused(op, "its kernel wants one scale and bias for each element")
    outer, count = int(np.prod(dims[: op.axis])), int(np.prod(dims[op.axis :]))
    sides = (code.typed(op.scale), code.maybe(op.bias))
    epsilon = float_literal(op.epsilon)
    x, y = code.typed(op.x), code.typed(op.result)
    return code.kernel("reduce", "mcc_layer_norm", outer, count, epsilon, x, *sides, y)


@lower.register
def _(op: ops.Resample, code: HostCode) -> list[str]:
    dtype = op.x.tensor.dtype
    if dtype is not DType.F32:
        raise code.refused(op, f"its kernel has no version for {dtype}")
    spans = spans_of(op.x, op.axis)
    wide = int(op.indices.tensor.dtype is DType.I64)
    tables = (code.place(op.indices), wide, code.typed(op.weights))
    x, y = code.typed(op.x), code.typed(op.result)
    return code.kernel("resample", "mcc_resample", *spans, *op.indices.tensor.dims, x, *tables, y)
