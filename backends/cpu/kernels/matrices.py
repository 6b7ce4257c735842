"""The axes of a matrix product by role, as loops."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from mcc.ops import Matmul

from ..registry import Strides, contiguous
from ..tail import Operand
from .loops import Loop
from .positions import merged_positions


@dataclass(frozen=True)
class Matrices:
    """x [..., M, K] by w [..., K, N]; vectors count as matrices of one row or column."""

    x: tuple[int, ...]
    """Its shape, with `multiple` filling up K."""
    w: tuple[int, ...]
    shape: tuple[int, ...]
    """Of the result."""
    y: Strides
    row_axis: int | None
    """Of the result; None where x is a vector."""
    column_axis: int | None

    @classmethod
    def of(cls, op: Matmul, multiple: int) -> Self:
        """The matrices of an op, whose depth is padded to a multiple."""
        x, w = op.x.tensor.dims, op.w.tensor.dims
        x = x if len(x) > 1 else (1, *x)
        w = w if len(w) > 1 else (*w, 1)
        shape = op.result.tensor.dims
        rank = max(len(x), len(w)) - 2
        return cls(
            x=(*x[:-1], x[-1] + -x[-1] % multiple),
            w=w,
            shape=shape,
            y=contiguous(shape),
            row_axis=rank if op.x.tensor.rank > 1 else None,
            column_axis=len(shape) - 1 if op.w.tensor.rank > 1 else None,
        )

    @property
    def lead_rank(self) -> int:
        return max(len(self.x), len(self.w)) - 2

    @property
    def columns(self) -> int:
        return self.w[-1]

    def column_strides(self) -> Strides:
        """The strides of a vector along the columns of the result."""
        return tuple(int(axis == self.column_axis) for axis in range(len(self.shape)))

    def matrix_strides(self) -> Strides:
        """For each leading axis of the result, the step in the number of the matrix of w."""
        return lead_strides((*self.w[:-2], 1, 1), self.lead_rank)

    def positions(self, operands: Sequence[Operand], unit: int) -> tuple[list[Loop], Loop]:
        """The loops over matrices and rows, as many as possible merged; w has `unit` a matrix."""
        strides = zip(lead_strides(self.x, self.lead_rank), self.matrix_strides(), strict=True)
        lead = [
            self._loop(self.shape[axis], axis, x, w * unit, operands)
            for axis, (x, w) in enumerate(strides)
        ]
        rows = self._loop(self.x[-2], self.row_axis, self.x[-1], 0, operands)
        return merged_positions(lead, rows)

    def vectors(self, operands: Sequence[Operand]) -> Loop:
        """The loop over columns."""
        return self._loop(self.columns, self.column_axis, 0, 1, operands)

    def _loop(
        self, extent: int, axis: int | None, x: int, w: int, operands: Sequence[Operand]
    ) -> Loop:
        outside = [0 if axis is None else operand.strides[axis] for operand in operands]
        return Loop(extent, (0 if axis is None else self.y[axis], x, w, *outside))


def lead_strides(shape: tuple[int, ...], rank: int) -> Strides:
    """Strides of the axes before the last two, aligned at the right, 0 where the extent is 1."""
    strides = contiguous(shape)[:-2]
    kept = tuple(0 if n == 1 else s for n, s in zip(shape[:-2], strides, strict=True))
    return (0,) * (rank - len(kept)) + kept
