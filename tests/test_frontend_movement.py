"""Operators that move elements over their attributes, against onnxruntime."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_models import Array, floats, ints
from operator_checks import check_node

quick = settings(max_examples=40, deadline=None)
X = floats(2, 3, 4)


@quick
@given(
    st.lists(st.integers(-9, 9), min_size=2, max_size=2),
    st.lists(st.integers(-9, 9), min_size=2, max_size=2),
    st.lists(st.sampled_from([-3, -1, 1, 2]), min_size=2, max_size=2),
    st.permutations([0, 1, 2]),
    st.booleans(),
)
def test_slice(
    starts: list[int], ends: list[int], steps: list[int], axes: list[int], negative: bool
) -> None:
    picked = [axis - 3 if negative else axis for axis in axes[:2]]
    weights = {
        "starts": ints(*starts),
        "ends": ints(*ends),
        "axes": ints(*picked),
        "steps": ints(*steps),
    }
    check_node("Slice", {"x": floats(4, 5, 6)}, weights)


def test_slice_to_the_very_ends() -> None:
    far = np.iinfo(np.int64)
    weights = {"starts": ints(far.max, 1), "ends": ints(far.min, far.max)}
    steps = {"axes": ints(1, 2), "steps": ints(-1, 2)}
    check_node("Slice", {"x": X}, weights | steps)


@quick
@given(
    st.sampled_from(["constant", "reflect", "edge"]),
    st.lists(st.integers(0, 2), min_size=6, max_size=6),
)
def test_pad(mode: str, pads: list[int]) -> None:
    pads[0] = pads[3] = 0
    weights = {"pads": ints(*pads)}
    if mode == "constant":
        weights["value"] = np.asarray(1.5, np.float32)
    check_node("Pad", {"x": X}, weights, mode=mode)


def test_pad_along_axes_and_cropping() -> None:
    axes = {"pads": ints(1, 0, 2, 1), "axes": ints(-1, 0)}
    check_node("Pad", {"x": X}, axes, opset=18, order=["x", "pads", "", "axes"])
    check_node("Pad", {"x": X}, {"pads": ints(0, -1, 1, 0, 0, -2)})


@pytest.mark.parametrize(
    ("opset", "parts", "attributes", "outputs"),
    [
        (17, ints(1, 3, 2), {"axis": 1}, 3),
        (17, ints(4, 0, 2), {"axis": -1}, 3),
        (17, None, {"axis": 1}, 3),
        (18, None, {"axis": 1, "num_outputs": 4}, 4),
        (18, ints(5, 1), {"axis": 1}, 2),
    ],
)
def test_split(opset: int, parts: Array | None, attributes: dict[str, Any], outputs: int) -> None:
    weights = {} if parts is None else {"split": parts}
    check_node(
        "Split",
        {"x": floats(7, 7 if outputs == 4 else 6)},
        weights,
        opset,
        None,
        outputs,
        **attributes,
    )


@pytest.mark.parametrize("shape", [(4, 6), (0, -1), (-1,), (2, 1, 3, 4), (0, 0, 4)])
def test_reshape(shape: tuple[int, ...]) -> None:
    check_node("Reshape", {"x": X}, {"shape": ints(*shape)})


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1])
def test_flatten(axis: int) -> None:
    check_node("Flatten", {"x": X}, axis=axis)


def test_squeeze_and_unsqueeze() -> None:
    x = floats(1, 3, 1, 4)
    check_node("Squeeze", {"x": x})
    check_node("Squeeze", {"x": x}, {"axes": ints(-2)})
    check_node("Unsqueeze", {"x": x}, {"axes": ints(-1, 0, 2)})
    check_node("Squeeze", {"x": x}, opset=11, axes=[0])
    check_node("Unsqueeze", {"x": x}, opset=11, axes=[0, 3])


@pytest.mark.parametrize("perm", [None, (1, 0, 2), (2, 0, 1)])
def test_transpose(perm: tuple[int, ...] | None) -> None:
    attributes: dict[str, Any] = {} if perm is None else {"perm": perm}
    check_node("Transpose", {"x": X}, **attributes)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concat(axis: int) -> None:
    check_node("Concat", {"x": X, "z": floats(2, 3, 4, seed=1), "u": X + 1}, axis=axis)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("indices", [ints(0, -1), np.asarray([[1, 0], [0, -2]]), np.asarray(1)])
def test_gather(axis: int, indices: Array) -> None:
    check_node("Gather", {"x": X}, {"indices": indices}, axis=axis)
    check_node("Gather", {"x": X, "indices": indices}, axis=axis)


def test_expand_and_tile() -> None:
    check_node("Expand", {"x": floats(3, 1)}, {"shape": ints(2, 1, 4)})
    check_node("Tile", {"x": X}, {"repeats": ints(2, 1, 3)})


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_and_space(mode: str) -> None:
    check_node("DepthToSpace", {"x": floats(1, 12, 2, 3)}, blocksize=2, mode=mode)
    check_node("SpaceToDepth", {"x": floats(1, 2, 4, 6)}, blocksize=2)
