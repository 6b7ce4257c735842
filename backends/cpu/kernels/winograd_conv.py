"""Float 3 x 3 convolutions by Winograd's algorithm, where that is faster."""

import math

import numpy as np

from mcc.ir import Array
from mcc.ops import Conv

from ..machine import Machine
from ..plan import Planner
from ..storage import Slot
from ..tail import Tail
from .choice import StripChoice, choose_strips, contraction_cycles
from .loops import PARALLEL_MOVES, PARALLEL_WORK
from .products import Product
from .pruned import pruned_cycles
from .toom_cook import FOUR, TAPS, TWO
from .windows import Windows, finish_windows
from .winograd import Winograd
from .winograd_tiles import Tiles, TransformTiles

_FILTERINGS = (FOUR, TWO)
_STACK = 256 * 1024
"""Bytes of transformed tiles that a task may keep on its stack."""
_STRIPS = 8
"""With fewer of them threads would share the work unevenly."""
_GAIN = 0.9
"""Of the direct convolution's cycles; the transformed weights take more memory, too."""
_LARGEST = 2.0**60
"""A larger weight could make its transform infinite."""


def winograd_conv(
    op: Conv, planner: Planner, tail: Tail, view: Windows, product: Product, weights: Array
) -> bool:
    """Write the kernels, where they are expected to be faster than the direct convolution."""
    choice = _choose(op, planner.machine, tail, view, product, weights)
    if choice is None:
        return False
    filtering, lanes = choice.filtering, product.lanes
    outputs, channels = weights.shape[:2]
    operands = tail.operands
    rows, columns = view.spatial_loops(operands)
    batch = view.batch_loop(operands)
    tiles = Tiles(filtering, batch, rows, columns, channels, lanes, choice.strip)
    bytes_ = 4 * choice.strip * tiles.numbers * channels
    fused = tiles.count >= _STRIPS * choice.strip and bytes_ <= _STACK
    kernel = Winograd(
        tiles=tiles,
        vec=view.channel_loop(outputs, 0, 0, operands),
        vectors=choice.vectors,
        fused=fused,
        # Fewer are done before another core has fetched what this one has transformed.
        parallel=tiles.count * tiles.numbers * channels * outputs >= 2 * PARALLEL_WORK,
        root=tail.root,
        origin=view.origin,
        border=view.border,
    )
    transformed = filtering.transformed_filters(weights).astype(np.float32)
    w, u = (planner.constant(_pack(w, lanes, choice.vectors)) for w in (weights, transformed))
    inputs: tuple[Slot, ...] = (view.slot, w, u)
    if not fused:
        size = tiles.count * tiles.numbers * channels
        transform = TransformTiles(tiles, parallel=size >= PARALLEL_MOVES)
        inputs += (planner.call("winograd_tiles", transform, (view.slot,), "float32", size),)
    finish_windows(planner, tail, "winograd", kernel, view, inputs, in_place=True)
    return True


def _choose(
    op: Conv, machine: Machine, tail: Tail, view: Windows, product: Product, weights: Array
) -> StripChoice | None:
    """None where the kernel does not apply or is not expected to beat the direct convolution."""
    outputs, channels = weights.shape[:2]
    if (
        view.kernel != (TAPS, TAPS)
        or any(step != 1 for step in (*view.strides, *view.dilations))
        or op.groups > 1
        or product.dtype != "float32"
        or (view.channel, view.y[view.channel_axis]) != (1, 1)
        or channels % product.lanes
        or outputs % product.lanes
        or 0 in tail.shape
        or not (np.abs(weights) < _LARGEST).all()
    ):
        return None
    images, high, wide = (tail.shape[axis] for axis in (0, *view.spatial_axes))
    choices = [
        choose_strips(
            filtering,
            images * -(-high // filtering.results) * -(-wide // filtering.results),
            channels,
            outputs,
            product,
            machine,
        )
        for filtering in _FILTERINGS
        if min(high, wide) >= filtering.results
    ]
    lead, tile = view.positions(1, channels, outputs, tail.operands)
    lines = math.prod(loop.extent for loop in lead)
    direct = lines * contraction_cycles(
        tile.extent, outputs, TAPS * TAPS * channels, product, machine
    )
    best = min(choices, key=lambda choice: choice.cycles, default=None)
    if best is None or best.cycles >= _GAIN * direct:
        return None
    matrix = np.moveaxis(weights, (0, 1), (-1, -2)).reshape(-1, outputs)
    pruned = lines * pruned_cycles(matrix, tile.extent, machine)
    return best if best.cycles < pruned else None


def _pack(weights: Array, lanes: int, vectors: int) -> Array:
    """[O, C, rows, columns] as [block of vectors, row and column, C, result]."""
    outputs, channels = weights.shape[:2]
    whole = outputs // (lanes * vectors) * lanes * vectors
    parts = [weights[:whole].reshape(-1, vectors * lanes, channels, weights[0, 0].size)]
    if whole < outputs:
        parts.append(weights[whole:].reshape(1, outputs - whole, channels, weights[0, 0].size))
    return np.concatenate([part.transpose(0, 3, 2, 1).reshape(-1) for part in parts])
