"""Calls of `kernels/movement.c`: one strided copy serves most."""

from collections.abc import Sequence

import numpy as np

import mcc.ops as ops
from mcc.backends import C_TYPES
from mcc.ir import DType, Op, Value

from .host import HostCode, lower
from .shapes import repeating_strides, strides_of


@lower.register
def _(op: ops.Reshape, code: HostCode) -> list[str]:
    return []  # the same bytes


@lower.register
def _(op: ops.Transpose, code: HostCode) -> list[str]:
    strides = strides_of(op.x.tensor.dims)
    turned = [strides[axis] for axis in op.perm]
    return _copy(code, op, op.x, op.result.tensor.dims, turned)


@lower.register
def _(op: ops.Slice, code: HostCode) -> list[str]:
    steps = op.steps or (1,) * op.x.tensor.rank
    strides = strides_of(op.x.tensor.dims)
    start = sum(s * first for s, first in zip(strides, op.starts, strict=True))
    moving = [s * step for s, step in zip(strides, steps, strict=True)]
    return _copy(code, op, op.x, op.result.tensor.dims, moving, start)


@lower.register
def _(op: ops.Expand, code: HostCode) -> list[str]:
    dims = op.result.tensor.dims
    return _copy(code, op, op.x, dims, repeating_strides(op.x.tensor.dims, dims))


@lower.register
def _(op: ops.Concat, code: HostCode) -> list[str]:
    strides = strides_of(op.result.tensor.dims)
    lines: list[str] = []
    start = 0
    for value in op.xs:
        dims = value.tensor.dims
        lines += _copy(code, op, value, dims, strides_of(dims), 0, strides, start)
        start += dims[op.axis] * strides[op.axis]
    return lines


@lower.register
def _(op: ops.Pad, code: HostCode) -> list[str]:
    if op.mode != "constant":
        raise code.refused(op, f"its kernel pads with a constant, not with mode {op.mode}")
    dims, rank = op.x.tensor.dims, op.x.tensor.rank
    before, after = op.pads[:rank], op.pads[rank:]
    kept = [size + min(b, 0) + min(a, 0) for size, b, a in zip(dims, before, after, strict=True)]
    strides, wide = strides_of(dims), strides_of(op.result.tensor.dims)
    start = sum(s * max(0, -b) for s, b in zip(strides, before, strict=True))
    target = sum(s * max(0, b) for s, b in zip(wide, before, strict=True))
    value = np.asarray(op.value).astype(op.x.tensor.dtype.numpy).reshape(1)
    size, place = op.result.tensor.size, code.place(op.result)
    if value.itemsize == 1:
        byte = int(value.view(np.uint8)[0])
        fill = code.kernel("movement", "mcc_set", size, byte, place)
    else:
        border = code.array(np.frombuffer(value.tobytes(), np.uint8), "uint8_t")
        fill = code.kernel("movement", "mcc_fill", size, value.itemsize, border, place)
    return fill + _copy(code, op, op.x, kept, strides, start, wide, target)


@lower.register
def _(op: ops.Gather, code: HostCode) -> list[str]:
    dims = op.x.tensor.dims
    outer = int(np.prod(dims[: op.axis]))
    inner = int(np.prod(dims[op.axis + 1 :])) * (op.x.tensor.dtype.bits // 8)
    wide = int(op.indices.tensor.dtype is DType.I64)
    return code.kernel(
        "movement",
        "mcc_gather",
        outer,
        dims[op.axis],
        op.indices.tensor.size,
        inner,
        code.place(op.x),
        code.place(op.indices),
        wide,
        code.place(op.result),
    )


def _copy(
    code: HostCode,
    op: Op,
    x: Value,
    dims: Sequence[int],
    strides: Sequence[int],
    start: int = 0,
    to: Sequence[int] | None = None,
    to_start: int = 0,
) -> list[str]:
    dtype = x.tensor.dtype
    if dtype not in C_TYPES:
        raise code.refused(op, f"its kernel has no version for {dtype}")
    parameters = code.struct(
        "mcc_copy",
        **{"dims": tuple(dims), "from": tuple(strides), "to": tuple(to or strides_of(dims))},
        rank=len(dims),
        width=dtype.bits // 8 or 1,
        from_start=start,
        to_start=to_start,
    )
    return code.kernel("movement", "mcc_copy", parameters, code.place(x), code.place(op.results[0]))
