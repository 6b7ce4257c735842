"""What LOOP_WS is unrolled into: five streams of commands, and when each may go on.

After Gemmini's LoopMatmul unroller (the Chisel source of the public hardware).
"""

from dataclasses import dataclass

from .array import ComputeKept, ComputePreloaded, Preload
from .encoding import Instruction
from .locals import ACCUMULATE_BIT, ACCUMULATOR_BIT, FULL_WIDTH_BIT, GARBAGE
from .loops import (
    LoopWs,
    LoopWsAddressesAB,
    LoopWsAddressesDC,
    LoopWsBounds,
    LoopWsStridesAB,
    LoopWsStridesDC,
)
from .moves import MoveIn, MoveIn2, MoveIn3, MoveOut

Point = tuple[int, int, int]
"""Tile (k, j, i): the order in which tiles are computed."""


@dataclass(frozen=True)
class Product:
    """A LOOP_WS with its configuration."""

    loop: LoopWs
    bounds: LoopWsBounds
    ab: LoopWsAddressesAB
    dc: LoopWsAddressesDC
    strides_ab: LoopWsStridesAB
    strides_dc: LoopWsStridesDC

    def refusal(self) -> str:
        """Why it cannot run, or nothing."""
        if not (self.bounds.i and self.bounds.j and (self.bounds.k or self.loop.resadd)):
            return "a loop needs at least one tile each way (loop_ws_bounds)"
        return ""


@dataclass(frozen=True)
class Place:
    """Where a loop works: A from a scratchpad row on, B up to one, C in the accumulator."""

    a_start: int
    b_end: int
    c_start: int


@dataclass(frozen=True)
class Step:
    """One command of a stream, and the tile at which the stream stands before it."""

    instruction: Instruction
    at: Point


def tile_rows(product: Product, dim: int) -> tuple[int, int]:
    """Scratchpad and accumulator rows that a loop needs."""
    n = product.bounds
    scratchpad = 0 if product.loop.resadd else n.i * n.k + n.k * n.j
    return scratchpad * dim, n.i * n.j * dim


def moves_of_a(product: Product, place: Place, dim: int, most: int) -> list[Step]:
    """Moves of A, `most` tiles side by side at once."""
    n, a, stride = product.bounds, product.ab.a, product.strides_ab.a
    if not a:
        return []
    turned = product.loop.transpose_a
    rows, cols = (n.k, n.i) if turned else (n.i, n.k)
    pads = (n.pad_k, n.pad_i) if turned else (n.pad_i, n.pad_k)
    # The inner iterator is i, whichever way A lies.
    points = (
        [(row, col) for row in range(rows) for col in range(0, cols, most)]
        if turned
        else [(row, col) for col in range(0, cols, most) for row in range(rows)]
    )
    return [
        Step(
            _move(MoveIn, a, stride, row, col, place.a_start, (rows, cols), pads, dim, most),
            (row, 0, col) if turned else (col, 0, row),
        )
        for row, col in points
    ]


def moves_of_b(product: Product, place: Place, dim: int, most: int) -> list[Step]:
    """Moves of B."""
    n, b, stride = product.bounds, product.ab.b, product.strides_ab.b
    if not b:
        return []
    turned = product.loop.transpose_b
    rows, cols = (n.j, n.k) if turned else (n.k, n.j)
    pads = (n.pad_j, n.pad_k) if turned else (n.pad_k, n.pad_j)
    start = place.b_end - n.k * n.j * dim
    points = (
        [(row, col) for col in range(0, cols, most) for row in range(rows)]
        if turned
        else [(row, col) for row in range(rows) for col in range(0, cols, most)]
    )
    return [
        Step(
            _move(MoveIn2, b, stride, row, col, start, (rows, cols), pads, dim, most),
            (col, row, 0) if turned else (row, col, 0),
        )
        for row, col in points
    ]


def _move(
    kind: type[MoveIn],
    dram: int,
    stride: int,
    row: int,
    col: int,
    start: int,
    shape: tuple[int, int],
    pads: tuple[int, int],
    dim: int,
    most: int,
) -> MoveIn:
    blocks = min(most, shape[1] - col)
    return kind(
        dram=dram + (row * stride + col) * dim,
        local=start + (row * shape[1] + col) * dim,
        cols=blocks * dim - (pads[1] if col + blocks == shape[1] else 0),
        rows=dim - (pads[0] if row == shape[0] - 1 else 0),
    )


