"""Convolutions over dealt out pixels become ones over the image with the same products."""

from collections.abc import Sequence

import numpy as np
import pytest

from mcc.backends.cpu.unshuffle import FoldUnshuffle
from mcc.ir import DType, Module, Region, Tensor, Value, Yield, constant, evaluate
from mcc.ops import Concat, Conv, Slice
from mcc.passes import run_passes

SQUARE = [(0, 0), (1, 0), (0, 1), (1, 1)]
"""The order in which YOLOX deals out its pixels."""


def dealt(
    phases: Sequence[tuple[int, int]],
    block: tuple[int, int] = (2, 2),
    *,
    sizes: tuple[int, int] = (12, 18),
    stride: int = 1,
    again: bool = False,
) -> Module:
    """A convolution with uneven pads over slices of slices of an image of three channels."""
    rng = np.random.default_rng(0)
    region = Region([Tensor(DType.F32, (1, 3, *sizes))], ["x"])

    def picked(x: Value, axis: int, start: int) -> Value:
        starts, steps = [0] * 4, [1] * 4
        starts[axis], steps[axis] = start, block[axis - 2]
        op = Slice(x, tuple(starts), x.tensor.dims, tuple(steps))
        return region.append(op).results[0]

    parts = [picked(picked(region.args[0], 2, row), 3, column) for row, column in phases]
    channels = region.append(Concat(tuple(parts), axis=1)).results[0]
    w = rng.standard_normal((5, channels.tensor.dims[1], 3, 2)).astype("f4")
    pads = (1, 0, 2, 1)
    weights = region.append(constant(w, "w")).results[0]
    conv = Conv(channels, weights, strides=(stride, 1), pads=pads)
    y = region.append(conv.named("y", ["/conv"])).results[0]
    names = ["y", "z"] if again else ["y"]
    region.append(Yield((y, channels) if again else (y,)))
    return Module("dealt", region, names)


def folded(module: Module) -> tuple[Module, bool]:
    """The module behind the pass, and whether its convolution reads the image."""
    module = run_passes(module, [FoldUnshuffle()])
    (conv,) = (op for op in module.body if isinstance(op, Conv))
    return module, conv.x is module.body.args[0]


@pytest.mark.parametrize(
    ("phases", "block", "stride"),
    [
        (SQUARE, (2, 2), 1),
        (SQUARE[::-1], (2, 2), 2),
        ([(i, j) for j in range(3) for i in range(2)], (2, 3), 1),
        ([(1, 0), (0, 1)], (2, 2), 1),
    ],
)
def test_products_are_the_same(
    phases: list[tuple[int, int]], block: tuple[int, int], stride: int
) -> None:
    after, reads_image = folded(dealt(phases, block, stride=stride))
    assert reads_image
    x = np.random.default_rng(1).standard_normal((1, 3, 12, 18)).astype("f4")
    before = evaluate(dealt(phases, block, stride=stride), {"x": x})["y"]
    np.testing.assert_allclose(evaluate(after, {"x": x})["y"], before, rtol=1e-5, atol=1e-5)


def test_what_is_no_dealing_out_stays() -> None:
    assert not folded(dealt([(0, 0), (0, 0)]))[1]
    assert not folded(dealt([(2, 0), (2, 1)]))[1]
    assert not folded(dealt([(0, 0), (0, 1)], sizes=(11, 18)))[1]
    assert not folded(dealt(SQUARE, again=True))[1]
