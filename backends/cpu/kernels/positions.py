"""Positions of a result: the loops over them, and blocks of them with the tail that is stored.

A loop's strides are those of y, x, w, then of the tail's operands.
"""

from collections.abc import Sequence

from ..tail import Node, Point, compute
from ..tir import Buffer, Index, Writer, index_sum
from .loops import Loop, collapse, widths

Y, X, W = 0, 1, 2
"""Positions of the arrays in the strides of a loop; the tail's operands follow."""


def pieces(extent: int, size: int) -> list[tuple[int, int, int]]:
    """An extent as (first, count, size): as many of `size` as fit, and what is left."""
    whole = extent // size
    pieces = [(0, whole, size), (whole * size, 1, extent - whole * size)]
    return [piece for piece in pieces if piece[1] and piece[2]]


def rows_together(lead: Sequence[Loop]) -> int:
    """How many rows a block may take, given the loops around a tile."""
    return lead[-1].extent if lead and not lead[-1].strides[W] else 1


def merged_positions(lead: Sequence[Loop], tile: Loop) -> tuple[list[Loop], Loop]:
    """Leading loops and the tile, with as many as possible merged into the tile."""
    *outer, last = collapse((*lead, tile), len(tile.strides))
    if last.strides[W]:
        # All positions of a tile share their weights.
        return [*outer, last], Loop(1, (0,) * len(tile.strides))
    return outer, last


def store_sums(
    writer: Writer,
    sums: Sequence[Sequence[Buffer]],
    columns: Sequence[tuple[int, int]],
    places: Sequence[Index],
    offsets: Sequence[tuple[int, ...]],
    vec: Loop,
    root: Node,
    operands: tuple[Buffer, ...],
    out: Buffer,
) -> None:
    """Compute a tail on a block of sums, and store it.

    Args:
        writer: Of the kernel.
        sums: A row of vectors for each position.
        columns: Of each vector, the lanes and how many of them count.
        places: Where the block begins in y, x, w and the operands.
        offsets: Of each position, from there.
        vec: The loop along the vectors.
        root: The tail.
        operands: What it reads.
        out: Where y goes.
    """
    for row, moved in zip(sums, offsets, strict=True):
        done = 0
        for (lanes, valid), buffer in zip(columns, row, strict=True):
            offset = 0
            for size in widths(valid, lanes):
                at = [
                    index_sum((place, 1), (step, 1), (done + offset, v))
                    for place, step, v in zip(places, moved, vec.strides, strict=True)
                ]
                point = Point(tuple(at[W + 1 :]), vec.strides[W + 1 :], size)
                raw = writer.bind(buffer.load(offset, size))
                value = writer.bind(compute(root, writer, operands, point, raw))
                writer.store(out, at[Y], value, vec.strides[Y])
                offset += size
            done += valid
