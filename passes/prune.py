"""Magnitude pruning: the weights that matter least become zero."""

from typing import Literal

import numpy as np

from mcc.ir import Array, Constant, Module, Op, Rewriter, RewriteReport, constant
from mcc.ops import Conv, Matmul

from .base import Pass

BLOCK = 16
"""Rows and columns of a tile in `structure=block16`: the accelerator's array."""


class Prune(Pass, name="prune"):
    """conv(x, w) -> conv(x, w with its smallest entries zeroed), likewise matmul.

    Of each constant weight, the share `sparsity` becomes zero, smallest first (S. Han et al.,
    «Learning both weights and connections», 2015): single elements by magnitude, or output channels
    or tiles by mean square. A tile is 16 output channels at one tap, by 16 input channels (the
    matrix that an accelerator loads at once) or by one (`row16`: what a CPU multiplies at once, and
    skips where it is zero). Biases stay. The report counts what was zeroed.

    Raises:
        ValueError: For a sparsity outside [0, 1].
    """

    sparsity: float = 0.5
    structure: Literal["element", "channel", "row16", "block16"] = "element"

    def __post_init__(self) -> None:
        if not 0 <= self.sparsity <= 1:
            raise ValueError(f"sparsity must be between 0 and 1, not {self.sparsity}")

    def run(self, module: Module, report: RewriteReport) -> Module:
        rewriter = Rewriter(module)
        for op in list(module.ops()):
            if not isinstance(op, Constant):
                continue
            readers = [reader for reader in op.result.uses if isinstance(reader, Conv | Matmul)]
            weighed = [reader for reader in readers if reader.w is op.result]
            if not weighed:
                continue
            if (reason := _why_not(op, weighed, self.structure)) is not None:
                report.declined.append(("prune", weighed[0], reason))
                continue
            array = op.data.array
            pruned = self.pruned(array, weighed[0])
            zeroed = int(np.count_nonzero(array) - np.count_nonzero(pruned))
            if not zeroed:
                continue
            rewriter.replace(op, constant(pruned, op.data.name).result)
            report.fired[f"zeros in {op.result.name or weighed[0].op_name}"] += zeroed
        return module

    def pruned(self, array: Array, reader: Conv | Matmul) -> Array:
        """The weights with the least share of their units set to zero."""
        matrices = _matrices(array, reader)
        count, inputs, outputs = matrices.shape
        match self.structure:
            case "element":
                high, wide = 1, 1
            case "channel":
                # All taps and input channels of an output channel are one unit.
                matrices = matrices.reshape(1, count * inputs, outputs)
                high, wide = count * inputs, 1
            case "row16":
                high, wide = 1, BLOCK
            case "block16":
                high, wide = BLOCK, BLOCK
        labels = _labels(matrices.shape, high, wide)
        squares = np.bincount(labels.ravel(), matrices.astype(np.float64).ravel() ** 2)
        # Tiles at the edge are smaller: the mean makes them comparable.
        weights = squares / np.bincount(labels.ravel())
        least = np.argsort(weights, kind="stable")[: int(self.sparsity * len(weights))]
        doomed = np.zeros(len(weights), bool)
        doomed[least] = True
        kept = np.where(doomed[labels], 0, matrices).astype(array.dtype)
        return _from_matrices(kept.reshape(count, inputs, outputs), array.shape, reader)


def _why_not(op: Constant, weighed: list[Conv | Matmul], structure: str) -> str | None:
    readers: list[Op] = list(op.result.uses)
    if any(reader not in weighed for reader in readers):
        return "the weights are read otherwise too"
    if not op.result.tensor.dtype.is_float:
        return "the weights are integers: prune before quantizing"
    if any(isinstance(reader, Matmul) and op.data.array.ndim != 2 for reader in weighed):
        return "the weights are no matrix"
    depthwise = any(isinstance(reader, Conv) and reader.groups > 1 for reader in weighed)
    if structure in ("row16", "block16") and depthwise:
        return "a convolution with groups has no tiles of 16 x 16"
    return None


def _matrices(array: Array, reader: Conv | Matmul) -> Array:
    """Weights as [taps, inputs, outputs]: conv [O, C, *K], matmul [K, N]."""
    if isinstance(reader, Matmul):
        return array.reshape(1, *array.shape)
    return np.moveaxis(array, (0, 1), (-1, -2)).reshape(-1, array.shape[1], array.shape[0])


def _from_matrices(matrices: Array, shape: tuple[int, ...], reader: Conv | Matmul) -> Array:
    if isinstance(reader, Matmul):
        return matrices.reshape(shape)
    taps = matrices.reshape(*shape[2:], shape[1], shape[0])
    return np.ascontiguousarray(np.moveaxis(taps, (-1, -2), (0, 1)))


def _labels(shape: tuple[int, ...], high: int, wide: int) -> Array:
    """For each element of [taps, inputs, outputs], the number of its unit of `high` x `wide`."""
    taps, inputs, outputs = shape
    rows, columns = -(-inputs // high), -(-outputs // wide)
    row, column = np.arange(inputs) // high, np.arange(outputs) // wide
    tap = np.arange(taps)[:, None, None] * (rows * columns)
    return tap + row[None, :, None] * columns + column[None, None, :]
