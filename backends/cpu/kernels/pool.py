"""Pooling, as contractions without weights."""

import math

import numpy as np

from mcc.ops import AvgPool, MaxPool, Pool, SumPool, spatial_axes

from ..plan import Planner
from ..registry import contiguous, lower
from ..storage import stored
from ..tail import Tail, apply
from ..tir import Expr, Writer, lowest
from .choice import choose_blocking
from .contract import Contraction
from .loops import collapse
from .positions import merged_positions
from .products import Product, largest, total
from .windows import Windows, finish_windows, windows_of


@lower(MaxPool, fuses=True)
def max_pool(op: MaxPool, planner: Planner, tail: Tail) -> None:
    dtype = stored(op.x.tensor.dtype)
    view = windows_of(planner, op, tail, op.kernel, lowest(dtype), channels_last=True)
    _pool(op, planner, tail, view, largest(dtype, planner.machine))


@lower(AvgPool, fuses=True)
def avg_pool(op: AvgPool, planner: Planner, tail: Tail) -> None:
    dtype = stored(op.x.tensor.dtype)
    shape = tail.shape
    axes = spatial_axes(op.layout, len(shape))
    out = tuple(shape[axis] for axis in axes)
    counts = op.window_counts(op.x.tensor.dtype.numpy, include_pad=op.include_pad)[0, 0]
    full = np.broadcast_to(counts, out)
    strides = [0] * len(shape)
    if np.all(full == full.reshape(-1)[:1]):
        full = full.reshape(-1)[:1]
    else:
        for axis, stride in zip(axes, contiguous(out), strict=True):
            strides[axis] = stride
    leaf = tail.add_operand(planner.constant(full), tuple(strides))
    tail.graft(lambda anchor: apply(_quotient, anchor, leaf))
    view = windows_of(planner, op, tail, op.kernel, 0.0, channels_last=True)
    _pool(op, planner, tail, view, total(dtype, planner.machine))


def _quotient(writer: Writer, a: Expr, b: Expr) -> Expr:
    return a / b


@lower(SumPool, fuses=True)
def sum_pool(op: SumPool, planner: Planner, tail: Tail) -> None:
    # Padding is the zero point, so that every window holds the same number of them.
    offset = math.prod(op.kernel) * op.zero
    view = windows_of(planner, op, tail, op.kernel, op.zero, channels_last=True)
    if offset:

        def shifted(writer: Writer, sums: Expr) -> Expr:
            return sums - offset

        tail.graft(lambda anchor: apply(shifted, anchor))
    _pool(op, planner, tail, view, total("int32", planner.machine))


def _pool(op: Pool, planner: Planner, tail: Tail, view: Windows, product: Product) -> None:
    channels = view.channels
    *rows, tile = view.spatial_loops(tail.operands)
    lead, tile = merged_positions([view.batch_loop(tail.operands), *rows], tile)
    blocking = choose_blocking(tile.extent, channels, product, planner.machine)
    contraction = Contraction(
        lead=tuple(lead),
        tile=tile,
        vec=view.channel_loop(channels, view.channel, 0, tail.operands),
        reduce=tuple(collapse(view.tap_loops((0,) * len(view.kernel)), 3)),
        product=product,
        blocking=blocking,
        block_stride=0,
        root=tail.root,
        origin=view.origin,
        border=view.border,
    )
    finish_windows(
        planner, tail, "pool", contraction, view, (view.slot,), in_place=contraction.in_place
    )
