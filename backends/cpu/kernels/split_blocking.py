"""How contractions of floats are cut for tile registers, and weights packed in three parts."""

from dataclasses import dataclass

import numpy as np

from mcc.ir import Array

from .parts import PARTS, PRODUCTS, split_weights
from .tile_blocking import LANES, ROWS, TileBlocking

UNIT = 2
"""Elements of the reduction that one 32-bit lane multiplies."""
ROW = 32
"""Elements of a row of a tile."""
LEAST_RUN = 16
"""Elements that lie side by side in x: fewer leave most of a row empty."""
_PANEL_BYTES = 384 * 1024
"""Of x in parts, which lie on the stack and in the second-level cache."""
KEPT_WEIGHTS = 1024 * 1024
"""Bytes of weights, in parts, that stay in the second-level cache beside x."""
_SPLIT_CYCLES = 15.0
"""For a position and step."""
_COLD_WEIGHTS = 512 * 1024
"""Bytes of weights, in parts, that will not lie in the second-level cache yet."""
_COLD_CYCLES = 1.6
"""For each of those weights."""
_NEAR_CYCLES = 0.4
"""For each of fewer."""
_START_CYCLES = 600
"""To configure and leave the tile registers."""
_REUSE = 128
"""Positions for which weights from memory are to be read once."""


@dataclass(frozen=True)
class SplitBlocking:
    """A block of tile registers, and the chunk of positions whose x is split at a time."""

    tile: TileBlocking
    depth: int
    """Elements of the reduction in one step."""
    steps: int
    """For each tap."""
    chunk: int
    """Positions; whole blocks, unless it is all positions."""
    passes: int
    """Parts of the reduction; between them sums wait in the result."""
    taps: int
    ahead: bool = False
    """Whether a chunk is split while the one before it, a block each, is multiplied."""

    @property
    def copies(self) -> int:
        """Panels of x in hand."""
        return 2 if self.ahead else 1

    @property
    def pass_steps(self) -> int:
        """Steps of the reduction in a pass; the last may have fewer."""
        return -(-self.taps * self.steps // self.passes)

    @property
    def panel_elements(self) -> int:
        """Of x in parts, for one chunk and one pass."""
        return self.pass_steps * PARTS * self.padded * ROW

    @property
    def block(self) -> int:
        """Positions of a block."""
        return self.tile.tiles * self.tile.rows

    @property
    def padded(self) -> int:
        """Positions for which a panel has room."""
        return -(-self.chunk // self.block) * self.block

    def step_elements(self) -> int:
        """Of packed weights, for one step and one block of results."""
        return PARTS * self.tile.units * UNIT * self.tile.columns * LANES


def choose_split_blocking(
    positions: int, results: int, taps: int, run: int, *, passes: bool
) -> SplitBlocking:
    """The blocking that wastes least.

    Args:
        positions: All of them.
        results: At each.
        taps: Of which each has a run.
        run: Elements of x side by side.
        passes: Whether sums may wait in the result.
    """
    steps = -(-run // ROW)
    depth = -(-run // steps)
    units = -(-depth // UNIT)
    columns = 1 if results <= LANES else 2
    if positions <= ROWS:
        tile = TileBlocking(positions, 1, columns, units)
    else:
        rows = min(range(ROWS, 6, -1), key=lambda n: -(-positions // (2 * n)) * (2 * n + 4))
        tile = TileBlocking(rows, 2, columns, units)
    block = tile.tiles * tile.rows
    block_bytes = taps * steps * ROW * UNIT * PARTS * block
    blocks = -(-positions // block)
    few = results * taps * steps * ROW * UNIT * PARTS <= KEPT_WEIGHTS
    if few and 2 * block_bytes <= _PANEL_BYTES:
        return SplitBlocking(tile, depth, steps, min(positions, block), 1, taps, ahead=blocks > 1)
    wanted = min(blocks, -(-_REUSE // block))
    count = 1
    if passes:
        while wanted * block_bytes > count * _PANEL_BYTES and count < taps * steps:
            count += 1
    held = max(1, count * _PANEL_BYTES // block_bytes)
    chunks = -(-blocks // held)
    chunk = min(positions, -(-blocks // chunks) * block)
    return SplitBlocking(tile, depth, steps, chunk, count, taps)


def split_cycles(
    blocking: SplitBlocking, lead: int, positions: int, results: int, run: int
) -> float:
    """Cycles for all results, with weights that come from beyond the second-level cache.

    Fitted to what was measured on a Xeon. Both splitting and multiplying wait for the other's
    memory, so that their times add up.
    """
    b, tile = blocking, blocking.tile
    steps = b.taps * b.steps
    split = steps * b.block * _SPLIT_CYCLES
    blocks = -(-positions // b.block)
    total = 0.0
    for columns, count in ((tile.columns, results // (tile.columns * LANES)), (0, 1)):
        width = columns or -(-(results % (tile.columns * LANES)) // LANES)
        multiply = len(PRODUCTS) * tile.tiles * width * max(tile.rows + 1.5, 13.0)
        vectors = tile.tiles * width * tile.rows
        sums = b.passes * (100 + 5.0 * vectors) if width else 0
        total += count * (steps * multiply * (1.0 if b.ahead else 1.35) + sums)
    weights = lead * results * b.taps * run
    wait = _COLD_CYCLES if weights * UNIT * PARTS >= _COLD_WEIGHTS else _NEAR_CYCLES
    return lead * blocks * (split + total) + weights * wait + _START_CYCLES


def split_order(run: int, blocking: SplitBlocking) -> list[int]:
    """Which element of a run each row of the packed weights holds; -1 for zeros.

    The last step of a run begins early; what it reads for the second time meets zeros.
    """
    b = blocking
    order: list[int] = []
    for step in range(b.steps):
        start = min(step * b.depth, run - b.depth)
        fresh = [n if n >= step * b.depth else -1 for n in range(start, start + b.depth)]
        order += fresh + [-1] * (b.tile.units * UNIT - b.depth)
    return order


def pack_parts(rows: Array, blocking: SplitBlocking) -> Array:
    """Weights [group, tap, run, results] as [group, block, tap, step, part, unit, width, 2]."""
    b = blocking
    groups, taps, run, results = rows.shape
    width = b.tile.columns * LANES
    blocks = -(-results // width)
    full = np.zeros((groups, taps, run + 1, blocks * width), np.float32)
    full[:, :, :run, :results] = rows
    picked = full[:, :, split_order(run, b), :]  # -1 is the last: zeros
    shape = (groups, taps, b.steps, b.tile.units, UNIT, blocks, width)
    parts = split_weights(picked.reshape(shape))
    # part, group, tap, step, unit, 2, block, width
    return np.ascontiguousarray(parts.transpose(1, 6, 2, 3, 0, 4, 7, 5))
