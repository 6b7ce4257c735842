"""Weights cut into tiles of the array's size; tiles of zeros are left out."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mcc.runtime.isa import is_sparse, pack_nibbles, pack_sparse

from .layers import Int8, Int32, Product

Numbers = npt.NDArray[np.int64]

Tap = tuple[int, int, int]
"""Row and column of the window, block of input channels."""


@dataclass(frozen=True)
class Tiles:
    """For each block of output channels the taps whose tile is not all zero, and the tiles."""

    taps: tuple[tuple[Tap, ...], ...]
    tiles: tuple[Int8, ...]
    """[taps, dim, dim] for each block of output channels."""

    @cached_property
    def sparse(self) -> bool:
        """Whether all tiles are 2:4, as diagonal ones are."""
        return bool(self.tiles) and all(is_sparse(stack).all() for stack in self.tiles)


def cut(product: Product, dim: int) -> Tiles:
    """The tiles of weights [rows, columns, C / groups, O], sorted by input block, row, column.

    Grouped weights become block-diagonal: a depthwise convolution runs `dim` channels at once on
    diagonal tiles.
    """
    weights = product.weights
    assert weights is not None
    rows, cols, per_group, outputs = weights.shape
    out_group = outputs // product.groups
    taps: list[tuple[Tap, ...]] = []
    tiles: list[Int8] = []
    for first in range(0, outputs, dim):
        lanes: Numbers = np.arange(first, min(first + dim, outputs))
        group: Numbers = lanes // out_group
        base = int(group[0]) * per_group // dim
        stop = -(-((int(group[-1]) + 1) * per_group) // dim)
        slab = np.zeros((rows, cols, (stop - base) * dim, dim), np.int8)
        inner = np.arange(per_group, dtype=np.int64).reshape(-1, 1)
        columns: Numbers = np.broadcast_to(lanes - first, (per_group, len(lanes)))
        channels = group.reshape(1, -1) * per_group + inner - base * dim
        slab[:, :, channels, columns] = weights[:, :, :, lanes]
        blocks = slab.reshape(rows, cols, stop - base, dim, dim).transpose(2, 0, 1, 3, 4)
        used = np.argwhere(blocks.any((3, 4)))
        taps.append(tuple((int(r), int(c), int(block) + base) for block, r, c in used))
        tiles.append(np.ascontiguousarray(blocks[tuple(used.T)]))
    return Tiles(tuple(taps), tuple(tiles))


def pairs(tiles: Int8) -> Int8:
    """2:4 tiles [n, dim, dim], two and two, as rows of memory: [ceil(n / 2), dim + dim / 4, dim].

    An odd one goes with zeros.
    """
    count, dim, _ = tiles.shape
    padded = np.zeros((-(-count // 2) * 2, dim, dim), np.int8)
    padded[:count] = tiles
    return pack_sparse(padded.reshape(-1, 2 * dim, dim))


def pack(tiles: Int8, wide: int, *, nibbles: bool = False) -> Int8:
    """Tiles [n, rows, dim] as bytes: as many side by side as a row of `wide` bytes takes.

    One move-in then takes as many. What is left over lies in narrower rows (`row_bytes`).
    """
    count, _, dim = tiles.shape
    side = (2 if nibbles else 1) * wide // dim
    whole = count // side * side
    parts = [_side_by_side(tiles[:whole], side)]
    if rest := count - whole:
        columns = (2 if nibbles else 1) * row_bytes(rest, dim, wide, nibbles=nibbles)
        across = _side_by_side(tiles[whole:], rest)
        parts.append(np.pad(across, ((0, 0), (0, columns - rest * dim))))
    packed = [pack_nibbles(part).view(np.int8) if nibbles else part for part in parts]
    return np.concatenate([part.reshape(-1) for part in packed])


def row_bytes(count: int, dim: int, wide: int, *, nibbles: bool) -> int:
    """Bytes of a row of `count` tiles side by side.

    Of `nibbles`, which are there to save bytes, a half, a quarter … of `wide` where they fit, so
    that no row crosses a line of memory. int8 keeps one stride, which takes no configuration.
    """
    needed, found = -(-count * dim // 2), wide
    while nibbles and found % 2 == 0 and found // 2 >= needed:
        found //= 2
    return found


def _side_by_side(tiles: Int8, side: int) -> Int8:
    """Tiles [n * side, rows, dim] as rows [n * rows, side * dim]."""
    _, rows, dim = tiles.shape
    across = tiles.reshape(-1, side, rows, dim).transpose(0, 2, 1, 3)
    return across.reshape(-1, side * dim)


def diagonals(factors: Int32, dim: int) -> list[Int8]:
    """Diagonal tiles whose sum is diag(factors), for each block of channels: [n, dim, dim]."""
    found: list[Int8] = []
    for first in range(0, len(factors), dim):
        left = factors[first : first + dim].astype(np.int64)
        parts: list[Int8] = []
        while left.any() or not parts:
            part = np.clip(left, -127, 127)
            tile = np.zeros((dim, dim), np.int8)
            tile[np.arange(len(part)), np.arange(len(part))] = part
            parts.append(tile)
            left = left - part
        found.append(np.stack(parts))
    return found


def most_factors(factors: Int32) -> int:
    """How many diagonal tiles the largest factor takes."""
    return max(1, int(-(-np.abs(factors.astype(np.int64)).max() // 127)))
