"""Residual additions in the accumulator: form (b) of the numerics.

    y = requantize(sum(x * w) + b + k * (r - z_r)),    s_r = k * s_x * s_w with an integer k

The integers say exactly that. The real numbers of the quantize/dequantize form agree with it as far
as float32 scales can: `factors` accepts `k` where `k * float32(s_x * s_w)` is s_r within 2^-22,
relatively.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mcc.ir import Array, Op, Value, constant_of
from mcc.ops import Add, Conv, Matmul

from .encodings import Encodings
from .roles import Role, Roles
from .scheme import BIAS_LIMIT, LARGEST_FACTOR, Scheme

TOLERANCE = 2.0**-22
"""Two float32 roundings (of s_w, and of s_x * s_w) stay within 2^-23."""


@dataclass(frozen=True, slots=True)
class Accumulated:
    """An addition that happens in the accumulator of one of its operands."""

    product: Conv | Matmul
    residual: Value


def factors(unit: Array, residual_scale: float) -> Array | None:
    """The integers k with `k * unit == residual_scale` within the tolerance.

    None if there are none in 1..254.

    Args:
        unit: float32(s_x * s_w), one number or one for each output channel.
        residual_scale: s_r.
    """
    exact = unit.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        k = np.rint(residual_scale / exact)
    if not bool(np.isfinite(k).all()) or bool((k < 1).any()) or bool((k > LARGEST_FACTOR).any()):
        return None
    if bool((np.abs(k * exact - residual_scale) > TOLERANCE * residual_scale).any()):
        return None
    return k.astype(np.int32)


def plan_residuals(
    roles: Roles,
    encodings: Encodings,
    scheme: Scheme,
    peaks: Mapping[Op, Array],
    declined: list[tuple[Op, str]],
) -> dict[Op, Accumulated]:
    """Choose the additions that happen in an accumulator; scales rise until each has a factor.

    Args:
        roles: What each op is on integers.
        encodings: The activations' encodings; the residuals' scales may rise.
        scheme: The choices; empty result unless `residual` is `accumulate`.
        peaks: For each product with constant weights, the magnitudes that 127 stands for.
        declined: Receives the additions that stay ops of their own, with the reason.
    """
    if scheme.residual != "accumulate":
        return {}
    chosen: dict[Op, Accumulated] = {}
    for op, role in roles.of.items():
        if role is not Role.ADD or not isinstance(op, Add):
            continue
        candidates = [
            Accumulated(product.op, residual)
            for product, residual in ((op.a, op.b), (op.b, op.a))
            if isinstance(product.op, Conv | Matmul)
            and _fits(product.op, residual, peaks, encodings)
        ]
        if not candidates:
            declined.append(
                (op, "neither operand is a convolution or matrix product that nothing else reads")
            )
            continue
        candidates = [c for c in candidates if _holds_bias(c, encodings)]
        if not candidates:
            declined.append((op, "the product's bias is too large for units of the residual"))
            continue
        chosen[op] = min(candidates, key=lambda c: _loss(c, encodings, peaks, scheme))
    # Raising one scale raises what the products that read it need: look again until all rests.
    for _ in range(len(chosen) + 1):
        moved = False
        for op, plan in list(chosen.items()):
            needed = float(np.max(encodings[plan.product.x].scale * peaks[plan.product] / 127))
            scale = encodings[plan.residual].scale
            if needed <= scale:
                continue
            if needed > 2 * scale or not encodings.raise_scale(plan.residual, needed):
                del chosen[op]
                declined.append(
                    (op, f"its residual's scale {scale:.3g} is below one unit of the accumulator")
                )
            moved = True
        if not moved:
            break
    return chosen


def _fits(
    product: Conv | Matmul, residual: Value, peaks: Mapping[Op, Array], encodings: Encodings
) -> bool:
    return (
        product in peaks
        and sum(product.result.uses.values()) == 1
        and product.result.type == residual.type
        and (product.lo, product.hi) == (-np.inf, np.inf)
        and product.r is None
        and constant_of(residual) is None
        and residual in encodings
    )


def _holds_bias(plan: Accumulated, encodings: Encodings) -> bool:
    """Whether the bias fits the accumulator, whose unit is at most the residual's scale."""
    b = constant_of(plan.product.b)
    return b is None or float(np.max(np.abs(b), initial=0)) <= (
        encodings[plan.residual].scale * BIAS_LIMIT
    )


def _loss(
    plan: Accumulated, encodings: Encodings, peaks: Mapping[Op, Array], scheme: Scheme
) -> float:
    """How much coarser than wanted the weights become, or the residual; the mean over channels."""
    wanted = encodings[plan.product.x].scale * peaks[plan.product] / 127
    ratio = encodings[plan.residual].scale / np.maximum(wanted, 1e-30)
    k = np.clip(np.floor(ratio), 1, scheme.factor_limit)
    return float(np.mean(np.where(ratio < 1, 1 / ratio, ratio / k)))
