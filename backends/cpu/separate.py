"""Maxima over large windows, one axis after the other."""

import math

from mcc.ir import Because, Value
from mcc.ops import MaxPool
from mcc.passes import Pass

_WORTH = 1.5
"""How many times fewer comparisons make up for storing the maxima of rows."""


def separate(op: MaxPool) -> Value | Because | None:
    """max_pool(x) {kernel=[a, b]} -> max_pool(max_pool(x) {kernel=[1, b]}) {kernel=[a, 1]}."""
    wide = [axis for axis, size in enumerate(op.kernel) if size > 1]
    if len(wide) < 2:
        return None
    last, rank = wide[-1], len(op.kernel)
    strides, pads, dilations = op.geometry

    def along(x: Value, axes: list[int]) -> Value:
        """The op on some of the axes only."""
        return MaxPool(
            x,
            kernel=tuple(op.kernel[i] if i in axes else 1 for i in range(rank)),
            strides=tuple(strides[i] if i in axes else 1 for i in range(rank)),
            pads=tuple(pad if i % rank in axes else 0 for i, pad in enumerate(pads)),
            dilations=dilations,
            ceil=op.ceil,
            layout=op.layout,
        ).result

    first = along(op.x, [last])
    before = op.result.tensor.size * math.prod(op.kernel)
    after = first.tensor.size * op.kernel[last] + before // op.kernel[last]
    if before <= _WORTH * after:
        return Because("windows are small or far apart")
    return along(first, [axis for axis in range(rank) if axis != last])


class SeparatePools(Pass, name="separate-pools"):
    """max_pool(x) {kernel=[a, b]} -> max_pool(max_pool(x) {kernel=[1, b]}) {kernel=[a, 1]}.

    Where windows overlap so much that the maxima of their rows serve several of them.
    """

    rules = (separate,)
