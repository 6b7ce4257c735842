"""A depthwise convolution with the convolutions before and behind it, as one kernel."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mcc.ir import constant_of
from mcc.ops import Conv

from ..chains import is_depthwise
from ..plan import Planner
from ..registry import contiguous
from ..storage import Slot
from ..tail import Tail
from .choice import choose_blocking
from .contract import Contraction
from .linear import finish_products, pack_filters
from .loops import Loop, collapse
from .positions import merged_positions, rows_together
from .products import multiply_add
from .strip_choice import rows_of, strip_rows
from .strips import Stage, Strips
from .windows import Windows, finish_windows, windows_in_strip, windows_of

Part = tuple[Conv, Tail]


def write_strips(planner: Planner, parts: Sequence[Part]) -> None:
    """One kernel for two or three convolutions that read each other's results only.

    One of them is depthwise: the first or the second.
    """
    middle = next(n for n, (op, _) in enumerate(parts) if is_depthwise(op))
    op, tail = parts[middle]
    behind = parts[middle + 1 :]
    samples, height, width, channels = op.result.tensor.dims
    rows = rows_of(op)
    strip = strip_rows(op, rows, head=middle > 0, last=bool(behind))
    stages: list[Stage] = []
    if middle:
        first, behind_it = parts[0]
        view = windows_of(
            planner, first, behind_it, _kernel(first), first.pad_value, channels_last=True
        )
        stages.append(_head(planner, first, behind_it, view))
        count = (strip - 1) * rows.stride + rows.count
        rows = replace(rows, count=count, step=strip * rows.stride)
        slot = Slot("float32", rows.count * rows.row)
        inner = windows_in_strip(planner, op, tail, slot, rows.count, rows.columns)
    else:
        view = inner = windows_of(planner, op, tail, _kernel(op), op.pad_value, channels_last=True)
    stages.append(_depthwise(planner, op, tail, inner, strip, near=middle > 0))
    if behind:
        slot = Slot("float32", strip * width * channels)
        inner = windows_in_strip(planner, *behind[0], slot, strip, width)
        stages.append(_last(planner, *behind[0], inner, strip))
    kernel = Strips(
        head=stages[0] if middle else None,
        rows=rows if middle else None,
        depthwise=stages[middle],
        last=stages[-1] if behind else None,
        samples=samples,
        height=height,
        strip=strip,
        between=strip * width * channels,
        work=sum(op.macs for op, _ in parts),
        border=inner.border,
        lanes=planner.machine.lanes("float32"),
    )
    slots = [view.slot]
    for (_, tail), stage in zip(parts, stages, strict=True):
        slots.append(planner.constant(stage.weights))
        slots += (operand.slot for operand in tail.operands)
    finish_windows(planner, tail, "strips", kernel, inner, tuple(slots))


def _kernel(op: Conv) -> tuple[int, ...]:
    return op.w.tensor.dims[2:]


def _head(planner: Planner, op: Conv, tail: Tail, view: Windows) -> Stage:
    """One row of any convolution."""
    finish_products(op, planner, tail, view.channel_strides())
    row, tile = view.spatial_loops(tail.operands)
    return _product(planner, op, tail, view, [], tile, row)


def _last(planner: Planner, op: Conv, tail: Tail, view: Windows, strip: int) -> Stage:
    """A convolution of single positions, over the rows of a strip."""
    finish_products(op, planner, tail, view.channel_strides())
    row, tile = view.spatial_loops(tail.operands)
    lead, tile = merged_positions([replace(row, extent=strip)], tile)
    return _product(planner, op, tail, view, lead, tile, row)


def _product(
    planner: Planner,
    op: Conv,
    tail: Tail,
    view: Windows,
    lead: list[Loop],
    tile: Loop,
    row: Loop,
) -> Stage:
    weights = constant_of(op.w)
    assert weights is not None
    product = multiply_add("float32", planner.machine)
    outputs, depth = weights.shape[:2]
    blocking = choose_blocking(tile.extent, outputs, product, planner.machine, rows_together(lead))
    width = blocking.vectors * product.lanes
    packed = pack_filters(weights, 1, depth, width, -(-outputs // width), product)
    tap = depth * width
    w_strides = tuple(stride * tap for stride in contiguous(view.kernel))
    channels = Loop(depth, (0, view.channel, width))
    contraction = Contraction(
        lead=tuple(lead),
        tile=tile,
        vec=view.channel_loop(outputs, 0, 1, tail.operands),
        reduce=tuple(collapse([*view.tap_loops(w_strides), channels], 3)),
        product=product,
        blocking=blocking,
        block_stride=math.prod(view.kernel) * tap,
        root=tail.root,
    )
    return Stage(contraction, packed, view.batch_loop(tail.operands), row, view.origin)


def _depthwise(
    planner: Planner, op: Conv, tail: Tail, view: Windows, strip: int, *, near: bool
) -> Stage:
    """The rows of a strip."""
    finish_products(op, planner, tail, view.channel_strides())
    weights = constant_of(op.w)
    assert weights is not None
    channels, product = weights.shape[0], multiply_add("float32", planner.machine)
    packed = np.ascontiguousarray(weights.reshape(channels, -1).T)
    row, tile = view.spatial_loops(tail.operands)
    blocking = choose_blocking(tile.extent, channels, product, planner.machine)
    w_strides = tuple(stride * channels for stride in contiguous(view.kernel))
    contraction = Contraction(
        lead=(replace(row, extent=strip),),
        tile=tile,
        vec=view.channel_loop(channels, 1, 1, tail.operands),
        reduce=tuple(collapse(view.tap_loops(w_strides), 3)),
        product=product,
        blocking=blocking,
        block_stride=blocking.vectors * product.lanes,
        root=tail.root,
        near=near,
    )
    return Stage(contraction, packed, view.batch_loop(tail.operands), row, view.origin)
