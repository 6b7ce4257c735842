"""What the accelerator can take, op by op, and why not: the reasons that users read."""

import math
from collections.abc import Iterator

import numpy as np

from mcc.ir import DType, Op, Value, constant_of
from mcc.ops import Conv, Lookup, Matmul, MaxPool, Pad, Requantize, SumPool
from mcc.runtime import Target

MOST_DIAGONALS = 64
"""Tiles that a residual's factor may take, of 127 each."""


def why_not_product(op: Op | None, target: Target) -> str | None:
    """Why a sum of products cannot run on the accelerator; None where it can."""
    match op:
        case Conv():
            return next(_conv(op), None)
        case Matmul():
            return next(_matmul(op), None)
        case SumPool():
            return next(_sums(op), None)
        case _:
            return "the accelerator requantizes only sums of products that it makes itself"


def _conv(op: Conv) -> Iterator[str]:
    yield from _operands(op)
    if op.layout != "nhwc":
        yield "its layout is nchw; the accelerator works on nhwc (pass layout)"
    if op.x.tensor.rank not in (3, 4):
        yield f"it has {op.x.tensor.rank - 2} spatial dimensions, the accelerator takes 1 or 2"
    if constant_of(op.w) is None:
        yield "its weights are no constant"
    if min(op.geometry[1]) < 0:
        yield "its padding is negative"


def _operands(op: Conv | Matmul) -> Iterator[str]:
    if op.x.tensor.dtype is not DType.I8 or op.w.tensor.dtype is not DType.I8:
        yield f"it multiplies {op.x.tensor.dtype} by {op.w.tensor.dtype}, the array i8 by i8"
    if op.b is not None and constant_of(op.b) is None:
        yield "its bias is no constant"
    if (op.lo, op.hi) != (-math.inf, math.inf):
        yield "it clamps its int32 sums"
    if op.r is None:
        return
    factors = constant_of(op.k)
    if factors is None:
        yield "its residual has no constant integer factor"
    elif np.abs(factors.astype(np.int64)).max() > 127 * MOST_DIAGONALS:
        yield f"its residual's factor is above {127 * MOST_DIAGONALS}"


def _matmul(op: Matmul) -> Iterator[str]:
    yield from _operands(op)
    x, w = op.x.tensor, op.w.tensor
    if w.rank < 2 or x.rank < 1:
        yield "it multiplies vectors"
    if constant_of(op.w) is not None:
        if math.prod(w.dims[:-2]) != 1:
            yield "its constant weights differ from batch to batch"
    elif x.rank < 2 or x.dims[:-2] != w.dims[:-2]:
        yield "its batches broadcast"
    elif op.r is not None:
        yield "it adds a residual to a product of two activations"


def _sums(op: SumPool) -> Iterator[str]:
    if op.x.tensor.dtype is not DType.I8:
        yield f"it sums {op.x.tensor.dtype}, the array takes i8"
    if op.layout != "nhwc":
        yield "its layout is nchw; the accelerator works on nhwc (pass layout)"
    if len(op.kernel) > 2:
        yield f"it has {len(op.kernel)} spatial dimensions, the accelerator takes 1 or 2"
    if min(op.geometry[1]) < 0:
        yield "its padding is negative"


def why_not_exit(op: Requantize, target: Target) -> str | None:
    """Why an int32 accumulator cannot leave the machine as this op says."""
    return next(_exit(op, target), None)


def _exit(op: Requantize, target: Target) -> Iterator[str]:
    if op.dtype is not DType.I8:
        yield f"its result is {op.dtype}, the accelerator makes i8"
    multiplier = constant_of(op.multiplier)
    if multiplier is None:
        yield "its multiplier is no constant"
        return
    if not (np.isfinite(multiplier).all() and (multiplier >= 0).all()):
        yield "its multiplier is negative or not finite"
    if multiplier.ndim and not (multiplier == multiplier[0]).all():
        if not target.has("per_channel"):
            yield f"per-channel multipliers need the extension per_channel, {target.name} lacks it"
        if op.axis != op.x.tensor.rank - 1:
            yield "its multipliers are not along the last axis"
    if target.has("zero_point"):
        return
    if op.zero:
        yield f"an output zero point needs the extension zero_point, which {target.name} lacks"
    if op.hi != 127 or op.lo not in (-128, 0):
        yield (
            f"clamping to [{op.lo}, {op.hi}] needs the extension zero_point, which {target.name} "
            "lacks; without it there is relu (from 0) or int8's own range"
        )


