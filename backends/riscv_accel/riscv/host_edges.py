"""Calls of `kernels/edges.c`: between float and integers."""

import numpy as np

import mcc.ops as ops
from mcc.ir import DType, Op, Value, constant_of

from .host import BYTES, HostCode, lower
from .shapes import broadcast_strides, is_unsigned, shift_of, spans_of


@lower.register
def _(op: ops.Quantize, code: HostCode) -> list[str]:
    if op.zero.tensor.dtype not in BYTES:
        raise code.refused(op, f"its kernel quantizes to bytes, not {op.zero.tensor.dtype}")
    lo, hi = op.result.tensor.dtype.limits
    shift, zeros = shift_of(constant_of(op.scale)), constant_of(op.zero)
    if code.shifts and shift is not None and zeros is not None:
        x, y = code.typed(op.x), f"(uint8_t *){code.place(op.result)}"
        limits = (int(zeros), lo, hi)
        return code.kernel("edges", "mcc_quantize_shift", op.x.tensor.size, x, shift, *limits, y)
    scale, zero, spans = _scale(code, op, op.x, op.scale, op.zero, op.axis)
    target = f"(uint8_t *){code.place(op.result)}"
    return code.kernel(
        "edges", "mcc_quantize", *spans, code.typed(op.x), scale, zero, lo, hi, target
    )


@lower.register
def _(op: ops.Dequantize, code: HostCode) -> list[str]:
    dtype = op.x.tensor.dtype
    scale, zero, spans = _scale(code, op, op.x, op.scale, op.zero, op.axis)
    x, y = code.typed(op.x), code.typed(op.result)
    if dtype is DType.I32:
        return code.kernel("edges", "mcc_dequantize_i32", *spans, x, scale, zero, y)
    if dtype not in BYTES:
        raise code.refused(op, f"its kernel has no version for {dtype}")
    sign = int(dtype is DType.U8)
    return code.kernel("edges", "mcc_dequantize", *spans, x, sign, scale, zero, y)


def _scale(
    code: HostCode, op: Op, x: Value, scale: Value, zero: Value, axis: int
) -> tuple[str, str, tuple[int, int, int]]:
    scales, zeros = constant_of(scale), constant_of(zero)
    if scales is None or zeros is None:
        raise code.refused(op, "its scale is no constant")
    return (
        code.array(scales, "float"),
        code.array(zeros.astype(np.int32), "int32_t"),
        spans_of(x, axis if scales.ndim else None),
    )


@lower.register
def _(op: ops.Requantize, code: HostCode) -> list[str]:
    if op.dtype not in BYTES:
        raise code.refused(op, f"its kernel gives bytes, not {op.dtype}")
    multiplier = constant_of(op.multiplier)
    if multiplier is None:
        raise code.refused(op, "its multiplier is no constant")
    target = f"(uint8_t *){code.place(op.result)}"
    limits = (op.zero, op.lo, op.hi)
    shift = shift_of(multiplier)
    if code.shifts and shift is not None:
        size, x = op.x.tensor.size, code.typed(op.x)
        return code.kernel("edges", "mcc_requantize_shift", size, x, shift, *limits, target)
    spans = spans_of(op.x, op.axis if multiplier.ndim else None)
    values = code.array(multiplier, "float")
    return code.kernel("edges", "mcc_requantize", *spans, code.typed(op.x), values, *limits, target)


@lower.register
def _(op: ops.QAdd, code: HostCode) -> list[str]:
    if op.dtype not in BYTES:
        raise code.refused(op, f"its kernel gives bytes, not {op.dtype}")
    dims, left, right = broadcast_strides(op.a, op.b, op.result)
    parameters = code.struct(
        "mcc_qadd",
        dims=dims,
        a_strides=left,
        b_strides=right,
        rank=len(dims),
        a_unsigned=is_unsigned(op.a),
        b_unsigned=is_unsigned(op.b),
        a_scale=op.a_scale,
        b_scale=op.b_scale,
        a_zero=op.a_zero,
        b_zero=op.b_zero,
        zero=op.zero,
        lo=op.lo,
        hi=op.hi,
    )
    target = f"(uint8_t *){code.place(op.result)}"
    return code.kernel("edges", "mcc_qadd", parameters, code.place(op.a), code.place(op.b), target)


@lower.register
def _(op: ops.Lookup, code: HostCode) -> list[str]:
    width = op.table.tensor.dtype.bits // 8
    return code.kernel(
        "edges",
        "mcc_lookup",
        op.x.tensor.size,
        code.place(op.x),
        is_unsigned(op.x),
        f"(const uint8_t *){code.place(op.table)}",
        width,
        code.place(op.result),
    )
