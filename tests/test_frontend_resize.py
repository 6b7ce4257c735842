"""Resize and Upsample against ONNX's reference and onnxruntime."""

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator
from onnx_models import Array, floats, one_node
from operator_checks import check_node

from mcc.frontend import load
from mcc.ir import UserError, evaluate

COORDINATES = (
    *("half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize"),
    *("pytorch_half_pixel", "half_pixel_symmetric"),
)
ROUNDING = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


@st.composite
def resizes(draw: st.DrawFn) -> onnx.ModelProto:
    """Any Resize node of opset 19 on an image of a few pixels."""
    dims = [draw(st.integers(1, 2)), 1, draw(st.integers(1, 9)), draw(st.integers(1, 9))]
    axes = draw(st.sampled_from([None, (2, 3), (3, 2), (3,)]))
    count = 4 if axes is None else len(axes)
    before = dims if axes is None else [dims[axis] for axis in axes]
    coordinates = draw(st.sampled_from(COORDINATES))
    attributes: dict[str, Any] = {
        "mode": draw(st.sampled_from(["nearest", "linear", "cubic"])),
        "coordinate_transformation_mode": coordinates,
        "nearest_mode": draw(st.sampled_from(ROUNDING)),
        "cubic_coeff_a": draw(st.sampled_from([-0.75, -0.5])),
        "extrapolation_value": draw(st.sampled_from([0.0, 10.0])),
    }
    if attributes["mode"] != "nearest":
        attributes["antialias"] = draw(st.integers(0, 1))
        attributes["exclude_outside"] = draw(st.integers(0, 1))
    if axes is not None:
        attributes["axes"] = axes
    weights: dict[str, Array] = {}
    order = ["x", "", "", ""]
    if coordinates == "tf_crop_and_resize":
        first = [draw(st.sampled_from([-0.25, 0.0, 0.25, 0.375])) for _ in range(count)]
        last = [draw(st.sampled_from([0.625, 0.875, 1.0, 1.25])) for _ in range(count)]
        if axes is None:
            first[:2], last[:2] = [0.0] * 2, [1.0] * 2
        weights["roi"], order[1] = np.array([*first, *last], np.float32), "roi"
    still = 2 if axes is None else 0
    # Scales are exact: a coordinate that rounding moves off an integer finds another neighbour
    # in the reference.
    if draw(st.booleans()):
        sizes = [*before[:still], *(size * draw(st.integers(1, 3)) for size in before[still:])]
        weights["sizes"], order[3] = np.array(sizes, np.int64), "sizes"
        policy = draw(st.sampled_from(["stretch", "not_larger", "not_smaller"]))
        attributes["keep_aspect_ratio_policy"] = policy if axes is not None else "stretch"
    else:
        ratios = [draw(st.sampled_from([0.25, 0.5, 0.75, 1.0, 1.5, 2.0])) for _ in before[still:]]
        whole = [r * size % 1 == 0 for r, size in zip(ratios, before[still:], strict=True)]
        factors = [r if fits else 1.0 for r, fits in zip(ratios, whole, strict=True)]
        weights["scales"], order[2] = np.array([1.0] * still + factors, np.float32), "scales"
    while not order[-1]:
        order.pop()
    x = floats(*dims, seed=draw(st.integers(0, 9)))
    return one_node("Resize", {"x": x}, weights, 1, 19, order, attributes)


@settings(deadline=None, max_examples=150)
@given(model=resizes())
def test_any_resize_is_that_of_the_reference(model: onnx.ModelProto) -> None:
    dims = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    feeds = {"x": floats(*dims, seed=3)}
    (judged,) = ReferenceEvaluator(model).run(None, feeds)
    want = np.asarray(judged)
    (got,) = evaluate(load(model), feeds).values()
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rounding", ROUNDING)
@pytest.mark.parametrize("scale", [0.5, 0.8, 2.0, 2.5])
def test_nearest_elements_are_those_of_onnxruntime(rounding: str, scale: float) -> None:
    scales = {"scales": np.array([1, 1, scale, scale], np.float32)}
    for dtype in ("f4", "i1", "u1"):
        check_node(
            "Resize",
            {"x": (floats(1, 2, 6, 5) * 20).astype(dtype)},
            scales,
            order=["x", "", "scales"],
            nearest_mode=rounding,
        )


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize(
    "coordinates", ["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"]
)
def test_interpolation_is_that_of_onnxruntime(mode: str, coordinates: str) -> None:
    check_node(
        "Resize",
        {"x": floats(1, 2, 6, 5)},
        {"sizes": np.array([1, 2, 9, 13], np.int64)},
        order=["x", "", "", "sizes"],
        mode=mode,
        coordinate_transformation_mode=coordinates,
    )


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("opset", [9, 10])
def test_the_operators_before_opset_11(mode: str, opset: int) -> None:
    scales = {"scales": np.array([1, 1, 2, 3], np.float32)}
    op_type = "Upsample" if opset == 9 else "Resize"
    check_node(op_type, {"x": floats(1, 2, 3, 4)}, scales, opset=opset, mode=mode)


def test_upsample_with_scales_as_attribute() -> None:
    check_node("Upsample", {"x": floats(1, 2, 3, 4)}, opset=7, scales=[1.0, 1.0, 2.0, 2.0])


def test_an_empty_scales_says_nothing() -> None:
    weights: dict[str, Array] = {
        "roi": np.zeros(0, np.float32),
        "scales": np.zeros(0, np.float32),
        "sizes": np.array([1, 2, 6, 8], np.int64),
    }
    check_node("Resize", {"x": floats(1, 2, 3, 4)}, weights, opset=13)


def test_what_stays_as_it_is_needs_no_op() -> None:
    scales = {"scales": np.array([1, 1, 1, 1], np.float32)}
    for mode in ("nearest", "linear", "cubic"):
        x = {"x": floats(1, 2, 3, 4)}
        model = one_node("Resize", x, scales, order=["x", "", "scales"], attributes={"mode": mode})
        assert [op.op_name for op in load(model).ops()] == ["yield"]


def test_integers_are_not_interpolated() -> None:
    x = {"x": np.zeros((1, 1, 2, 2), np.int8)}
    scales = {"scales": np.array([1, 1, 2, 2], np.float32)}
    model = one_node("Resize", x, scales, order=["x", "", "scales"], attributes={"mode": "linear"})
    with pytest.raises(UserError, match=r"node 'the_node' \(Resize\): it interpolates i8"):
        load(model)


def test_scales_that_do_not_fit_are_refused() -> None:
    x = {"x": floats(1, 1, 2, 2), "scales": np.ones(4, np.float32)}
    model = one_node("Resize", x, order=["x", "", "scales"])
    with pytest.raises(UserError, match=r"its input scales .* is computed"):
        load(model)
