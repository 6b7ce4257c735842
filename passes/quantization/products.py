"""Weights, bias and residual factor of one sum of products whose accumulator cannot overflow."""

from dataclasses import dataclass

import numpy as np

from mcc.ir import Array, Op, UserError
from mcc.ops import Conv, Matmul

from .encoding import SMALLEST_SCALE, Encoding, power_below
from .overflow import LARGEST, Bounds, accumulator_bounds
from .residual import factors
from .scheme import BIAS_LIMIT, Scheme
from .weights import Weights, accumulator_scale, quantize_weights, weight_scale


@dataclass(frozen=True, slots=True)
class Product:
    """The integers of one convolution or matrix product."""

    weights: Weights
    bias: Array | None
    """int32, one for each output channel."""
    factor: Array | None
    """int32, one for each output channel."""
    bounds: Bounds


def rows_of(op: Conv | Matmul, weights: Array) -> Array:
    """Weights with the output channels first."""
    return weights if isinstance(op, Conv) else weights.T


def fit_product(
    op: Op,
    rows: Array,
    peak: Array,
    x: Encoding,
    scheme: Scheme,
    bias: Array | None = None,
    x_mean: Array | None = None,
    residual: Encoding | None = None,
    most: int = 127,
) -> Product:
    """Quantize the weights and the bias of a product.

    Widen weight scales where its accumulator could overflow.

    Args:
        op: The product, for messages.
        rows: Real weights, output channels first.
        peak: The magnitude that 127 stands for, one number or one for each output channel.
        x: The input's encoding.
        scheme: The choices.
        bias: The real bias.
        x_mean: The input's mean, broadcastable to `rows`; the expected error of the rounded weights
            is then taken off the bias (Nagel et al. 2019, «Data-free quantization», section 4.2).
        residual: The encoding of a residual that enters the accumulator.
        most: The largest weight, as an integer.

    Raises:
        UserError: If no weight scale keeps the accumulator below the limit.
    """
    limit = scheme.accumulator_limit
    widen = np.ones(rows.shape[0] if peak.ndim else ())
    # A channel of zeros has a scale too, which must be able to grow until its bias fits.
    peak = np.maximum(peak, 127 * SMALLEST_SCALE)
    for _ in range(64):
        scale = weight_scale(peak * widen, power_of_two=scheme.portable)
        if residual is not None:
            wanted, scale = scale, _residual_scale(scale, x, residual, scheme)
            if (scale < wanted * (1 - 2.0**-16)).any():
                break
        weights = quantize_weights(rows, scale, most)
        unit = accumulator_scale(x.scale, scale)
        k = factors(unit, residual.scale) if residual is not None else None
        if residual is not None and k is None:
            break
        k = None if k is None else np.broadcast_to(k, (len(rows),))
        wide = _bias(bias, rows, weights, x_mean, unit)
        low, high = x.dtype.limits
        r = (*residual.dtype.limits, residual.zero) if residual is not None else (0, 0, 0)
        bounds = accumulator_bounds(weights.integers, (low, high, x.zero), wide, k, r)
        excess = bounds.magnitude / (limit - 1)
        if wide is not None:
            excess = np.maximum(excess, np.abs(wide) / min(limit - 1, BIAS_LIMIT))
        if (excess <= 1).all():
            narrow = None if wide is None else wide.astype(np.int32)
            return Product(weights, narrow, k, bounds)
        grown = np.where(excess > 1, np.maximum(excess * 1.02, 1.02), 1.0)
        widen = widen * (grown if peak.ndim else grown.max())
    raise UserError(
        f"the accumulator of {op.result.name!r} can exceed {limit:,} whatever the weights' scale",
        where=", ".join(op.nodes),
        remedy="quantize in strict mode, or leave out the residual's accumulation (residual=add)"
        if scheme.portable
        else "leave out the residual's accumulation (residual=add)",
    )


def _residual_scale(wanted: Array, x: Encoding, residual: Encoding, scheme: Scheme) -> Array:
    """The weight scale next above `wanted` at which the residual's factor is an integer."""
    ratio = residual.scale / (x.scale * wanted.astype(np.float64))
    # A ratio that is an integer but for the rounding of `wanted` counts as one.
    k = np.clip(np.floor(ratio * (1 + 2.0**-20)), 1, scheme.factor_limit)
    if scheme.portable:
        powers = [power_below(float(v)) for v in np.atleast_1d(k)]
        k = np.asarray(powers).reshape(k.shape)
    return np.asarray(residual.scale / (x.scale * k), np.float32)


def _bias(
    bias: Array | None, rows: Array, weights: Weights, x_mean: Array | None, unit: Array
) -> Array | None:
    """The bias in units of the accumulator (int64), with the weights' expected error taken off."""
    real = None if bias is None else bias.astype(np.float64)
    if x_mean is not None:
        error = ((rows.astype(np.float64) - weights.real) * x_mean).reshape(len(rows), -1).sum(1)
        real = error if real is None else real + error
    if real is None:
        return None
    return np.clip(np.rint(real / unit.astype(np.float64)), -LARGEST, LARGEST).astype(np.int64)
