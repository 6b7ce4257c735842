"""Tile registers: what they multiply, how contractions are cut for them, how weights are packed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mcc.ir import Array

from ..blocking import Blocking

LANES = 16
"""32-bit accumulators in a row of a tile."""
ROWS, ROW_BYTES = 16, 64
_UNIT_BYTES = 4
SUMS, XS, WS = 0, 4, 6
"""The first of the registers for sums, x and weights."""
_LEAST_ROWS = 8
"""A multiplication with fewer rows takes as long."""


@dataclass(frozen=True)
class TileProduct:
    """One kind of tile multiplication: its instruction, and the types that it works on."""

    instruction: str
    dtype: str
    """Of the sums."""
    unit: int
    """Elements of x in the 32 bits that one lane multiplies."""
    flag: str
    """What /proc/cpuinfo calls it."""

    @property
    def itemsize(self) -> int:
        """Bytes of an element of x."""
        return _UNIT_BYTES // self.unit


SIGNED = TileProduct("llvm.x86.tdpbssd", "int32", 4, "amx_int8")
UNSIGNED = TileProduct("llvm.x86.tdpbusd", "int32", 4, "amx_int8")
"""Of unsigned x and signed weights."""
SHORT = TileProduct("llvm.x86.tdpbf16ps", "float32", 2, "amx_bf16")
"""Of bfloat16, two to a lane; denormal numbers count as 0."""


@dataclass(frozen=True)
class TileBlocking:
    """What is held in registers: `tiles` of `rows` positions, `columns` of 16 results."""

    rows: int
    tiles: int
    columns: int
    units: int
    """Units of the reduction that one multiplication takes."""

    @property
    def record(self) -> Blocking:
        """The same as what tuning measures and remembers; the units follow from the problem."""
        return Blocking(self.rows, self.columns, self.tiles)

    def config(self) -> Array:
        """The 64 bytes that configure the registers."""
        found = np.zeros(64, np.uint8)
        found[0] = 1  # the palette
        for register in range(8):
            holds_x = XS <= register < WS
            holds_w = register >= WS
            found[16 + 2 * register] = self.units * _UNIT_BYTES if holds_x else ROW_BYTES
            found[48 + register] = self.units if holds_w else self.rows
        return found


def choose_tile_blocking(positions: int, lead: int, results: int, run: int) -> TileBlocking:
    """The blocking that wastes least: `positions` in a row, `lead` such rows, `run` units deep."""
    columns = 1 if results <= LANES else 2
    steps = -(-run // (ROW_BYTES // _UNIT_BYTES))
    units = -(-run // steps)
    if positions <= ROWS:
        return TileBlocking(positions, min(2, lead), columns, units)
    # Rows beyond the last position are computed twice; each block costs a little by itself.
    rows = min(range(ROWS, 0, -1), key=lambda n: -(-positions // (2 * n)) * (2 * n + 4))
    return TileBlocking(rows, 2, columns, units)


def tile_candidates(
    positions: int, lead: int, results: int, taps: int, run: int
) -> list[TileBlocking]:
    """Blockings to be measured: what is chosen without, then the others as they cost."""
    chosen = choose_tile_blocking(positions, lead, results, run)
    heights = range(_LEAST_ROWS, ROWS + 1) if positions > ROWS else [positions]
    most = 2 if positions > ROWS else min(2, lead)
    others = [
        replace(chosen, rows=rows, tiles=tiles, columns=columns)
        for rows in heights
        for tiles in range(1, most + 1)
        for columns in range(1, chosen.columns + 1)
    ]
    others.sort(key=lambda blocking: tile_cycles(blocking, positions, results, taps, run))
    return list(dict.fromkeys([chosen, *others]))


def tile_cycles(blocking: TileBlocking, positions: int, results: int, taps: int, run: int) -> float:
    """Cycles for all results of a row of `positions`: multiplications against loads."""
    b = blocking
    steps = taps * -(-run // b.units)
    # Short rows share a block with the next.
    blocks = -(-positions // (b.tiles * b.rows)) if positions > ROWS else 1 / b.tiles
    total = 0.0
    for columns, count in ((b.columns, results // (b.columns * LANES)), (0, 1)):
        width = columns or -(-(results % (b.columns * LANES)) // LANES)
        multiply = b.tiles * width * max(b.rows, _LEAST_ROWS)
        load = 0.75 * (b.tiles * b.rows + width * b.units)
        # The sums travel through memory before the tail sees them.
        total += count * (steps * max(multiply, load) + 2.0 * b.tiles * width * b.rows + 30)
    return total * blocks


def unit_order(run: int, blocking: TileBlocking) -> list[int]:
    """Which unit of a run each row of the packed weights holds; -1 for a row of zeros.

    The last multiplication of a run begins early, so that it reads nothing beyond the run; what it
    reads for the second time meets zeros.
    """
    units = blocking.units
    whole = run // units * units
    rest = run - whole
    last = [-1] * (units - rest) + list(range(whole, run)) if rest else []
    return [*range(whole), *last]


def pack_tiles(rows: Array, order: Sequence[int], product: TileProduct, width: int) -> Array:
    """Weights [..., run elements, results] as [..., block, row, width, unit].

    Args:
        rows: For each tap (in `...`) the weights of one run, elements first.
        order: `unit_order` of the run.
        product: What multiplies them.
        width: Results of a block.
    """
    *lead, run, results = rows.shape
    blocks = -(-results // width)
    units = run // product.unit
    full = np.zeros((*lead, units + 1, product.unit, blocks * width), rows.dtype)
    full[..., :units, :, :results] = rows.reshape(*lead, units, product.unit, results)
    picked = full[..., list(order), :, :]  # -1 is the last: zeros
    split = picked.reshape(*lead, len(order), product.unit, blocks, width)
    rank = len(lead)
    axes = (*range(rank), rank + 2, rank, rank + 3, rank + 1)
    return np.ascontiguousarray(split.transpose(axes))