def moves_of_addends(
    product: Product, place: Place, dim: int, most: int
) -> tuple[list[Step], list[Step]]:
    """Moves of A and B into the accumulator, where C = A + B: row by row, B adding."""
    n, start = product.bounds, 1 << ACCUMULATOR_BIT | place.c_start
    found: list[list[Step]] = []
    for kind, dram, stride, first in (
        (MoveIn, product.ab.a, product.strides_ab.a, start),
        (MoveIn2, product.ab.b, product.strides_ab.b, start | 1 << ACCUMULATE_BIT),
    ):
        shape, pads = (n.i, n.j), (n.pad_i, n.pad_j)
        found.append(
            [
                Step(_move(kind, dram, stride, i, j, first, shape, pads, dim, most), (0, j, i))
                for i in range(n.i)
                for j in range(0, n.j, most)
                if dram
            ]
        )
    return found[0], found[1]


def moves_of_d(product: Product, place: Place, dim: int, most: int) -> list[Step]:
    """Moves of D into the accumulator, `most` int8 tiles side by side."""
    n, d, stride = product.bounds, product.dc.d, product.strides_dc.d
    if not d:
        return []
    low = product.loop.low_d
    most, size = (most, 1) if low else (max(most // 4, 1), 4)
    steps: list[Step] = []
    for j in range(0, n.j, most):
        blocks = min(most, n.j - j)
        for i in range(n.i):
            move = MoveIn3(
                dram=d + (i * stride + j) * dim * size,
                local=1 << ACCUMULATOR_BIT | place.c_start + (i * n.j + j) * dim,
                cols=blocks * dim - (n.pad_j if j + blocks == n.j else 0),
                rows=dim - (n.pad_i if i == n.i - 1 else 0),
            )
            steps.append(Step(move, (0, j, i)))
    return steps


def products(product: Product, place: Place, dim: int) -> list[Step]:
    """A preload and a compute for each triple of tiles."""
    n, loop = product.bounds, product.loop
    b_start = place.b_end - n.k * n.j * dim
    steps: list[Step] = []
    for k in range(n.k):
        depth = dim - (n.pad_k if k == n.k - 1 else 0)
        for j in range(n.j):
            cols = dim - (n.pad_j if j == n.j - 1 else 0)
            b = j * n.k + k if loop.transpose_b else k * n.j + j
            for i in range(n.i):
                rows = dim - (n.pad_i if i == n.i - 1 else 0)
                a = k * n.i + i if loop.transpose_a else i * n.k + k
                adds = loop.accumulate or k > 0
                flags = 1 << ACCUMULATOR_BIT | (1 << ACCUMULATE_BIT if adds else 0)
                preload = Preload(
                    local=GARBAGE if i else b_start + b * dim,
                    cols=cols,
                    rows=depth,
                    destination=flags | place.c_start + (i * n.j + j) * dim,
                    destination_cols=cols,
                    destination_rows=rows,
                )
                kind = ComputeKept if i else ComputePreloaded
                compute = kind(
                    local=place.a_start + a * dim,
                    cols=depth,
                    rows=rows,
                    bias_cols=dim,
                    bias_rows=dim,
                )
                steps += [Step(preload, (k, j, i)), Step(compute, (k, j, i))]
    return steps


def moves_of_c(product: Product, place: Place, dim: int, most: int) -> list[Step]:
    """Moves of C out; a step's tile is the last one it needs."""
    n, c, stride = product.bounds, product.dc.c, product.strides_dc.c
    if not c:
        return []
    full = product.loop.full_c
    most, size = (1, 4) if full else (most, 1)
    flags = 1 << ACCUMULATOR_BIT | (1 << FULL_WIDTH_BIT if full else 0)
    steps: list[Step] = []
    columns = range(0, n.j, most)
    points = [(i, j) for j in columns for i in range(n.i)]
    for i, j in sorted(points) if product.loop.resadd else points:
        blocks = min(most, n.j - j)
        move = MoveOut(
            dram=c + (i * stride + j) * dim * size,
            local=flags | place.c_start + (i * n.j + j) * dim,
            cols=blocks * dim - (n.pad_j if j + blocks == n.j else 0),
            rows=dim - (n.pad_i if i == n.i - 1 else 0),
        )
        steps.append(Step(move, (n.k - 1, j + blocks - 1, i)))
    return steps
