"""The part of a contraction that is computed in registers: what tuning chooses."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Blocking:
    """The part of the result computed in registers.

    `rows` rows of `tile` positions by `vectors` vectors; several rows only where a tile is a row.
    """

    tile: int
    vectors: int
    rows: int = 1
    passes: int = 1
    """Parts of the reduction; between them sums wait in the result. Of its outermost loop."""
