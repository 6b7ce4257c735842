"""Cross-layer equalization.

Channels of one tensor made equally large, so that they can share one weight scale.

Nagel et al. 2019, «Data-free quantization through weight equalization and bias correction», section
4.1: between two products with only a relu between them, a positive factor for each channel can move
from one to the other.
"""

import math
from collections.abc import Iterable

import numpy as np

from mcc.ir import Array, Module, Op, Rewriter, Value, constant, constant_of, evaluate
from mcc.ops import Conv, Matmul

from .clone import with_operands
from .products import rows_of
from .ranges import Feeds

ROUNDS = 20
"""Chains of products come to rest within some rounds: a factor moves one product a round."""

SETTLED = 1e-3
"""Factors whose logarithm is below it end the search."""

LARGEST_FACTOR = 4.0
"""A channel that is divided by more loses as an activation what its weights win.

Of 1, 2, 4 and no limit, the best sum of signal-to-noise ratios of the logits over the calibration
inputs of four models (ResNet-8, DS-CNN, MobileNet VWW, the autoencoder).
"""

SMALLEST_FACTOR = 2.0**-6
"""A channel that hardly ever wakes is not blown up beyond all that the samples show."""


def equalize(module: Module, samples: Iterable[Feeds]) -> int:
    """Move factors between neighbouring products of a float module, in place.

    Returns how many pairs there are.

    The module computes the same function. The tensors between the products are no longer those of
    the ONNX model, and are renamed `T.equalized`.

    Args:
        module: A float module after the passes that fold and fuse.
        samples: Feeds that show how large each channel gets. No channel grows beyond the largest
            one of its tensor, since activations share a scale too.
    """
    pairs = [pair for op in module.body if (pair := _pair(op)) is not None]
    weights: dict[Op, Array] = {}
    biases: dict[Op, Array] = {}
    products = list(dict.fromkeys(op for pair in pairs for op in pair))
    for op in products:
        array, bias = constant_of(op.w), constant_of(op.b)
        assert array is not None
        weights[op] = array.astype(np.float64)
        if bias is not None:
            biases[op] = bias.astype(np.float64)
    room = _room(module, [first for first, _ in pairs], samples)
    moved = {first: np.ones(room[first].shape) for first in room}
    for _ in range(ROUNDS):
        largest = 0.0
        for first, second in pairs:
            wanted = _factor(first, weights[first], second, weights[second])
            total = np.clip(moved[first] * wanted, room[first], LARGEST_FACTOR)
            factor, moved[first] = total / moved[first], total
            largest = max(largest, float(np.abs(np.log(factor)).max(initial=0.0)))
            weights[first] = _scaled_outputs(first, weights[first], 1 / factor)
            weights[second] = _scaled_inputs(second, weights[second], factor)
            if first in biases:
                biases[first] = biases[first] / factor
        if largest < SETTLED:
            break
    rewriter = Rewriter(module)
    renamed = {first for first, _ in pairs}
    for op in products:
        changes: dict[str, object] = {
            "w": _constant(weights[op], op.w),
            "b": _constant(biases[op], op.b) if op.b is not None and op in biases else op.b,
        }
        fresh = with_operands(op, {value: value for value in op.operands}, **changes)
        if op in renamed:
            fresh.named(f"{op.result.name}.equalized", op.nodes)
        rewriter.replace(op, fresh.result)
    return len(pairs)


def _room(
    module: Module, firsts: list[Conv | Matmul], samples: Iterable[Feeds]
) -> dict[Conv | Matmul, Array]:
    """For each product the least factor by which a channel may be divided.

    Its own size by the largest one's.
    """
    peaks: dict[Value, Array] = {}
    axes = {op.result: 1 if isinstance(op, Conv) else op.result.tensor.rank - 1 for op in firsts}

    def observe(value: Value, array: Array) -> None:
        if value in axes:
            others = tuple(axis for axis in range(array.ndim) if axis != axes[value])
            peak: Array = np.abs(array).max(others)
            peaks[value] = np.maximum(peaks[value], peak) if value in peaks else peak

    for feeds in samples:
        evaluate(module, feeds, observe)
    room: dict[Conv | Matmul, Array] = {}
    for op in firsts:
        peak = peaks[op.result]
        # A channel that no sample wakes could be anything on other inputs: it stays as it is.
        alive = peak > 0
        share = peak / max(float(peak.max()), 1e-30)
        room[op] = np.where(alive, np.maximum(share, SMALLEST_FACTOR), 1.0)
    return room


def _pair(second: Op) -> tuple[Conv | Matmul, Conv | Matmul] | None:
    """A product and the one that alone makes its input, if a factor can move between them."""
    if not isinstance(second, Conv | Matmul) or not _has_weights(second):
        return None
    first = second.x.op
    if not isinstance(first, Conv | Matmul) or not _has_weights(first):
        return None
    if type(first) is not type(second) or first.r is not None:
        return None
    homogeneous = first.lo in (0.0, -math.inf) and first.hi == math.inf
    if not homogeneous or sum(first.result.uses.values()) != 1:
        return None
    return first, second


def _has_weights(op: Conv | Matmul) -> bool:
    if constant_of(op.w) is None or (op.b is not None and constant_of(op.b) is None):
        return False
    # Weights that two products share cannot take a factor for one of them.
    return sum(op.w.uses.values()) == 1 and (isinstance(op, Conv) or op.w.tensor.rank == 2)


def _factor(first: Conv | Matmul, w1: Array, second: Conv | Matmul, w2: Array) -> Array:
    """By what each channel of `first` is divided.

    The root of the quotient of both sides' largest weights.
    """
    outputs = np.abs(rows_of(first, w1).reshape(len(rows_of(first, w1)), -1)).max(1)
    inputs = np.abs(_inputs_first(second, w2)).max(1)
    usable = (outputs > 0) & (inputs > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.sqrt(outputs / inputs)
    return np.where(usable, factor, 1.0)


def _inputs_first(op: Conv | Matmul, w: Array) -> Array:
    """Weights as [input channels, all that reads the channel]."""
    if isinstance(op, Matmul):
        return w
    outputs, per_group = w.shape[:2]
    grouped = w.reshape(op.groups, outputs // op.groups, per_group, -1)
    return grouped.transpose(0, 2, 1, 3).reshape(op.groups * per_group, -1)


def _scaled_outputs(op: Conv | Matmul, w: Array, factor: Array) -> Array:
    return w * (factor.reshape((-1,) + (1,) * (w.ndim - 1)) if isinstance(op, Conv) else factor)


def _scaled_inputs(op: Conv | Matmul, w: Array, factor: Array) -> Array:
    if isinstance(op, Matmul):
        return w * factor[:, None]
    groups = np.repeat(factor.reshape(op.groups, -1), len(w) // op.groups, axis=0)
    factors: Array = groups.reshape(*groups.shape, *(1,) * (w.ndim - 2))
    return w * factors


def _constant(array: Array, old: Value) -> Value:
    return constant(array.astype(np.float32), old.name).result
