"""Convolution and pooling against onnxruntime, over their whole geometry."""

import itertools
import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.ir_judge import onnxruntime_op, run

from mcc.ir import Array, DType, OpError, Region, Symbol, Tensor
from mcc.ops import AvgPool, Conv, MaxPool, SumPool


@dataclass(frozen=True)
class Geometry:
    """Sizes of one window op; pads smaller than the kernel, as onnxruntime wants them."""

    batch: int
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]

    @property
    def onnx(self) -> dict[str, Any]:
        return {
            "kernel_shape": self.kernel,
            "strides": self.strides,
            "pads": self.pads,
            "dilations": self.dilations,
        }

    @property
    def mcc(self) -> dict[str, Any]:
        return {"strides": self.strides, "pads": self.pads, "dilations": self.dilations}


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    rank = draw(st.integers(1, 3))

    def each(low: int, high: int, count: int = rank) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(count))

    kernel, strides, dilations = each(1, 3), each(1, 3), each(1, 2)
    pads = tuple(draw(st.integers(0, kernel[i % rank] - 1)) for i in range(2 * rank))
    size = each(1, 9)
    assume(
        all(
            size[i] + pads[i] + pads[rank + i] > dilations[i] * (kernel[i] - 1) for i in range(rank)
        )
    )
    return Geometry(draw(st.integers(1, 2)), size, kernel, strides, pads, dilations)


