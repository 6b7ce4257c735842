"""Ranges that a model remembers from its training: the statistics of its batch normalizations.

A batch normalization was trained to put out, in each channel, the mean `bias` and the deviation
`|scale|`. Read as a normal distribution, it goes through a relu (a rectified normal, Nagel et al.
2019, appendix C), through additions of independent values, and unchanged through ops that move.
"""

import json
import math
from dataclasses import dataclass

import numpy as np

from mcc.ir import Array, Module, Op, RewriteReport, Value, constant_of
from mcc.ops import Add, AvgPool, BatchNorm, Clip, MaxPool, Relu

from ..base import Pass

DEVIATIONS = 4.0
"""How far from its mean a channel is taken to reach: all but one in 16,000 of a normal value."""

META = "batch-norm-ranges"
"""The fact of a module that holds the record."""


class RecordStatistics(Pass, name="record-statistics"):
    """Note which ranges the batch normalizations imply, for a `quantize` that has no samples.

    It must run before `fold-batch-norm`, which is where the statistics go.
    """

    def run(self, module: Module, report: RewriteReport) -> Module:
        ranges = statistic_ranges(module)
        if ranges:
            module.meta[META] = json.dumps(ranges)
            report.fired["batch-norm-range"] += len(ranges)
        return module


@dataclass(frozen=True, slots=True)
class Channels:
    """Mean and deviation of each channel, and bounds that nothing passes."""

    mean: Array
    deviation: Array
    lo: float = -math.inf
    hi: float = math.inf

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest number of any channel."""
        low = float((self.mean - DEVIATIONS * self.deviation).min())
        high = float((self.mean + DEVIATIONS * self.deviation).max())
        return min(max(low, self.lo), self.hi), max(min(high, self.hi), self.lo)

    def rectified(self) -> "Channels":
        """The moments after a relu."""
        safe = np.maximum(self.deviation, 1e-30)
        ratio = self.mean / safe
        density = np.exp(-ratio * ratio / 2) / math.sqrt(2 * math.pi)
        below = np.asarray([0.5 * math.erfc(-r / math.sqrt(2)) for r in ratio])
        mean = self.mean * below + safe * density
        square = (self.mean**2 + safe**2) * below + self.mean * safe * density
        return Channels(mean, np.sqrt(np.maximum(square - mean**2, 0.0)))


def statistic_ranges(module: Module) -> dict[str, tuple[float, float]]:
    """The range of every value that follows from batch normalizations, by name."""
    known: dict[Value, Channels] = {}
    ranges: dict[str, tuple[float, float]] = {}
    for op in module.body:
        found = _channels(op, known)
        if found is not None:
            known[op.results[0]] = found
            ranges[op.results[0].name] = found.range
    return ranges


def _channels(op: Op, known: dict[Value, Channels]) -> Channels | None:
    match op:
        case BatchNorm():
            scale, bias = constant_of(op.scale), constant_of(op.bias)
            if scale is None or bias is None:
                return None
            return Channels(bias.astype(np.float64), np.abs(scale.astype(np.float64)))
        case Relu() if op.x in known:
            return _bounded(known[op.x], 0.0, math.inf)
        case Clip() if op.x in known:
            return _bounded(known[op.x], op.lo, op.hi)
        case Add() if op.a in known and op.b in known and op.a.type == op.b.type:
            return _bounded(_sum(known[op.a], known[op.b]), op.lo, op.hi)
        case MaxPool() | AvgPool() if op.x in known:
            return known[op.x]
        case _:
            return None


def _bounded(x: Channels, lo: float, hi: float) -> Channels:
    # The range keeps the moments from before the clamp: what is cut off says how far the rest goes.
    return Channels(x.mean, x.deviation, max(x.lo, lo), min(x.hi, hi))


def _sum(a: Channels, b: Channels) -> Channels:
    left, right = (x.rectified() if x.lo == 0.0 else x for x in (a, b))
    deviation = np.sqrt(left.deviation**2 + right.deviation**2)
    return Channels(left.mean + right.mean, deviation)
