"""Maxima over large windows as maxima of maxima, against the ops as they were."""

import math
from typing import Literal

import numpy as np
import pytest

from mcc.backends.cpu.separate import SeparatePools
from mcc.ir import DType, Module, Region, Tensor, Yield, evaluate
from mcc.ops import MaxPool
from mcc.passes import run_passes


def pooled(
    size: tuple[int, int], strides: tuple[int, int], layout: Literal["nchw", "nhwc"], dtype: DType
) -> Module:
    """One pool with other pads before than behind."""
    shape = (1, 14, 15, 3) if layout == "nhwc" else (1, 3, 14, 15)
    region = Region([Tensor(dtype, shape)], ["x"])
    pads = (size[0] // 2, size[1] // 2, size[0] // 3, size[1] // 3)
    pool = MaxPool(region.args[0], size, strides, pads, (), ceil=True, layout=layout)
    region.append(Yield((region.append(pool.named("y", ["/pool"])).results[0],)))
    return Module("pooled", region, ["y"])


def kernels(module: Module) -> list[tuple[int, ...]]:
    return [op.kernel for op in module.body if isinstance(op, MaxPool)]


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", [DType.F32, DType.I8])
def test_rows_first_gives_the_same_maxima(layout: Literal["nchw", "nhwc"], dtype: DType) -> None:
    before, after = (pooled((5, 9), (1, 2), layout, dtype) for _ in range(2))
    after = run_passes(after, [SeparatePools()])
    assert kernels(after) == [(1, 9), (5, 1)]
    x = np.random.default_rng(0).integers(-128, 128, before.body.args[0].tensor.dims)
    x = x.astype("f4" if dtype == DType.F32 else "i1")
    if dtype == DType.F32:
        x.flat[100], x.flat[300] = math.nan, -math.inf
    np.testing.assert_array_equal(evaluate(after, {"x": x})["y"], evaluate(before, {"x": x})["y"])


@pytest.mark.parametrize(("size", "stride"), [((2, 2), 2), ((7, 1), 1), ((5, 5), 5)])
def test_windows_with_little_in_common_stay(size: tuple[int, int], stride: int) -> None:
    module = pooled(size, (stride, stride), "nhwc", DType.F32)
    assert kernels(run_passes(module, [SeparatePools()])) == [size]