def why_not_lookup(op: Lookup, target: Target) -> str | None:
    """Why a table cannot be applied on the way out."""
    if not target.has("lut"):
        return f"a table needs the extension lut, which {target.name} lacks"
    if constant_of(op.table) is None:
        return "its table is no constant"
    if (op.x.tensor.dtype, op.table.tensor.dtype) != (DType.I8, DType.I8):
        return f"its table maps {op.x.tensor.dtype} to {op.table.tensor.dtype}, not i8 to i8"
    return None


def why_not_pool(op: MaxPool, target: Target, *, padded_by_machine: bool) -> str | None:
    """Why a maximum pool cannot run; `padded_by_machine` where the move-out itself must pad."""
    return next(_pool(op, target, padded_by_machine), None)


def _pool(op: MaxPool, target: Target, padded_by_machine: bool) -> Iterator[str]:
    if op.x.tensor.dtype is not DType.I8:
        yield f"it works on {op.x.tensor.dtype}, the accelerator on i8"
        return
    if op.layout != "nhwc":
        yield "its layout is nchw; the accelerator works on nhwc (pass layout)"
    if op.x.tensor.rank not in (3, 4):
        yield f"it has {op.x.tensor.rank - 2} spatial dimensions, the accelerator takes 1 or 2"
        return
    strides, pads, dilations = op.geometry
    if set(dilations) != {1}:
        yield "its window is dilated"
    rank = len(op.kernel)
    if any(pads[i] >= op.kernel[i] for i in range(rank)) or min(pads) < 0:
        yield "its padding is as wide as its window, or negative"
    if target.has("pool") and target.has("zero_point"):
        if max(*op.kernel, *strides) > 15:
            yield "its window or stride is above 15"
        return
    if rank == 1:
        yield f"a window over one dimension needs the extension pool, which {target.name} lacks"
    elif len(set(op.kernel)) > 1 or len(set(strides)) > 1 or max(*op.kernel, *strides) > 3:
        yield f"a window other than 3x3 or 2x2 needs the extension pool, which {target.name} lacks"
    width = op.x.tensor.dims[2] + 2 * op.kernel[-1]
    if width > 255:
        yield f"its image is {op.x.tensor.dims[2]} wide, {target.name} pools up to 255 with padding"
    if padded_by_machine and max(pads) > 3:
        yield f"padding above 3 needs the extension pool, which {target.name} lacks"


def why_on_host(op: Op, target: Target) -> str:
    """The reason for an op that stayed on the host."""
    why: str | None = None
    match op:
        case Requantize():
            why = why_not_product(op.x.op, target) or why_not_exit(op, target)
        case Conv() | Matmul() | SumPool() if op.result.tensor.dtype is DType.I32:
            why = why_not_product(op, target) or _why_not_requantized(op.result, target)
        case Lookup():
            why = why_not_lookup(op, target)
        case MaxPool():
            why = why_not_pool(op, target, padded_by_machine=False)
        case Pad() if gathers_after(op):
            why = "the host pads, so that the first layer's window rows lie together in memory"
        case _:
            pass
    return why or _general(op)


def gathers_after(op: Pad) -> bool:
    """Whether a pad only widens an image by columns, as the partition does for gathering."""
    rank = op.x.tensor.rank
    columns = (rank - 2, 2 * rank - 2)
    return all(not amount for i, amount in enumerate(op.pads) if i not in columns)


def _why_not_requantized(value: Value, target: Target) -> str:
    users = list(value.uses)
    if len(users) == 1 and isinstance(users[0], Requantize):
        return why_not_exit(users[0], target) or "its requantize stayed on the host"
    return "its int32 result is used as such; the accelerator's results leave as i8"


_WHY = {
    "quantize": "the edge to float: the host quantizes",
    "dequantize": "the edge to float: the host dequantizes",
    "qadd": "an add of two scales rounds each operand; the accelerator adds in one accumulator",
    "reshape": "moves no byte",
}


def _general(op: Op) -> str:
    if op.op_name in _WHY:
        return _WHY[op.op_name]
    dtypes = {value.tensor.dtype for value in (*op.operands, *op.results)}
    if any(dtype.is_float for dtype in dtypes):
        return "it computes in float"
    return f"the accelerator has no {op.op_name}"
