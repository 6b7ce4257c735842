"""Random models, whole: float against onnxruntime, integers bit for bit on every target."""

from typing import Literal

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from support.random_models import Draw, described, feeds_for, random_model

import mcc
from mcc.judge import onnxruntime_session
from mcc.verify import verify

Mode = Literal["strict", "portable"]
QUANTIZED: list[tuple[str, Mode]] = [
    ("riscv-accel", "strict"),
    ("gemmini", "strict"),
    ("gemmini", "portable"),
    ("cpu", "strict"),
]
QUICK = settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
LONG = settings(QUICK, max_examples=60, phases=list(Phase))


def drawing(data: st.DataObject) -> Draw:
    return lambda low, high: data.draw(st.integers(low, high))


def judge_floats(model: onnx.ModelProto) -> None:
    feeds = feeds_for(model)
    # Optimized, onnxruntime 1.31 fuses a Pad of zeros into MaxPool, whose padding is no zero.
    judge = onnxruntime_session(model, "ORT_DISABLE_ALL")
    wanted = judge.run(None, {port.name: feeds[port.name] for port in judge.get_inputs()})
    found = mcc.Session(mcc.compile(model)).run(None, feeds)
    for array, judged in zip(found, wanted, strict=True):
        assert array.shape == judged.shape
        largest = float(np.abs(judged).max(initial=0.0))
        np.testing.assert_allclose(array, judged, rtol=1e-3, atol=1e-4 * largest + 1e-9)


def judge_integers(model: onnx.ModelProto, target: str, mode: Mode) -> None:
    artifact = mcc.compile(
        model, target=target, quantize="int8", mode=mode, input_range=(-2.0, 2.0), samples=4
    )
    found = verify(artifact, [feeds_for(model, 1), feeds_for(model, 2)])
    assert found.passed, [check for check in found.machine if check.differing]
    for setting, checks in found.onnxruntime.items():
        for check in checks:
            if setting.startswith("each layer") and "int" in check.dtype:
                assert check.largest <= 1, (setting, check)


@QUICK
@given(st.data())
def test_a_random_model(data: st.DataObject) -> None:
    model = random_model(drawing(data), longest=5)
    note(described(model))
    judge_floats(model)
    judge_integers(model, "riscv-accel", "strict")
    judge_integers(model, "gemmini", "strict")


@pytest.mark.slow
@LONG
@given(st.data())
def test_random_floats(data: st.DataObject) -> None:
    model = random_model(drawing(data))
    note(described(model))
    judge_floats(model)


@pytest.mark.slow
@pytest.mark.parametrize(("target", "mode"), QUANTIZED)
@LONG
@given(st.data())
def test_random_integers(target: str, mode: Mode, data: st.DataObject) -> None:
    model = random_model(drawing(data))
    note(described(model))
    judge_integers(model, target, mode)


# What such models found before.


def build(*lines: str, weights: dict[str, tuple[int, ...]]) -> onnx.ModelProto:
    """A model from onnx's text form, with random weights."""
    numbers = np.random.default_rng(4)
    model = onnx.parser.parse_model("\n".join(lines))
    for name, shape in weights.items():
        array = numbers.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return model


HEAD = '<ir_version: 8, opset_import: ["" : 17]>'


@pytest.mark.parametrize("target", ["riscv-accel", "gemmini"])
def test_kernels_that_run_in_another_order_than_they_stand(target: str) -> None:
    """The host's transpose between two kernels lets a third one run before the second."""
    model = build(
        HEAD,
        "random (float[2,3,9] x) => (float[2,17,3] z, float[2,9,1] y) {",
        "  t = Transpose <perm = [0, 2, 1]> (x)",
        "  m = MatMul (x, t)",
        "  y = Conv <strides = [3], group = 3, pads = [1, 0]> (m, v)",
        "  z = Conv <strides = [3], dilations = [2], pads = [2, 0]> (x, w)",
        "}",
        weights={"v": (9, 1, 2), "w": (17, 3, 2)},
    )
    judge_integers(model, target, "strict")


@pytest.mark.parametrize("target", ["riscv-accel", "gemmini"])
def test_an_upper_bound_below_zero(target: str) -> None:
    model = build(
        HEAD,
        "random (float[2,4] x) => (float[2,8] y)",
        "<float lo = {-3}, float hi = {-0.5}> {",
        "  m = MatMul (x, w)",
        "  y = Clip (m, lo, hi)",
        "}",
        weights={"w": (4, 8)},
    )
    judge_integers(model, target, "strict")


@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
def test_rounding_up_where_only_one_axis_gains_a_window(kind: str) -> None:
    model = build(
        HEAD,
        "random (float[1,3,8,9] x) => (float[1,3,A,B] y) {",
        f"  y = {kind} <kernel_shape = [1, 2], strides = [3, 2], ceil_mode = 1> (x)",
        "}",
        weights={},
    )
    judge_integers(model, "riscv-accel", "strict")


def test_an_input_handed_through() -> None:
    model = build(HEAD, "same (float[1,4] x) => (float[1,4] x) {", "}", weights={})
    judge_floats(model)
    judge_integers(model, "gemmini", "strict")


@pytest.mark.parametrize("target", ["riscv-accel", "gemmini"])
def test_padding_behind_the_image_only(target: str) -> None:
    """A 1x1 window over whole images is one row of pixels, but not with more columns than those."""
    model = build(
        HEAD,
        "random (float[1,3,5,6] x) => (float[1,4,6,8] y) {",
        "  y = Conv <pads = [0, 0, 1, 2]> (x, w)",
        "}",
        weights={"w": (4, 3, 1, 1)},
    )
    judge_integers(model, target, "strict")
