"""Calls of `kernels/linear.c` and `kernels/pool.c`."""

import mcc.ops as ops
from mcc.ir import DType
from mcc.ops import channel_axis

from .host import BYTES, HostCode, lower
from .shapes import clamp_fields, image_fields, is_unsigned, repeating, three


@lower.register
def _(op: ops.Conv, code: HostCode) -> list[str]:
    rank = op.x.tensor.rank - 2
    if rank > 3:
        raise code.refused(op, "its kernel has at most 3 spatial dimensions")
    strides, pads, dilations = op.geometry
    kernel = op.w.tensor.dims[2:]
    parameters = code.struct(
        "mcc_conv",
        batch=op.x.tensor.dims[0],
        groups=op.groups,
        in_per_group=op.w.tensor.dims[1],
        out_per_group=op.w.tensor.dims[0] // op.groups,
        kernel=three(kernel, 1),
        stride=three(strides, 1),
        pad=three(pads[:rank], 0),
        dilation=three(dilations, 1),
        **image_fields(op.x, op.result, op.layout),
        x_unsigned=is_unsigned(op.x),
        w_unsigned=is_unsigned(op.w),
        r_unsigned=is_unsigned(op.r),
        pad_value=op.pad_value,
        **clamp_fields(op.lo, op.hi),
    )
    return _product(code, op, "mcc_conv", parameters)


@lower.register
def _(op: ops.Matmul, code: HostCode) -> list[str]:
    x, w = op.x.tensor.dims, op.w.tensor.dims
    if len(x) < 2 or len(w) < 2:
        raise code.refused(op, "its kernel multiplies matrices, one operand is a vector")
    lead = op.result.tensor.dims[:-2]
    parameters = code.struct(
        "mcc_matmul",
        rank=len(lead),
        rows=x[-2],
        depth=x[-1],
        columns=w[-1],
        dims=lead,
        x_strides=repeating(x[:-2], lead, x[-2] * x[-1]),
        w_strides=repeating(w[:-2], lead, w[-2] * w[-1]),
        x_unsigned=is_unsigned(op.x),
        w_unsigned=is_unsigned(op.w),
        r_unsigned=is_unsigned(op.r),
        **clamp_fields(op.lo, op.hi),
    )
    return _product(code, op, "mcc_matmul", parameters)


def _product(code: HostCode, op: ops.Conv | ops.Matmul, name: str, parameters: str) -> list[str]:
    y = code.typed(op.result)
    b, r = code.maybe(op.b), code.maybe(op.r)
    if op.result.tensor.dtype is DType.F32:
        x, w = code.typed(op.x), code.typed(op.w)
        return code.kernel("linear", f"{name}_f32", parameters, x, w, b, r, y)
    if {op.x.tensor.dtype, op.w.tensor.dtype} - set(BYTES):
        raise code.refused(op, "its kernel multiplies bytes or float32")
    x, w, k = code.place(op.x), code.place(op.w), code.maybe(op.k)
    return code.kernel("linear", f"{name}_i32", parameters, x, w, b, r, k, y)


@lower.register
def _(op: ops.MaxPool, code: HostCode) -> list[str]:
    x, y = code.typed(op.x), code.typed(op.result)
    if op.x.tensor.dtype is DType.F32:
        return code.kernel("pool", "mcc_max_pool_f32", _pool(code, op), x, y)
    code.only(op, *BYTES)
    return code.kernel(
        "pool", "mcc_max_pool", _pool(code, op), x, f"(uint8_t *){code.place(op.result)}"
    )


@lower.register
def _(op: ops.SumPool, code: HostCode) -> list[str]:
    parameters = _pool(code, op, zero=op.zero)
    x, y = code.place(op.x), code.typed(op.result)
    return code.kernel("pool", "mcc_sum_pool", parameters, x, y)


@lower.register
def _(op: ops.AvgPool, code: HostCode) -> list[str]:
    code.only(op, DType.F32)
    parameters = _pool(code, op, include_pad=int(op.include_pad))
    return code.kernel("pool", "mcc_avg_pool", parameters, code.typed(op.x), code.typed(op.result))


def _pool(
    code: HostCode, op: ops.MaxPool | ops.SumPool | ops.AvgPool, zero: int = 0, include_pad: int = 0
) -> str:
    rank = len(op.kernel)
    if rank > 3:
        raise code.refused(op, "its kernel has at most 3 spatial dimensions")
    strides, pads, dilations = op.geometry
    return code.struct(
        "mcc_pool",
        batch=op.x.tensor.dims[0],
        channels=op.x.tensor.dims[channel_axis(op.layout, rank + 2)],
        kernel=three(op.kernel, 1),
        stride=three(strides, 1),
        pad=three(pads[:rank], 0),
        pad_end=three(pads[rank:], 0),
        dilation=three(dilations, 1),
        **image_fields(op.x, op.result, op.layout),
        x_unsigned=is_unsigned(op.x),
        zero=zero,
        include_pad=include_pad,
    )