def normal(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def integers(seed: int, *shape: int, dtype: type[Any] = np.int8) -> Array:
    limits = np.iinfo(dtype)
    drawn = np.random.default_rng(seed).integers(limits.min, limits.max, shape, endpoint=True)
    return np.asarray(drawn, dtype)


def last(x: Array) -> Array:
    """Channels last."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


seeds = st.integers(0, 1000)


@given(geometries(), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.booleans(), seeds)
@settings(deadline=None, max_examples=60)
def test_conv(
    shape: Geometry, groups: int, inputs: int, outputs: int, biased: bool, seed: int
) -> None:
    x = normal(seed, shape.batch, groups * inputs, *shape.size)
    w = normal(seed + 1, groups * outputs, inputs, *shape.kernel)
    b = normal(seed + 2, groups * outputs) if biased else None
    (expected,) = onnxruntime_op(
        "Conv", [x, w, b] if b is not None else [x, w], group=groups, **shape.onnx
    )
    found = run(Conv, x, w, b, groups=groups, **shape.mcc)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    across = run(Conv, last(x), w, b, groups=groups, layout="nhwc", **shape.mcc)
    np.testing.assert_array_equal(across, last(found))


def slow_conv(x: Array, w: Array, shape: Geometry, groups: int, pad_value: int) -> Array:
    """Integer convolution by its definition, in Python's own integers."""
    rank = len(shape.kernel)
    out = [
        (size + shape.pads[i] + shape.pads[rank + i] - shape.dilations[i] * (kernel - 1) - 1)
        // shape.strides[i]
        + 1
        for i, (size, kernel) in enumerate(zip(shape.size, shape.kernel, strict=True))
    ]
    y = np.zeros((x.shape[0], w.shape[0], *out), object)
    per_group = w.shape[0] // groups
    for position in itertools.product(*map(range, y.shape)):
        n, o, *place = position
        total = 0
        for c, *tap in itertools.product(*map(range, w.shape[1:])):
            at = [
                place[i] * shape.strides[i] - shape.pads[i] + tap[i] * shape.dilations[i]
                for i in range(rank)
            ]
            inside = all(0 <= a < size for a, size in zip(at, shape.size, strict=True))
            channel = o // per_group * w.shape[1] + c
            value = int(x[(n, channel, *at)]) if inside else pad_value
            total += value * int(w[(o, c, *tap)])
        y[position] = total
    return y


def wrapped(exact: Array) -> Array:
    """Two's complement of 32 bits."""
    return np.asarray((exact + 2**31) % 2**32 - 2**31, np.int32)


@given(
    geometries(),
    st.integers(1, 2),
    st.integers(1, 2),
    st.integers(1, 2),
    st.sampled_from([np.int8, np.uint8]),
    st.integers(0, 127),
    seeds,
)
@settings(deadline=None, max_examples=40)
def test_integer_conv_is_exact(
    shape: Geometry,
    groups: int,
    inputs: int,
    outputs: int,
    dtype: type[Any],
    pad_value: int,
    seed: int,
) -> None:
    x = integers(seed, shape.batch, groups * inputs, *shape.size, dtype=dtype)
    w = integers(seed + 1, groups * outputs, inputs, *shape.kernel)
    exact = slow_conv(x, w, shape, groups, pad_value)
    attributes = {"groups": groups, "pad_value": pad_value, **shape.mcc}
    np.testing.assert_array_equal(run(Conv, x, w, **attributes), wrapped(exact))
    b = integers(seed + 2, groups * outputs, dtype=np.int32)
    r = integers(seed + 3, *exact.shape)
    k = integers(seed + 4, groups * outputs, dtype=np.int32)
    column = (1, -1) + (1,) * len(shape.size)
    whole = exact + b.astype(object).reshape(column)
    whole = whole + r.astype(object) * k.astype(object).reshape(column)
    found = run(Conv, x, w, b, r, k, **attributes)
    np.testing.assert_array_equal(found, wrapped(whole))
    across = run(Conv, last(x), w, b, last(r), k, layout="nhwc", **attributes)
    np.testing.assert_array_equal(across, last(found))


def test_integer_products_beyond_24_bits_are_exact() -> None:
    """Odd sums above 2^24, which float32 cannot hold."""
    depth = 5000
    x = np.full((1, depth, 1), 127, np.int8)
    w = np.full((1, depth, 1), 127, np.int8)
    w[0, 0, 0] = 126
    exact = 127 * 127 * depth - 127
    assert exact > 2**24
    assert run(Conv, x, w).item() == exact


def test_integer_sums_wrap() -> None:
    one = np.ones((1, 1, 1), np.int8)
    b = np.array([2**31 - 1], np.int32)
    assert run(Conv, one, one, b).item() == -(2**31)
    assert run(Conv, one, one, b, lo=0.0).item() == 0


def test_clamps_act_on_the_sum() -> None:
    x, w = normal(0, 1, 2, 4), normal(1, 3, 2, 1)
    plain = run(Conv, x, w)
    np.testing.assert_array_equal(run(Conv, x, w, lo=0.0, hi=0.5), plain.clip(0, 0.5))
    r = normal(2, *plain.shape)
    np.testing.assert_array_equal(run(Conv, x, w, None, r, lo=0.0), np.maximum(plain + r, 0))


def test_half_floats_are_added_in_single() -> None:
    x, w = normal(0, 1, 300, 4), normal(1, 3, 300, 1)
    half_x, half_w = x.astype(np.float16), w.astype(np.float16)
    expected = run(Conv, half_x.astype(np.float32), half_w.astype(np.float32)).astype(np.float16)
    np.testing.assert_array_equal(run(Conv, half_x, half_w), expected)


def test_conv_of_nothing() -> None:
    w = normal(0, 3, 2, 1)
    assert run(Conv, normal(0, 0, 2, 5), w).shape == (0, 3, 5)
    b = normal(1, 3)
    empty = run(Conv, normal(0, 1, 0, 5), normal(0, 3, 0, 1), b)
    np.testing.assert_array_equal(empty, np.broadcast_to(b[None, :, None], (1, 3, 5)))


def test_a_symbolic_batch() -> None:
    body = Region([Tensor(DType.F32, (Symbol("N"), 2, 5)), Tensor(DType.F32, (3, 2, 1))])
    op = Conv(body.args[0], body.args[1])
    assert str(op.result.type) == "f32[?N,3,5]"
    w = normal(1, 3, 2, 1)
    assert op.evaluate(normal(0, 4, 2, 5), w, None, None, None).shape == (4, 3, 5)


@given(geometries(), st.booleans(), seeds)
@settings(deadline=None, max_examples=60)
def test_max_pool(shape: Geometry, ceil: bool, seed: int) -> None:
    x = normal(seed, shape.batch, 2, *shape.size)
    (expected,) = onnxruntime_op("MaxPool", [x], ceil_mode=int(ceil), **shape.onnx)
    found = run(MaxPool, x, kernel=shape.kernel, ceil=ceil, **shape.mcc)
    assume(np.isfinite(found).all())  # a window of padding only: each has its own lowest value
    np.testing.assert_array_equal(found, expected)
    again = run(MaxPool, last(x), kernel=shape.kernel, ceil=ceil, layout="nhwc", **shape.mcc)
    np.testing.assert_array_equal(again, last(found))
    small = integers(seed, shape.batch, 2, *shape.size)
    (expected,) = onnxruntime_op("MaxPool", [small], ceil_mode=int(ceil), **shape.onnx)
    found = run(MaxPool, small, kernel=shape.kernel, ceil=ceil, **shape.mcc)
    np.testing.assert_array_equal(found, expected)


@given(geometries(), st.booleans(), st.booleans(), seeds)
@settings(deadline=None, max_examples=60)
def test_avg_pool(shape: Geometry, ceil: bool, include_pad: bool, seed: int) -> None:
    x = normal(seed, shape.batch, 2, *shape.size)
    attributes: dict[str, Any] = {"kernel": shape.kernel, "ceil": ceil, **shape.mcc}
    found = run(AvgPool, x, include_pad=include_pad, **attributes)
    assume(np.isfinite(found).all())  # 0 / 0 where a window holds padding only
    (expected,) = onnxruntime_op(
        "AveragePool",
        [x],
        ceil_mode=int(ceil),
        count_include_pad=int(include_pad),
        **shape.onnx,
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    across = run(AvgPool, last(x), include_pad=include_pad, layout="nhwc", **attributes)
    np.testing.assert_allclose(across, last(found), rtol=1e-6, atol=1e-6)


@given(geometries(), st.integers(-128, 127), seeds)
@settings(deadline=None, max_examples=30)
def test_sum_pool(shape: Geometry, zero: int, seed: int) -> None:
    """It is the average pool's numerator, exactly."""
    x = integers(seed, shape.batch, 2, *shape.size)
    attributes: dict[str, Any] = {"kernel": shape.kernel, **shape.mcc}
    found = run(SumPool, x, zero=zero, **attributes)
    mean = run(AvgPool, x.astype(np.float64) - zero, include_pad=True, **attributes)
    np.testing.assert_array_equal(found, np.rint(mean * math.prod(shape.kernel)))


@pytest.mark.parametrize(
    ("attributes", "complaint"),
    [
        ({"strides": (0, 1)}, r"strides \[0, 1\] must not be below 1"),
        ({"pads": (0, 0, -1, 0)}, r"pads \[0, 0, -1, 0\] must not be below 0"),
        ({"dilations": (1,)}, "dilations has 1 numbers, 2 are needed"),
        ({"groups": 0}, "groups must be at least 1"),
        ({"groups": 2}, r"x has 4 channels, w expects 8 \(groups=2\)"),
        ({"dilations": (3, 3)}, r"a window of 7 does not fit into 5\+0\+0"),
    ],
)
def test_bad_geometry(attributes: dict[str, object], complaint: str) -> None:
    with pytest.raises(OpError, match=complaint):
        run(Conv, normal(0, 1, 4, 5, 5), normal(1, 3, 4, 3, 3), **attributes)


def test_a_pad_value_must_be_an_element() -> None:
    with pytest.raises(OpError, match="200 is no i8"):
        run(Conv, integers(0, 1, 1, 3), integers(0, 1, 1, 1), pad_value=200)


def test_a_large_depthwise_convolution_is_fast() -> None:
    x, w = normal(0, 1, 96, 112, 112), normal(1, 96, 1, 3, 3)
    small_x, small_w = integers(0, *x.shape), integers(1, *w.shape)
    attributes = {"groups": 96, "pads": (1, 1, 1, 1)}
    for arrays in ((x, w), (small_x, small_w)):
        start = time.process_time()
        run(Conv, *arrays, **attributes)
        assert time.process_time() - start < 0.5
