"""Convolution and matrix multiplication, float and integer, as contractions."""

import math
from dataclasses import replace

import numpy as np

from mcc.ir import Array, Value, constant_of
from mcc.ops import Conv, Matmul

from ..blocking import Blocking
from ..plan import Planner
from ..registry import Strides, contiguous, lower
from ..storage import Slot, stored
from ..tail import Node, Tail, apply
from ..tir import Expr, Writer
from .border import padded
from .choice import candidate_blockings, choose_passes, is_cold
from .contract import Contraction
from .elementwise import strided_copy
from .loops import Loop, collapse
from .matrices import Matrices, lead_strides
from .positions import merged_positions, rows_together
from .products import Dots, Product, correction, multiply_add, product_of
from .pruned import sparse_conv, sparse_matmul
from .scalar import clamp
from .splitting import split_conv, split_matmul
from .taps import LEAST_CHANNELS, TapDots, channel_runs, pack_taps, tap_offsets
from .tile_blocking import SHORT
from .tiled import short_operand, tile_product, tiled_conv, tiled_matmul
from .windows import Windows, finish_windows, windows_of
from .winograd_conv import winograd_conv


@lower(Conv, fuses=True)
def conv(op: Conv, planner: Planner, tail: Tail) -> None:
    kernel = op.w.tensor.dims[2:]
    per_group, outputs = op.w.tensor.dims[1], op.w.tensor.dims[0] // op.groups
    result = stored(op.result.tensor.dtype)
    weights = constant_of(op.w)
    machine = planner.machine
    if per_group == 1 and outputs == 1:
        view = windows_of(planner, op, tail, kernel, op.pad_value, channels_last=True)
        if not _tap_dots(op, planner, tail, view, weights):
            _depthwise(op, planner, tail, view, multiply_add(result, machine))
        return
    if (short := short_operand(op, machine)) is not None:
        _short_conv(op, planner, tail, *short)
        return
    product = product_of(
        op.x.tensor.dtype,
        op.w.tensor.dtype,
        result,
        machine,
        constant_w=weights is not None and (op.groups == 1 or per_group % 4 == 0),
    )
    view = windows_of(
        planner,
        op,
        tail,
        kernel,
        op.pad_value,
        channels_last=product.step > 1,
        channel_multiple=product.step if op.groups == 1 else 1,
    )
    along = view.channel_strides()
    finish_products(op, planner, tail, along)
    depth = view.channels // op.groups
    if weights is not None:
        bytes_ = tile_product(op.x, op.w, machine)
        if tiled_conv(op, planner, tail, view, bytes_, product, weights):
            return
        # Where both apply, a quarter of the multiplications beats faster ones.
        if winograd_conv(op, planner, tail, view, product, weights):
            return
        if split_conv(op, planner, tail, view, product, weights):
            return
        if sparse_conv(op, planner, tail, view, product, weights):
            return
        rows = weights.reshape(weights.shape[0], -1)
        _add_correction(planner, tail, correction(product, rows), along)
    # The weights' stride is known once they are packed; it only matters that it is not 0.
    lead, tile = view.positions(op.groups, per_group, outputs, tail.operands)
    together, cold = rows_together(lead), is_cold(weights)
    candidates = candidate_blockings(tile.extent, outputs, product, machine, together, cold=cold)
    blocking = planner.choose(op, candidates)
    width = blocking.vectors * product.lanes
    count = math.prod(kernel)
    if weights is not None:
        blocks = -(-outputs // width)
        packed = pack_filters(weights, op.groups, depth, width, blocks, product)
        w = planner.constant(product.packed(packed))
        deep, block = width * product.step, count * depth * width
        group = blocks * block
    else:
        w = _channels_last_weights(planner, op)
        deep, block = outputs, width
        group = count * depth * outputs
    tap = deep * (depth // product.step)
    w_strides = tuple(stride * tap for stride in contiguous(kernel))
    channels = Loop(depth // product.step, (0, view.channel * product.step, deep))
    reduce = tuple(collapse([*view.tap_loops(w_strides), channels], 3))
    contraction = Contraction(
        lead=tuple(loop.with_stride(2, group) if loop.strides[2] else loop for loop in lead),
        tile=tile,
        vec=view.channel_loop(outputs, 0, 1, tail.operands),
        reduce=reduce,
        product=product,
        blocking=in_parts(blocking, tail, product, reduce, block)
        if w.data is not None
        else blocking,
        block_stride=block,
        root=tail.root,
        origin=view.origin,
        border=view.border,
    )
    finish_windows(
        planner, tail, "conv", contraction, view, (view.slot, w), in_place=contraction.in_place
    )


def _short_conv(op: Conv, planner: Planner, tail: Tail, x: Value, weights: Array) -> None:
    """A convolution of bfloat16 with sums in float32."""
    multiple = SHORT.unit if op.groups == 1 else 1
    kernel = op.w.tensor.dims[2:]
    view = windows_of(
        planner,
        op,
        tail,
        kernel,
        0,
        channels_last=True,
        channel_multiple=multiple,
        source=x,
    )
    finish_products(op, planner, tail, view.channel_strides())
    if not tiled_conv(op, planner, tail, view, SHORT, None, weights):
        raise AssertionError("a convolution of bfloat16 was promised a kernel")


def in_parts(
    blocking: Blocking, tail: Tail, product: Product, reduce: tuple[Loop, ...], block: int
) -> Blocking:
    """The blocking with as many passes as the cache wants, where sums can wait in the result."""
    dtype = stored(tail.value.tensor.dtype)
    if dtype != product.dtype or dtype != "float32":
        return blocking
    return replace(blocking, passes=choose_passes(reduce, 4 * block))


def pack_filters(
    weights: Array, groups: int, depth: int, width: int, blocks: int, product: Product
) -> Array:
    """[O, C, *K] as [group, block, tap, C / step, width, step]: in the order of use."""
    outputs, per_group = weights.shape[0] // groups, weights.shape[1]
    count = math.prod(weights.shape[2:])
    full = np.zeros((groups, blocks * width, depth, count), weights.dtype)
    full[:, :outputs, :per_group] = weights.reshape(groups, outputs, per_group, count)
    split = full.reshape(groups, blocks, width, depth // product.step, product.step, count)
    return np.ascontiguousarray(split.transpose(0, 1, 5, 3, 2, 4))


def _channels_last_weights(planner: Planner, op: Conv) -> Slot:
    """Weights that are computed, as [group, tap, C, O / groups]."""
    outputs, per_group = op.w.tensor.dims[0] // op.groups, op.w.tensor.dims[1]
    count = math.prod(op.w.tensor.dims[2:])
    shape = (op.groups, count, per_group, outputs)
    strides = (outputs * per_group * count, 1, count, per_group * count)
    return strided_copy(planner, planner.slot(op.w), shape, strides, name="pack")


def _depthwise(op: Conv, planner: Planner, tail: Tail, view: Windows, product: Product) -> None:
    """One input channel for each output channel: vectors run along both alike."""
    finish_products(op, planner, tail, view.channel_strides())
    channels, kernel = op.w.tensor.dims[0], view.kernel
    count = math.prod(kernel)
    weights = constant_of(op.w)
    if weights is not None:
        w = planner.constant(np.ascontiguousarray(weights.reshape(channels, count).T))
    else:
        w = strided_copy(planner, planner.slot(op.w), (count, channels), (1, count), name="pack")
    *rows, tile = view.spatial_loops(tail.operands)
    lead, tile = merged_positions([view.batch_loop(tail.operands), *rows], tile)
    candidates = candidate_blockings(tile.extent, channels, product, planner.machine)
    blocking = planner.choose(op, candidates)
    w_strides = tuple(stride * channels for stride in contiguous(kernel))
    contraction = Contraction(
        lead=tuple(lead),
        tile=tile,
        vec=view.channel_loop(channels, view.channel, 1, tail.operands),
        reduce=tuple(collapse(view.tap_loops(w_strides), 3)),
        product=product,
        blocking=blocking,
        block_stride=blocking.vectors * product.lanes,
        root=tail.root,
        origin=view.origin,
        border=view.border,
    )
    finish_windows(
        planner, tail, "depthwise", contraction, view, (view.slot, w), in_place=contraction.in_place
    )


def _tap_dots(op: Conv, planner: Planner, tail: Tail, view: Windows, weights: Array | None) -> bool:
    """A depthwise convolution of bytes by dot products, where the processor has them."""
    result = stored(op.result.tensor.dtype)
    dtypes = (op.x.tensor.dtype, op.w.tensor.dtype)
    product = product_of(*dtypes, result, planner.machine, constant_w=weights is not None)
    channels = view.channels
    if weights is None or not isinstance(product, Dots) or channels < LEAST_CHANNELS:
        return False
    if view.channel != 1:
        return False
    along = view.channel_strides()
    rows = weights.reshape(channels, -1)
    finish_products(op, planner, tail, along)
    _add_correction(planner, tail, correction(product, rows), along)
    *outer, tile = view.spatial_loops(tail.operands)
    lead, tile = merged_positions([view.batch_loop(tail.operands), *outer], tile)
    runs = channel_runs(channels, product.lanes)
    kernel = TapDots(
        lead=tuple(loop for loop in lead if loop.extent > 1),
        tile=tile,
        channels=view.channel_loop(channels, 1, 0, tail.operands),
        taps=tap_offsets(view.tap_loops((0,) * len(view.kernel))),
        runs=tuple(runs),
        product=product,
        root=tail.root,
        origin=view.origin,
        border=view.border,
    )
    inputs = (view.slot, planner.constant(pack_taps(rows, runs)))
    finish_windows(planner, tail, "depthwise", kernel, view, inputs, in_place=kernel.in_place)
    return True


@lower(Matmul, fuses=True)
def matmul(op: Matmul, planner: Planner, tail: Tail) -> None:
    weights = constant_of(op.w)
    machine = planner.machine
    if (short := short_operand(op, machine)) is not None:
        _short_matmul(op, planner, tail, *short)
        return
    product = product_of(
        op.x.tensor.dtype,
        op.w.tensor.dtype,
        stored(op.result.tensor.dtype),
        machine,
        constant_w=weights is not None,
    )
    view = Matrices.of(op, product.step)
    source = _with_depth(planner, op.x, view)
    depth, columns = view.x[-1], view.columns
    finish_products(op, planner, tail, view.column_strides())
    if weights is not None:
        matrices = weights.reshape(view.w)
        bytes_ = tile_product(op.x, op.w, machine)
        if tiled_matmul(op, planner, tail, view, bytes_, product, source, matrices):
            return
        if split_matmul(op, planner, tail, view, product, source, matrices):
            return
        if sparse_matmul(op, planner, tail, view, product, source, matrices):
            return
        _matmul_correction(planner, tail, product, matrices, view)

    _, tile = view.positions(tail.operands, 1)
    cold = is_cold(weights)
    candidates = candidate_blockings(tile.extent, columns, product, machine, cold=cold)
    blocking = planner.choose(op, candidates)
    width = blocking.vectors * product.lanes
    if weights is not None:
        blocks = -(-columns // width)
        packed = _pack_matrix(weights.reshape(view.w), depth, width, blocks, product)
        slot = planner.constant(product.packed(packed))
        deep, block = width * product.step, depth * width
        unit = blocks * block
    else:
        slot = planner.slot(op.w)
        deep, block, unit = columns, width, view.w[-2] * columns
    lead, tile = view.positions(tail.operands, unit)
    reduce = (Loop(depth // product.step, (0, product.step, deep)),)
    contraction = Contraction(
        lead=tuple(lead),
        tile=tile,
        vec=view.vectors(tail.operands),
        reduce=reduce,
        product=product,
        blocking=in_parts(blocking, tail, product, reduce, block)
        if slot.data is not None
        else blocking,
        block_stride=block,
        root=tail.root,
    )
    planner.finish(tail, "matmul", contraction, (source, slot), in_place=contraction.in_place)


def _with_depth(planner: Planner, x: Value, view: Matrices) -> Slot:
    """X with as many columns as a view has it."""
    dims = x.tensor.dims if x.tensor.rank > 1 else (1, *x.tensor.dims)
    none = (0,) * (len(dims) - 1)
    return padded(planner, planner.slot(x), dims, (*none, 0), (*none, view.x[-1] - dims[-1]), 0)


def _short_matmul(op: Matmul, planner: Planner, tail: Tail, x: Value, weights: Array) -> None:
    """A matrix product of bfloat16 with sums in float32."""
    view = Matrices.of(op, SHORT.unit)
    source = _with_depth(planner, x, view)
    finish_products(op, planner, tail, view.column_strides())
    matrices = weights.reshape(view.w)
    if not tiled_matmul(op, planner, tail, view, SHORT, None, source, matrices):
        raise AssertionError("a product of bfloat16 was promised a kernel")


def _pack_matrix(weights: Array, depth: int, width: int, blocks: int, product: Product) -> Array:
    """[..., K, N] as [..., block, K / step, width, step], padded with zeros."""
    lead = weights.shape[:-2]
    full = np.zeros((*lead, depth, blocks * width), weights.dtype)
    full[..., : weights.shape[-2], : weights.shape[-1]] = weights
    count = math.prod(lead)
    split = full.reshape(count, depth // product.step, product.step, blocks, width)
    return np.ascontiguousarray(split.transpose(0, 3, 1, 4, 2))


def _matmul_correction(
    planner: Planner, tail: Tail, product: Product, weights: Array, view: Matrices
) -> None:
    depth, columns = weights.shape[-2:]
    rows = weights.swapaxes(-1, -2).reshape(math.prod(weights.shape[:-2]) * columns, depth)
    strides = [0] * len(tail.shape)
    strides[: view.lead_rank] = lead_strides((*weights.shape[:-2], 1, columns), view.lead_rank)
    if view.column_axis is not None:
        strides[view.column_axis] = 1
    _add_correction(planner, tail, correction(product, rows), tuple(strides))


def _add_correction(planner: Planner, tail: Tail, addend: Array | None, strides: Strides) -> None:
    if addend is not None:
        leaf = tail.add_operand(planner.constant(addend), strides)
        tail.graft(lambda anchor: apply(_plus, anchor, leaf))


def _plus(writer: Writer, a: Expr, b: Expr) -> Expr:
    return a + b


def finish_products(op: Conv | Matmul, planner: Planner, tail: Tail, along: Strides) -> None:
    """Bias, residual and clamp, before what was fused behind the op."""

    def operand(value: Value, strides: Strides) -> Node:
        return tail.add_operand(planner.slot(value), strides)

    b = operand(op.b, along) if op.b is not None else None
    r = operand(op.r, contiguous(tail.shape)) if op.r is not None else None
    k = operand(op.k, along) if op.k is not None else None

    def residual(writer: Writer, total: Expr, value: Expr, *factor: Expr) -> Expr:
        return total + (value.cast("int32") * factor[0] if factor else value)

    def clamped(writer: Writer, total: Expr) -> Expr:
        return clamp(total, op.lo, op.hi)

    def grow(anchor: Node) -> Node:
        node = anchor
        if b is not None:
            node = apply(_plus, node, b)
        if r is not None:
            node = apply(residual, node, r) if k is None else apply(residual, node, r, k)
        if op.lo > -math.inf or op.hi < math.inf:
            node = apply(clamped, node)
        return node

    tail.graft(grow)
