"""The pieces of up to `dim` pixels by which a tile of weights is multiplied, and what they take.

The weights of the next tile move in during the last piece of this one, which takes `dim` cycles. So
the last piece is a whole one where there is any, and a short one comes first.
"""

KEPT = 7.2
"""Least cycles of a product whose weights are in the array already."""


def pieces(pixels: int, dim: int) -> list[tuple[int, int]]:
    """The first pixel and the count of each piece, in the order in which they are multiplied."""
    whole = pixels // dim * dim
    short = [(whole, pixels - whole)] if pixels > whole else []
    return [*short, *((first, dim) for first in range(0, whole, dim))]


def array_cycles(pixels: int, times: int, dim: int) -> float:
    """Of one tile of weights over `times` runs of pixels."""
    whole, rest = divmod(pixels, dim)
    once = whole * dim + (max(rest, KEPT) if rest else 0.0)
    last = dim if whole else max(rest, KEPT)
    return times * once + dim - last
