"""Convolutions and matrix products of floats in tile registers, where that is faster."""

import math

import numpy as np

from mcc.ir import Array
from mcc.ops import Conv, Matmul

from ..machine import Machine
from ..plan import Planner
from ..registry import contiguous
from ..storage import Slot, stored
from ..tail import Tail
from .choice import contraction_cycles
from .loops import Loop, collapse
from .matrices import Matrices
from .parts import can_split
from .positions import rows_together
from .products import Product
from .pruned import pruned_cycles
from .split import SplitContraction
from .split_blocking import (
    LEAST_RUN,
    SplitBlocking,
    choose_split_blocking,
    pack_parts,
    split_cycles,
)
from .tile_blocking import SHORT
from .windows import Windows, finish_windows

_COLD_WEIGHT = 0.3
"""Cycles that the vector kernel waits for a weight from beyond the second-level cache."""


def _may_split(weights: Array, product: Product, tail: Tail, machine: Machine) -> bool:
    return (
        machine.amx_bf16
        and product.dtype == "float32"
        and weights.dtype == np.float32
        and 0 not in tail.shape
        and can_split(weights)
    )


def _blocking(
    lead: list[Loop],
    tile: Loop,
    results: int,
    taps: int,
    run: int,
    weights: Array,
    tail: Tail,
    other: Product,
    machine: Machine,
) -> SplitBlocking | None:
    """How to block in tiles; None where vectors are faster, by `other` or by lists of blocks.

    Args:
        lead: Loops around a tile.
        tile: Positions in a row.
        results: At each position.
        taps: Of which each has a run.
        run: Elements side by side.
        weights: [matrix, depth, results].
        tail: What is computed on the sums.
        other: What vectors would do.
        machine: For which.
    """
    if run < LEAST_RUN:
        return None
    waits = stored(tail.value.tensor.dtype) == "float32"
    around, positions = _by_weights(lead, tile)
    count = math.prod(loop.extent for loop in positions)
    blocking = choose_split_blocking(count, results, taps, run, passes=waits)
    matrices = math.prod(loop.extent for loop in around)
    mine = split_cycles(blocking, matrices, count, results, run)
    depth, lines = taps * run, matrices * count // tile.extent
    together = rows_together(lead)
    theirs = lines * contraction_cycles(tile.extent, results, depth, other, machine, together)
    theirs += _COLD_WEIGHT * matrices * results * depth
    if len(weights) == 1:
        theirs = min(theirs, lines * pruned_cycles(weights[0], tile.extent, machine))
    return blocking if mine < theirs else None


def _by_weights(lead: list[Loop], tile: Loop) -> tuple[list[Loop], list[Loop]]:
    """Loops with weights of their own, and the others."""
    shared = [loop for loop in lead if not loop.strides[2]]
    return (
        [loop for loop in lead if loop.strides[2]],
        collapse([*shared, tile], len(tile.strides)),
    )


def split_conv(
    op: Conv, planner: Planner, tail: Tail, view: Windows, other: Product, weights: Array
) -> bool:
    """Write the kernel, unless vectors are faster: by `other` or by lists of blocks."""
    if view.channel != 1 or not _may_split(weights, other, tail, planner.machine):
        return False
    outputs, depth = weights.shape[0] // op.groups, weights.shape[1]
    lead, tile = view.positions(op.groups, depth, outputs, tail.operands)
    rows = weights.reshape(op.groups, outputs, depth, *view.kernel)
    rows = np.moveaxis(rows, 2, -1)  # [group, output, *taps, channel]
    order = contiguous(rows.shape[2:])
    loops = collapse([*view.tap_loops(order[:-1]), Loop(depth, (0, 1, 1))], 3)
    if loops[-1].strides != (0, 1, 1):
        return False
    *taps, inner = loops
    count = math.prod(loop.extent for loop in taps)
    around, positions = _by_weights(lead, tile)
    runs = rows.reshape(op.groups, outputs, count, inner.extent).transpose(0, 2, 3, 1)
    matrices = runs.reshape(op.groups, -1, outputs)
    blocking = _blocking(
        lead,
        tile,
        outputs,
        count,
        inner.extent,
        matrices,
        tail,
        other,
        planner.machine,
    )
    if blocking is None:
        return False
    packed = pack_parts(runs, blocking)
    contraction = SplitContraction(
        lead=tuple(loop.with_stride(2, packed[0].size) for loop in around),
        positions=tuple(positions),
        vec=view.channel_loop(outputs, 0, 1, tail.operands),
        taps=tuple(taps),
        run=inner.extent,
        blocking=blocking,
        root=tail.root,
        origin=view.origin,
        border=view.border,
    )
    inputs = (view.slot, planner.constant(packed), planner.constant(blocking.tile.config()))
    planner.require("amx_tile", SHORT.flag)
    finish_windows(
        planner, tail, "split_conv", contraction, view, inputs, in_place=contraction.in_place
    )
    return True


def split_matmul(
    op: Matmul,
    planner: Planner,
    tail: Tail,
    view: Matrices,
    other: Product,
    source: Slot,
    weights: Array,
) -> bool:
    """The same for a product with constant weights [..., K, N]."""
    if not _may_split(weights, other, tail, planner.machine):
        return False
    depth, columns = weights.shape[-2:]
    lead, tile = view.positions(tail.operands, 1)
    _, positions = _by_weights(lead, tile)
    matrices = weights.reshape(-1, depth, columns)
    blocking = _blocking(lead, tile, columns, 1, depth, matrices, tail, other, planner.machine)
    if blocking is None:
        return False
    packed = pack_parts(matrices[:, None], blocking)
    lead, tile = view.positions(tail.operands, packed[0].size)
    contraction = SplitContraction(
        lead=tuple(_by_weights(lead, tile)[0]),
        positions=tuple(positions),
        vec=view.vectors(tail.operands),
        taps=(),
        run=depth,
        blocking=blocking,
        root=tail.root,
    )
    inputs = (source, planner.constant(packed), planner.constant(blocking.tile.config()))
    planner.require("amx_tile", SHORT.flag)
    planner.finish(tail, "split_matmul", contraction, inputs, in_place=contraction.in_place)
    return True
