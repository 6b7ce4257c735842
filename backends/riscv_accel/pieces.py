"""The pieces of up to `dim` pixels by which a tile of weights is multiplied, and what they take.

The weights of the next tile move in during the last piece of this one, which takes `dim` cycles. So
the last piece is a whole one where there is any, and short ones come first.
"""

SHORTEST = 4
"""Cycles that the shortest product takes: TIMING's four between two writes to a row of sums."""
KEPT = 7.2
"""Least cycles on the average of products whose weights are in the array already."""


def pieces(pixels: int, dim: int, *, aligned: bool = False) -> list[tuple[int, int]]:
    """The first pixel and the count of each piece, in the order in which they are multiplied.

    Args:
        pixels: So many in a row.
        dim: The array's rows.
        aligned: No piece may go over a multiple of `dim`.
    """
    whole = pixels // dim
    short = [(whole * dim, pixels - whole * dim)] if pixels > whole * dim else []
    if short and short[0][1] < SHORTEST and whole > 1 and not aligned:
        # Too few to be worth a product: two pieces of a good half each take no longer than both.
        whole -= 1
        first, left = whole * dim, pixels - whole * dim
        short = [(first, left // 2), (first + left // 2, left - left // 2)]
    return [*short, *((number * dim, dim) for number in range(whole))]


def array_cycles(pixels: int, times: int, dim: int) -> float:
    """Of one tile of weights over `times` runs of pixels."""
    counts = [count for _, count in pieces(pixels, dim)]
    once = max(sum(max(count, SHORTEST) for count in counts), KEPT * len(counts))
    last = max(counts[-1], once / len(counts))
    return times * once + dim - min(dim, last)
