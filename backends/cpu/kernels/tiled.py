"""Convolutions and matrix products of bytes, in tile registers where that is faster."""

import math

import ml_dtypes
import numpy as np

from mcc.ir import Array, DType, Value, constant_of
from mcc.ops import Conv, Matmul
from mcc.passes import is_rounded

from ..machine import Machine
from ..plan import Planner
from ..registry import contiguous
from ..storage import Slot
from ..tail import Tail
from .choice import contraction_cycles
from .loops import Loop, collapse
from .matrices import Matrices
from .products import Product
from .tile_blocking import (
    LANES,
    SHORT,
    SIGNED,
    UNSIGNED,
    TileBlocking,
    TileProduct,
    choose_tile_blocking,
    pack_tiles,
    tile_candidates,
    tile_cycles,
    unit_order,
)
from .tiles import TileContraction
from .windows import Windows, finish_windows


def tile_product(x: Value, w: Value, machine: Machine) -> TileProduct | None:
    """What multiplies operands of these types in tile registers."""
    if not machine.amx_int8 or w.tensor.dtype is not DType.I8:
        return None
    return {DType.I8: SIGNED, DType.U8: UNSIGNED}.get(x.tensor.dtype)


def short_operand(op: Conv | Matmul, machine: Machine) -> tuple[Value, Array] | None:
    """X and the weights as bfloat16, where a product's operands are no more than that."""
    weights = constant_of(op.w)
    if not machine.amx_bf16 or not is_rounded(op.x) or weights is None:
        return None
    if not weights.size or not op.result.tensor.size:
        return None
    if isinstance(op, Conv) and op.groups > 1 and weights.shape[1] % SHORT.unit:
        return None
    short = weights.astype(ml_dtypes.bfloat16)
    if not np.array_equal(short.astype(np.float32), weights, equal_nan=True):
        return None
    assert op.x.op is not None
    return op.x.op.operands[0], short.view(np.uint16)


def _blocking(
    op: Conv | Matmul,
    planner: Planner,
    lead: list[Loop],
    tile: Loop,
    results: int,
    taps: int,
    run: int,
    other: Product | None,
) -> TileBlocking | None:
    """How to block in tiles; None where vectors (`other`) are faster. `run` is in units."""
    rows = next((loop.extent for loop in reversed(lead) if not loop.strides[2]), 1)
    blocking = choose_tile_blocking(tile.extent, rows, results, run)
    if other is None:
        return blocking
    mine = tile_cycles(blocking, tile.extent, results, taps, run)
    if mine >= contraction_cycles(tile.extent, results, taps * run, other, planner.machine):
        return None
    found = {item.record: item for item in tile_candidates(tile.extent, rows, results, taps, run)}
    return found[planner.choose(op, list(found), tiles=True)]


def tiled_conv(
    op: Conv,
    planner: Planner,
    tail: Tail,
    view: Windows,
    product: TileProduct | None,
    other: Product | None,
    weights: Array,
) -> bool:
    """Write the kernel, unless `other` does it faster with vectors."""
    outputs, per_group = weights.shape[0] // op.groups, weights.shape[1]
    if product is None or 0 in tail.shape or view.channel != 1:
        return False
    depth = view.channels // op.groups
    if depth % product.unit:
        return False
    lead, tile = view.positions(op.groups, per_group, outputs, tail.operands)
    # [group, output, *taps, channel], and loops over taps and channels that merge where they can.
    rows = weights.reshape(op.groups, outputs, per_group, *view.kernel)
    rows = np.moveaxis(rows, 2, -1)
    rows = np.concatenate([rows, np.zeros((*rows.shape[:-1], depth - per_group), rows.dtype)], -1)
    order = contiguous(rows.shape[2:])
    loops = collapse([*view.tap_loops(order[:-1]), Loop(depth, (0, 1, 1))], 3)
    if loops[-1].strides != (0, 1, 1):
        return False
    *taps, inner = loops
    run, count = inner.extent // product.unit, math.prod(loop.extent for loop in taps)
    blocking = _blocking(op, planner, lead, tile, outputs, count, run, other)
    if blocking is None:
        return False
    units = unit_order(run, blocking)
    width = blocking.columns * LANES
    runs = rows.reshape(op.groups, outputs, count, inner.extent).transpose(0, 2, 3, 1)
    # [group, block, tap, row, width, unit]
    packed = pack_tiles(runs, units, product, width).swapaxes(1, 2)
    step = len(units) * width * product.unit
    group = packed[0].size
    steps = contiguous(tuple(loop.extent for loop in taps))
    contraction = TileContraction(
        lead=tuple(loop.with_stride(2, group) if loop.strides[2] else loop for loop in lead),
        tile=tile,
        vec=view.channel_loop(outputs, 0, 1, tail.operands),
        taps=tuple(
            loop.with_stride(2, number * step) for loop, number in zip(taps, steps, strict=True)
        ),
        run=run,
        product=product,
        blocking=blocking,
        block_stride=count * step,
        root=tail.root,
        origin=view.origin,
        border=view.border,
    )
    inputs = (view.slot, planner.constant(packed), planner.constant(blocking.config()))
    planner.require("amx_tile", product.flag)
    finish_windows(planner, tail, "conv", contraction, view, inputs)
    return True


def tiled_matmul(
    op: Matmul,
    planner: Planner,
    tail: Tail,
    view: Matrices,
    product: TileProduct | None,
    other: Product | None,
    source: Slot,
    weights: Array,
) -> bool:
    """The same for a product with constant weights [..., K, N]; `source` has its depth padded."""
    if product is None or 0 in tail.shape or view.x[-1] % product.unit or not view.x[-1]:
        return False
    run = view.x[-1] // product.unit
    lead, tile = view.positions(tail.operands, 1)
    blocking = _blocking(op, planner, lead, tile, view.columns, 1, run, other)
    if blocking is None:
        return False
    width = blocking.columns * LANES
    filled = np.zeros((*weights.shape[:-2], view.x[-1], view.columns), weights.dtype)
    filled[..., : weights.shape[-2], :] = weights
    packed = pack_tiles(filled, unit_order(run, blocking), product, width)
    matrix = math.prod(packed.shape[-4:])
    lead, tile = view.positions(tail.operands, matrix)
    contraction = TileContraction(
        lead=tuple(lead),
        tile=tile,
        vec=view.vectors(tail.operands),
        taps=(),
        run=run,
        product=product,
        blocking=blocking,
        block_stride=math.prod(packed.shape[-3:]),
        root=tail.root,
    )
    inputs = (source, planner.constant(packed), planner.constant(blocking.config()))
    planner.require("amx_tile", product.flag)
    planner.finish(tail, "matmul", contraction, inputs)
    return True
