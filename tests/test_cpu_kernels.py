"""Kernels of the CPU backend that move or reduce elements against the ops' definitions."""

import math
from typing import Any

import numpy as np
from cpu_cases import Cases, Make, bind, floats, in_layout, integers
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mcc.ir import Op, Value
from mcc.ops import (
    AvgPool,
    BatchNorm,
    Concat,
    Expand,
    Gather,
    LayerNorm,
    MaxPool,
    Pad,
    ReduceMax,
    ReduceMean,
    ReduceSum,
    Resample,
    Reshape,
    Slice,
    Softmax,
    SumPool,
    Transpose,
)


def joined(axis: int) -> Make:
    def make(*xs: Value) -> Op:
        return Concat(xs, axis=axis)

    return make


def test_shape_ops() -> None:
    rng = np.random.default_rng(2)
    x = floats(rng, 2, 3, 5, 19)
    cases = Cases()

    add = cases.add
    for dtype in ("f4", "i1", "i8", "?"):
        y = (x * 9).astype(dtype)
        add("transpose", bind(Transpose, perm=(0, 2, 3, 1)), y)
        add("transpose2", bind(Transpose, perm=(3, 1, 0, 2)), y)
        add("reshape", bind(Reshape, shape=(6, 95)), y)
        add(
            "slice", bind(Slice, starts=(0, 2, 4, 1), stops=(2, -1, 0, 18), steps=(1, -1, -2, 3)), y
        )
        add("slice_row", bind(Slice, starts=(0, 1, 0, 0), stops=(2, 3, 5, 19)), y)
        add("expand", bind(Expand, shape=(3, 5, 19)), y[:, :1, :, :1])
        add("pad", bind(Pad, pads=(0, 1, 2, 3, 1, 0, 1, 17), value=1.0), y)
        add("crop", bind(Pad, pads=(0, -1, 0, -2, 0, 0, -2, 1)), y)
        add("reflect", bind(Pad, pads=(0, 0, 3, 2, 0, 0, 1, 4), mode="reflect"), y)
        add("edge", bind(Pad, pads=(1, 0, 3, 2, 0, 2, 1, 4), mode="edge"), y)
        indices = rng.integers(-3, 3, (2, 4))
        add("gather", bind(Gather, axis=1), y, indices)
        add("gather32", bind(Gather, axis=0), y, (indices % 2).astype("i4"))
    add("concat", joined(2), x, x[:, :, :2], x[:, :, :0], floats(rng, 2, 3, 1, 19))
    add("concat0", joined(0), x, x, x)
    for dtype in ("f4", "f8", "i1"):
        turned = (floats(rng, 2, 37, 3, 50) * 9).astype(dtype)
        for perm in ((0, 3, 1, 2), (3, 0, 2, 1), (0, 2, 3, 1), (1, 2, 0, 3), (3, 2, 1, 0)):
            add(f"turn{perm}", bind(Transpose, perm=perm), turned)
    add("square", bind(Transpose, perm=(1, 0)), floats(rng, 32, 16))
    add("big_transpose", bind(Transpose, perm=(0, 2, 1)), floats(rng, 1, 300, 301))
    add("empty", bind(Transpose, perm=(1, 0)), floats(rng, 0, 4))
    cases.check()


def test_sampling_an_axis() -> None:
    rng = np.random.default_rng(8)
    x = floats(rng, 2, 5, 3, 19)
    indices = rng.integers(-2, 7, (9, 3))
    cases = Cases()
    for axis in range(4):
        for dtype in ("f4", "f8"):
            weights = floats(rng, 9, 3, dtype=dtype)
            tables: list[NDArray[Any]] = [indices, weights]
            make = bind(Resample, axis=axis)
            cases.add(f"axis{axis}", make, x.astype(dtype), constants=tables, tolerance=1e-5)
            cases.add(f"fed{axis}", make, x.astype(dtype), *tables, tolerance=1e-5)
        picks = [np.array([0, 4, -1, 2, 0]) % x.shape[axis]]
        for dtype in ("f4", "i1", "i8"):
            fixed = bind(Gather, axis=axis)
            cases.add(f"pick{axis}", fixed, (x * 9).astype(dtype), constants=picks)
    nothing: list[NDArray[Any]] = [np.zeros((4, 0), np.int64), np.zeros((4, 0), np.float32)]
    cases.add("no_taps", bind(Resample, axis=1), x, constants=nothing)
    large = floats(rng, 1, 40, 50, 64)
    two: list[NDArray[Any]] = [rng.integers(0, 50, (100, 2)), floats(rng, 100, 2)]
    cases.add("shared", bind(Resample, axis=2), large, constants=two, tolerance=1e-5)
    cases.check()


