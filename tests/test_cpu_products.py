"""Convolutions and matrix products of the CPU backend against the ops' definitions."""

from typing import Any

import numpy as np
from cpu_cases import Array, Cases, Chain, Make, bind, chained, floats, in_layout, integers
from hypothesis import given, settings
from hypothesis import strategies as st

from mcc.ir import DType, Op, Tensor, Value
from mcc.ops import Conv, Exp, Matmul, Pad, Requantize, Softmax


@st.composite
def convolutions(draw: st.DrawFn) -> dict[str, Any]:
    rank = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 1, 2, 3, 8]))
    depthwise = draw(st.booleans())
    channels = groups * (1 if depthwise else draw(st.integers(1, 9)))
    outputs = groups * (1 if depthwise and draw(st.booleans()) else draw(st.integers(1, 40)))
    return {
        "x": (draw(st.integers(1, 2)), channels, *(draw(st.integers(5, 12)) for _ in range(rank))),
        "w": (outputs, channels // groups, *(draw(st.integers(1, 3)) for _ in range(rank))),
        "strides": tuple(draw(st.integers(1, 3)) for _ in range(rank)),
        "pads": tuple(draw(st.integers(0, 2)) for _ in range(2 * rank)),
        "dilations": tuple(draw(st.integers(1, 2)) for _ in range(rank)),
        "groups": groups,
        "layout": draw(st.sampled_from(["nchw", "nhwc"])),
        "extras": draw(st.integers(0, 15)),
        "held": draw(st.booleans()),
        "zero": draw(st.integers(-128, 127)),
        "seed": draw(st.integers(0, 2**31)),
    }


def geometry(case: dict[str, Any]) -> dict[str, Any]:
    names = ("strides", "pads", "dilations", "groups", "layout")
    return {name: case[name] for name in names}


@settings(max_examples=2, deadline=None)
@given(st.lists(convolutions(), min_size=12, max_size=12))
def test_float_convolutions(drawn: list[dict[str, Any]]) -> None:
    cases = Cases()
    for case in drawn:
        rng = np.random.default_rng(case["seed"])
        x = in_layout(floats(rng, *case["x"]), case["layout"])
        w = floats(rng, *case["w"])
        plain = bind(Conv, **geometry(case))
        arrays = [x]
        sides: dict[str, int] = {}
        if case["extras"] & 1:
            sides["b"] = len(arrays)
            arrays.append(floats(rng, case["w"][0]))
        if case["extras"] & 2:
            sides["r"] = len(arrays)
            arrays.append(floats(rng, *result_shape(x, w, case)))
        bounds = {"lo": 0.0, "hi": 1.5} if case["extras"] & 4 else {}

        def make(
            *values: Value,
            plain: Make = plain,
            sides: dict[str, int] = sides,
            bounds: dict[str, float] = bounds,
        ) -> Op:
            *inputs, weights = values
            named = {name: inputs[place] for name, place in sides.items()}
            return plain(inputs[0], weights, **named, **bounds)

        if case["held"]:
            cases.add(str(case), make, *arrays, constants=[w], tolerance=1e-4)
        else:
            cases.add(str(case), make, *arrays, w, tolerance=1e-4)
    cases.check()


def result_shape(x: Array, w: Array, case: dict[str, Any]) -> tuple[int, ...]:
    probe = Conv(
        Value(Tensor(DType.of(x), x.shape)), Value(Tensor(DType.of(w), w.shape)), **geometry(case)
    )
    return probe.result.tensor.dims


@settings(max_examples=2, deadline=None)
@given(st.lists(convolutions(), min_size=12, max_size=12), st.sampled_from(["i1", "u1"]))
def test_integer_convolutions_with_requantize(drawn: list[dict[str, Any]], dtype: str) -> None:
    cases = Cases()
    for case in drawn:
        rng = np.random.default_rng(case["seed"])
        x = in_layout(integers(rng, *case["x"], dtype=dtype), case["layout"])
        w = integers(rng, *case["w"])
        outputs = case["w"][0]
        fill = case["zero"] if dtype == "i1" else case["zero"] + 128
        per_channel = bool(case["extras"] & 1)
        scales = (rng.random(outputs if per_channel else ()) * 2e-3 + 1e-5).astype("f4")
        axis = 1 if case["layout"] == "nchw" else x.ndim - 1
        extra: list[Array] = [integers(rng, outputs, dtype="i4")] if case["extras"] & 2 else []
        if case["extras"] & 4 and extra:
            extra += [
                integers(rng, *result_shape(x, w, case)),
                integers(rng, outputs, dtype="i1").astype("i4"),
            ]

        @chained
        def make(
            chain: Chain,
            x: Value,
            w: Value,
            multiplier: Value,
            *sides: Value,
            case: dict[str, Any] = case,
            fill: int = fill,
            axis: int = axis,
        ) -> Op:
            named: dict[str, Any] = dict(zip(("b", "r", "k"), sides, strict=False))
            total = chain(Conv(x, w, **named, **geometry(case), pad_value=fill))
            return Requantize(total, multiplier, zero=case["zero"] // 2, axis=axis)

        cases.add(str(case), make, x, constants=[w, scales, *extra])
    cases.check()


@settings(max_examples=2, deadline=None)
@given(st.data())
def test_matrix_products(data: st.DataObject) -> None:
    cases = Cases()
    lengths = st.integers(1, 40)
    for number in range(14):
        m, k, n = (data.draw(lengths) for _ in range(3))
        left = data.draw(st.sampled_from([(), (3,), (2, 3), (2, 1), (1,)]))
        right = data.draw(st.sampled_from([(), (3,), (2, 3), (1, 3)]))
        x_shape = data.draw(st.sampled_from([(*left, m, k), (k,)]))
        w_shape = data.draw(st.sampled_from([(*right, k, n), (k,), (k, n)]))
        rng = np.random.default_rng(number)
        held = data.draw(st.booleans())
        integer = data.draw(st.booleans())
        x, w = floats(rng, *x_shape), floats(rng, *w_shape)
        sides: list[Array] = []
        if len(w_shape) > 1:
            sides.append(floats(rng, n))
        if integer:
            x, w = integers(rng, *x_shape), integers(rng, *w_shape)
            sides = [integers(rng, n, dtype="i4") for _ in sides]
        label = f"{x_shape} {w_shape} held={held} integer={integer}"
        tolerance = 0.0 if integer else 1e-4
        if held:
            cases.add(label, Matmul, x, constants=[w, *sides], tolerance=tolerance)
        else:
            cases.add(label, Matmul, x, w, *sides, tolerance=tolerance)
    cases.check()


def test_large_kernels_run_in_parallel() -> None:
    rng = np.random.default_rng(7)
    cases = Cases()
    x, w = floats(rng, 1, 20, 40, 41), floats(rng, 70, 20, 3, 3)
    cases.add("conv", bind(Conv, pads=(1, 1, 1, 1)), x, constants=[w], tolerance=1e-4)
    cases.add("exp", Exp, floats(rng, 70001), tolerance=1e-5)
    cases.add(
        "matmul", Matmul, floats(rng, 65, 300), constants=[floats(rng, 300, 130)], tolerance=1e-4
    )
    # Weights beyond the second-level cache: several passes, and rows of seven taken together.
    deep = floats(rng, 30, 4000)
    sides = [floats(rng, 4000, 100), floats(rng, 100)]
    cases.add("passes", bind(Matmul, lo=-40.0), deep, constants=sides, tolerance=1e-4)
    image, weights = floats(rng, 2, 300, 7, 7), floats(rng, 100, 300, 3, 3)
    rows = bind(Conv, pads=(1, 1, 1, 1), hi=30.0, layout="nhwc")
    cases.add("rows", rows, in_layout(image, "nhwc"), constants=[weights], tolerance=1e-4)
    narrow = bind(Conv, layout="nhwc", groups=2)
    grouped = [floats(rng, 300, 150, 1, 3)]
    cases.add("grouped", narrow, in_layout(image, "nhwc"), constants=grouped, tolerance=1e-4)
    cases.add("softmax", bind(Softmax, axis=1), floats(rng, 500, 100), tolerance=1e-5)
    pads = (0, 0, 1, 1, 0, 0, 1, 1)
    cases.add("pad", bind(Pad, pads=pads), floats(rng, 2, 30, 60, 61))
    cases.check()
