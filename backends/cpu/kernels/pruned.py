"""Convolutions and matrix products whose weights are mostly blocks of zeros."""

import itertools
import math

import numpy as np

from mcc.ir import Array
from mcc.ops import Conv, Matmul

from ..machine import Machine
from ..plan import Planner
from ..storage import Slot
from ..tail import Tail
from .choice import contraction_cycles
from .loops import Loop
from .matrices import Matrices
from .positions import X
from .products import Product
from .sparse import Blocks, SparseContraction, choose_rows, sparse_cycles
from .windows import Windows, finish_windows

_MOST = 0.7
"""Of all blocks: with more of them left the lists are no shorter to read than the weights."""


def _worth_it(
    blocks: Blocks, tile: int, weights: Array, product: Product, planner: Planner
) -> bool:
    depth, results = weights.shape
    if blocks.count > _MOST * depth * len(blocks.begins[1:]):
        return False
    dense = contraction_cycles(tile, results, depth, product, planner.machine)
    return sparse_cycles(tile, blocks.count, planner.machine) < dense


def pruned_cycles(weights: Array, tile: int, machine: Machine) -> float:
    """Cycles for `tile` positions by lists of what is not zero; infinite where nothing is pruned.

    Args:
        weights: [depth, results].
        tile: Positions in a row.
        machine: What computes.
    """
    blocks = Blocks.of(weights)
    if blocks.count > _MOST * len(weights) * len(blocks.begins[1:]):
        return math.inf
    return sparse_cycles(tile, blocks.count, machine)


def _inputs(planner: Planner, x: Slot, blocks: Blocks, offsets: Array) -> tuple[Slot, ...]:
    found = offsets[blocks.elements].astype(np.int32)
    return (
        x,
        planner.constant(blocks.values),
        planner.constant(found),
        planner.constant(blocks.begins),
    )


def sparse_conv(
    op: Conv, planner: Planner, tail: Tail, view: Windows, product: Product, weights: Array
) -> bool:
    """Write the kernel, where enough of the weights are zeros to be faster than all of them."""
    if op.groups > 1 or product.dtype != "float32" or 0 in tail.shape:
        return False
    outputs, per_group = op.w.tensor.dims[:2]
    # [taps and channels, outputs]
    matrix = np.moveaxis(weights, (0, 1), (-1, -2)).reshape(-1, outputs)
    lead, tile = view.positions(1, per_group, outputs, tail.operands)
    blocks = Blocks.of(matrix)
    if not _worth_it(blocks, tile.extent, matrix, product, planner):
        return False
    steps = [loop.strides[1] for loop in view.tap_loops((0,) * len(view.kernel))]
    taps = [
        sum(i * step for i, step in zip(tap, steps, strict=True))
        for tap in itertools.product(*(range(extent) for extent in view.kernel))
    ]
    channels: Array = np.arange(per_group) * view.channel
    offsets: Array = (np.asarray(taps)[:, None] + channels).reshape(-1)
    kernel = SparseContraction(
        lead=tuple(lead),
        tile=tile,
        vec=view.channel_loop(outputs, 0, 0, tail.operands),
        rows=choose_rows(tile.extent, planner.machine, tile.strides[X]),
        lanes=min(16, product.lanes),
        work=blocks.count,
        root=tail.root,
        origin=view.origin,
        border=view.border,
    )
    inputs = _inputs(planner, view.slot, blocks, offsets)
    finish_windows(planner, tail, "sparse_conv", kernel, view, inputs, in_place=True)
    return True


def sparse_matmul(
    op: Matmul,
    planner: Planner,
    tail: Tail,
    view: Matrices,
    product: Product,
    source: Slot,
    weights: Array,
) -> bool:
    """The same for a matrix product; weights [..., K, N] with a single matrix."""
    if product.dtype != "float32" or 0 in tail.shape or math.prod(weights.shape[:-2]) != 1:
        return False
    matrix = weights.reshape(weights.shape[-2:])
    lead, tile = view.positions(tail.operands, 0)
    blocks = Blocks.of(matrix)
    if not _worth_it(blocks, tile.extent, matrix, product, planner):
        return False
    kernel = SparseContraction(
        lead=tuple(lead),
        tile=tile,
        vec=_still(view.vectors(tail.operands)),
        rows=choose_rows(tile.extent, planner.machine, tile.strides[X]),
        lanes=min(16, product.lanes),
        work=blocks.count,
        root=tail.root,
    )
    inputs = _inputs(planner, source, blocks, np.arange(view.w[-2]))
    planner.finish(tail, "sparse_matmul", kernel, inputs, in_place=True)
    return True


def _still(vec: Loop) -> Loop:
    """A loop that does not move in the weights: lists are found by their number."""
    return vec.with_stride(2, 0)