def test_reductions_and_normalizations() -> None:
    rng = np.random.default_rng(3)
    x = floats(rng, 3, 4, 5, 37)
    nan = x.copy()
    nan[1, 2, 3, 4] = math.nan
    cases = Cases()
    for axes in ((3,), (0,), (1, 2), (0, 2), (2, 3), (0, 1, 2, 3), (), (1, 3)):
        for keep in (False, True):
            for cls in (ReduceSum, ReduceMean, ReduceMax):
                make = bind(cls, axes=axes, keepdims=keep)
                cases.add(f"{cls.op_name}{axes}", make, x, tolerance=1e-5)
                cases.add(f"{cls.op_name}{axes}i", make, integers(rng, 3, 4, 5, 37, dtype="i4"))
        cases.add("max_nan", bind(ReduceMax, axes=axes), nan)
    cases.add("sum_none", bind(ReduceSum, axes=(1,)), floats(rng, 3, 0, 2))
    for axis in (0, 1, 3):
        cases.add(f"softmax{axis}", bind(Softmax, axis=axis), x * 30, tolerance=1e-5)
        scale, bias = floats(rng, *x.shape[axis:]), floats(rng, *x.shape[axis:])
        norm = bind(LayerNorm, axis=axis)
        cases.add(f"layer_norm{axis}", norm, x, scale, bias, tolerance=1e-4)
        cases.add(f"layer_norm{axis}b", norm, x, floats(rng, 37), tolerance=1e-4)
    cases.add("softmax8", bind(Softmax, axis=1), floats(rng, 3, 9, dtype="f8"), tolerance=1e-9)
    vectors = [floats(rng, 4), floats(rng, 4), floats(rng, 4), np.abs(floats(rng, 4))]
    cases.add("batch_norm", BatchNorm, x, *vectors, tolerance=1e-5)
    cases.check()


@settings(max_examples=2, deadline=None)
@given(st.data())
def test_pools(data: st.DataObject) -> None:
    cases = Cases()
    for number in range(10):
        rng = np.random.default_rng(number)
        rank = data.draw(st.integers(1, 3))
        layout = data.draw(st.sampled_from(["nchw", "nhwc"]))
        kernel = tuple(data.draw(st.integers(1, 3)) for _ in range(rank))
        pads = tuple(min(data.draw(st.integers(0, 1)), size - 1) for size in kernel * 2)
        options: dict[str, Any] = {
            "kernel": kernel,
            "strides": tuple(data.draw(st.integers(1, 3)) for _ in range(rank)),
            "pads": pads,
            "ceil": data.draw(st.booleans()),
            "layout": layout,
        }
        shape = (2, data.draw(st.integers(1, 40)), *(data.draw(st.integers(5, 11)) for _ in kernel))
        x = in_layout(floats(rng, *shape), layout)
        x.flat[7] = math.nan
        q = in_layout(integers(rng, *shape), layout)
        label = str(options)
        cases.add("max" + label, bind(MaxPool, **options), x)
        cases.add("max8" + label, bind(MaxPool, **options), q)
        pad = data.draw(st.booleans())
        cases.add("avg" + label, bind(AvgPool, **options, include_pad=pad), x, tolerance=1e-5)
        cases.add("sum" + label, bind(SumPool, **options, zero=-7), q)
    cases.check()
