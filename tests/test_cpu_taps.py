"""Depthwise convolutions of bytes by dot products over taps, against the op's definition."""

from typing import Any

import numpy as np
import pytest
from cpu_cases import Array, Cases, Chain, bind, chained
from hypothesis import given, settings
from hypothesis import strategies as st

from mcc.backends.cpu.kernels.taps import channel_runs, pack_taps
from mcc.backends.cpu.machine import machine_of
from mcc.backends.cpu.plan import plan_module
from mcc.ir import Op, Value
from mcc.ops import Conv, Requantize
from mcc.runtime import load_target


@st.composite
def convolutions(draw: st.DrawFn) -> dict[str, Any]:
    rank = draw(st.integers(1, 2))
    kernel = tuple(draw(st.integers(1, 5)) for _ in range(rank))
    return {
        "channels": draw(st.sampled_from([32, 33, 48, 63, 64, 80, 100, 128, 144, 200])),
        "batch": draw(st.integers(1, 2)),
        "extents": tuple(draw(st.integers(9, 17)) for _ in kernel),
        "kernel": kernel,
        "strides": tuple(draw(st.integers(1, 2)) for _ in kernel),
        "pads": tuple(draw(st.integers(0, 2)) for _ in kernel * 2),
        "dilations": tuple(draw(st.integers(1, 2)) for _ in kernel),
        "layout": draw(st.sampled_from(["nchw", "nhwc"])),
        "dtype": draw(st.sampled_from(["i1", "u1"])),
        "seed": draw(st.integers(0, 2**31)),
    }


def small(rng: np.random.Generator, *shape: int, dtype: str = "i1") -> Array:
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, endpoint=True).astype(dtype)


def add_convolution(cases: Cases, case: dict[str, Any]) -> None:
    rng = np.random.default_rng(case["seed"])
    channels: int = case["channels"]
    x = small(rng, case["batch"], channels, *case["extents"], dtype=case["dtype"])
    x = x if case["layout"] == "nchw" else np.ascontiguousarray(np.moveaxis(x, 1, -1))
    w = small(rng, channels, 1, *case["kernel"])
    names = ("strides", "pads", "dilations", "layout")
    options = {name: case[name] for name in names}
    plain = bind(Conv, groups=channels, pad_value=5, **options)
    bias = small(rng, channels, dtype="i2").astype("i4")
    scale: Array = (rng.random(channels) * 1e-3 + 1e-5).astype("f4")

    @chained
    def make(chain: Chain, x: Value, w: Value, multiplier: Value, bias: Value) -> Op:
        total = chain(plain(x, w, b=bias))
        axis = 1 if case["layout"] == "nchw" else x.tensor.rank - 1
        return Requantize(total, multiplier, zero=-5, axis=axis)

    cases.add(f"{case} requantized", make, x, constants=[w, scale, bias])
    cases.add(f"{case} sums", plain, x, constants=[w])


def test_every_shape() -> None:
    @settings(max_examples=2, deadline=None)
    @given(st.lists(convolutions(), min_size=6, max_size=6))
    def check(drawn: list[dict[str, Any]]) -> None:
        cases = Cases()
        for case in drawn:
            add_convolution(cases, case)
        cases.check()

    check()


def test_the_extremes_and_a_residual_in_place() -> None:
    cases = Cases()
    for dtype, value in (("i1", -128), ("u1", 255)):
        x = np.full((1, 6, 6, 40), value, dtype)
        w = np.full((40, 1, 3, 3), -128, "i1")
        options: dict[str, Any] = {"groups": 40, "layout": "nhwc", "pads": (1, 1, 1, 1)}
        cases.add(f"{dtype} lowest", bind(Conv, **options), x, constants=[w])
        r = small(np.random.default_rng(0), 1, 6, 6, 40)
        b, k = (small(np.random.default_rng(n), 40).astype("i4") for n in (1, 2))

        @chained
        def make(chain: Chain, x: Value, r: Value, w: Value, b: Value, k: Value) -> Op:
            return Conv(x, w, b=b, r=r, k=k, groups=40, layout="nhwc", pads=(1, 1, 1, 1))

        cases.add(f"{dtype} residual", make, x, r, constants=[w, b, k])
    cases.check()


@pytest.mark.parametrize("channels", range(16, 200, 7))
@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_runs_cover_every_channel(channels: int, lanes: int) -> None:
    runs = channel_runs(channels, lanes)
    covered: set[int] = set()
    for run in runs:
        assert run.lanes <= lanes
        covered |= set(range(run.first, run.first + run.count * run.channels))
    assert covered == set(range(channels))
    weights = np.arange(channels * 9, dtype="i4").reshape(channels, 9)
    packed = pack_taps(weights, runs)
    assert packed.size == sum(run.count * run.channels for run in runs) * 12


def test_few_channels_are_widened_instead() -> None:
    machine = machine_of(load_target("cpu"))
    if not machine.vnni_lanes:
        pytest.skip("this processor has no dot products of bytes")
    rng = np.random.default_rng(0)
    found: list[str] = []
    for channels in (24, 32):
        cases = Cases()
        convolution = bind(Conv, groups=channels, layout="nhwc")
        cases.add(
            "c",
            convolution,
            small(rng, 1, 5, 5, channels),
            constants=[small(rng, channels, 1, 3, 3)],
        )
        plan = plan_module(cases.module()[0], machine)
        found += [type(call.write).__name__ for call in plan.calls]
    assert found == ["Contraction", "TapDots"]
