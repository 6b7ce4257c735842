"""The contraction with pruned weights: blocks of 1 x 16 zeros are neither stored nor multiplied.

For 16 results at a time the weights that are left are a list: where in x the element lies that they
multiply, and the 16 numbers. Block sparse rows as in Gray, Radford and Kingma, "GPU Kernels for
Block-Sparse Weights" (2017), with blocks as wide as a vector.
"""

import math
from dataclasses import dataclass

import numpy as np

from mcc.ir import Array

from ..machine import Machine
from ..tail import Node
from ..tir import Buffer, Expr, Index, Writer, constant, index_sum
from .border import Border
from .loops import PARALLEL_WORK, Loop, fused_loops, widths
from .positions import X, Y, pieces, store_sums

WIDTH = 16
"""Results that share a list."""
_LINE, _SETS, _WAYS = 64, 64, 8
"""Of the first data cache: bytes of a line, sets (a page of 4 KiB has one line in each), lines of a
set."""
_OFFSETS, _BEGINS = 2, 3
"""Positions of the inputs after x and the weights; the tail's operands follow."""


@dataclass(frozen=True)
class Blocks:
    """The weights that are left of [elements of the reduction, results]."""

    values: Array
    """float32 [blocks, WIDTH], those of the first 16 results first."""
    elements: Array
    """int64 [blocks]: the element of the reduction that each multiplies."""
    begins: Array
    """int32 [groups of 16 results + 1]: where in the list each group begins."""

    @classmethod
    def of(cls, weights: Array) -> "Blocks":
        depth, results = weights.shape
        groups = -(-results // WIDTH)
        full = np.zeros((depth, groups * WIDTH), np.float32)
        full[:, :results] = weights
        blocks = full.reshape(depth, groups, WIDTH).swapaxes(0, 1)
        kept = blocks.any(axis=2)
        group, elements = np.nonzero(kept)
        lengths = np.bincount(group, minlength=groups)
        begins: Array = np.concatenate([[0], lengths.cumsum()]).astype(np.int32)
        return cls(blocks[kept], elements, begins)

    @property
    def count(self) -> int:
        return len(self.elements)


def choose_rows(tile: int, machine: Machine, stride: int = 1) -> int:
    """Positions whose sums are held in registers, as evenly as they divide.

    Args:
        tile: Positions in a row.
        machine: What computes.
        stride: Elements of x from one position to the next. Where it is a large power of two, the
            lines of all positions compete for few places in the first cache, and only so many
            positions are taken as it keeps: the next elements of the list lie in the same lines.
    """
    columns = max(1, WIDTH // machine.lanes("float32"))
    most = max(1, (machine.registers - columns - 2) // columns)
    lines, rest = divmod(stride * np.dtype(np.float32).itemsize, _LINE)
    if lines and not rest:
        most = min(most, _WAYS * (_SETS // math.gcd(lines, _SETS)))
    return -(-tile // -(-tile // most))


def sparse_cycles(tile: int, blocks: int, machine: Machine) -> float:
    """Cycles of all multiplications for `tile` positions: each loads its element of x."""
    columns = max(1, WIDTH // machine.lanes("float32"))
    rows = choose_rows(tile, machine)
    return -(-tile // rows) * blocks * (0.65 * rows * columns + 2)


@dataclass(frozen=True)
class SparseContraction:
    """One kernel; it reads x, values, offsets in x, begins of lists, then the tail's operands.

    A loop's strides: y, x, nothing, the tail's operands.
    """

    lead: tuple[Loop, ...]
    tile: Loop
    vec: Loop
    rows: int
    """Positions at once."""
    lanes: int
    work: int
    """Multiplications of 16, for each position."""
    root: Node
    origin: int = 0
    """Where y begins."""
    border: Border | None = None
    """What is written around y."""

    def __call__(self, writer: Writer, inputs: tuple[Buffer, ...], out: Buffer) -> None:
        positions = math.prod(loop.extent for loop in (*self.lead, self.tile))
        if self.border is not None:
            self.border.write(writer, out)
        parallel = positions * self.work * WIDTH >= PARALLEL_WORK
        whole, rest = divmod(self.vec.extent, WIDTH)
        for first_row, tiles, rows in pieces(self.tile.extent, self.rows):
            for first, blocks, valid in ((0, whole, WIDTH), (whole, 1, rest)):
                if blocks and valid:
                    piece = _Piece((first, blocks, valid), (first_row, tiles, rows))
                    self._piece(writer, inputs, out, piece, parallel=parallel)

    def _piece(
        self,
        writer: Writer,
        inputs: tuple[Buffer, ...],
        out: Buffer,
        piece: "_Piece",
        *,
        parallel: bool,
    ) -> None:
        first_block, blocks, valid = piece.blocks
        first_row, tiles, rows = piece.rows
        block = self.vec.scaled(WIDTH, blocks)
        # One more array: the number of the list.
        order = [
            block.with_array(1),
            *(loop.with_array(0) for loop in (*self.lead, self.tile.scaled(rows, tiles))),
        ]
        starts: list[Index] = [
            first_block * b + first_row * t
            for b, t in zip(block.strides, self.tile.strides, strict=True)
        ]
        starts[Y] = index_sum((starts[Y], 1), (self.origin, 1))
        columns = [(lanes, lanes) for lanes in widths(valid, self.lanes)]
        offsets = [tuple(i * stride for stride in self.tile.strides) for i in range(rows)]
        with fused_loops(writer, order, [*starts, first_block], parallel=parallel) as at:
            *places, number = at
            sums = [[writer.scratch("float32", lanes) for lanes, _ in columns] for _ in offsets]
            for row in sums:
                for buffer in row:
                    writer.store(buffer, 0, constant(0.0, "float32", buffer.size))
            begin, end = (
                writer.bind(inputs[_BEGINS].load(index_sum((number, 1), (i, 1)))) for i in (0, 1)
            )
            with writer.span(begin, end) as item:
                element = writer.bind_index(
                    index_sum((places[X], 1), (inputs[_OFFSETS].load(item), 1))
                )
                held: list[Expr] = []
                done = 0
                for lanes, _ in columns:
                    held.append(
                        writer.bind(inputs[1].load(index_sum((item, WIDTH), (done, 1)), lanes))
                    )
                    done += lanes
                for row, offset in zip(sums, offsets, strict=True):
                    x = writer.bind(inputs[0].load(index_sum((element, 1), (offset[X], 1))))
                    for buffer, w in zip(row, held, strict=True):
                        old = writer.bind(buffer.load(0, buffer.size))
                        writer.store(buffer, 0, old + x.broadcast(buffer.size) * w)
            store_sums(writer, sums, columns, places, offsets, self.vec, self.root, inputs[4:], out)


@dataclass(frozen=True)
class _Piece:
    """Blocks of one shape, as (first, how many, size of each)."""

    blocks: tuple[int, int, int]
    rows: tuple[int, int, int]
