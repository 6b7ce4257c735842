"""A float32 as the sum of three bfloat16, exactly, and which products of the parts make a product.

24 bits of mantissa are three times 8. Of the nine products of parts the three smallest, together
below 2^-23 of the whole, are left out. Henry, Tang and Heinecke, "Leveraging the bfloat16
Artificial Intelligence Datatype For Higher-Precision Computations" (ARITH 2019).
"""

import ml_dtypes
import numpy as np

from mcc.ir import Array

from ..tir import Expr, Writer, constant, shuffle

PARTS = 3
PRODUCTS = ((2, 0), (1, 0), (1, 1), (0, 1), (0, 0), (0, 2))
"""(part of x, part of w). Neighbours share one, so that few parts are loaded twice."""
_UPPER = -0x10000
"""The bits of a float32 that are a bfloat16."""


def can_split(weights: Array) -> bool:
    """Whether all weights are numbers, and none rounds to infinity as a bfloat16."""
    return bool(np.isfinite(weights.astype(ml_dtypes.bfloat16)).all())


def split_weights(weights: Array) -> Array:
    """The parts [part, ...] of float32 numbers, as the bits of bfloat16.

    They are rounded to nearest: parts have either sign, and so have the products left out.
    """
    parts: Array = np.empty((PARTS, *weights.shape), np.uint16)
    rest = weights.astype(np.float32)
    for number in range(PARTS):
        short = rest.astype(ml_dtypes.bfloat16)
        parts[number] = short.view(np.uint16)
        rest = rest - short.astype(np.float32)
    return parts


def cut_parts(writer: Writer, x: Expr) -> tuple[Expr, Expr, Expr]:
    """Numbers whose upper 16 bits are the parts of a vector of float32; bits are cut off.

    The first part of infinity or NaN is the same, the others are NaN.
    """
    first = _upper(x)
    rest = writer.bind(x - first)
    return x, rest, writer.bind(rest - _upper(rest))


def _upper(x: Expr) -> Expr:
    return (x.bits("int32") & _UPPER).bits("float32")


def upper_halves(first: Expr, second: Expr, lanes: list[int]) -> Expr:
    """The upper 16 bits of some lanes of two vectors, in the order of `lanes`."""
    halves = first.bits("uint16", 2 * first.lanes), second.bits("uint16", 2 * second.lanes)
    return shuffle(*halves, [2 * lane + 1 for lane in lanes])


def sum_of_parts(parts: list[Expr], upper: Expr) -> Expr:
    """The float32 weights that parts belong to, two to a 32-bit lane.

    Args:
        parts: Pairs of bfloat16, as int32.
        upper: 0 for the first of each pair, 1 for the second.
    """
    shift = (upper * 16).broadcast(parts[0].lanes)
    sixteen = constant(16, "int32", parts[0].lanes)
    large, *small = [((pair >> shift) << sixteen).bits("float32") for pair in parts]
    rest = small[-1]
    for part in reversed(small[:-1]):
        rest = part + rest
    return large + rest
