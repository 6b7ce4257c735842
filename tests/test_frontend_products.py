"""Convolutions, matrix products and pooling over their attributes, against onnxruntime."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx_models import Array, floats
from operator_checks import check_node

quick = settings(max_examples=40, deadline=None)


@quick
@given(
    st.integers(1, 2),
    st.sampled_from(["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
    st.lists(st.integers(0, 2), min_size=4, max_size=4),
    st.booleans(),
)
def test_conv(
    group: int,
    auto_pad: str,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    dilations: tuple[int, int],
    pads: list[int],
    bias: bool,
) -> None:
    weights = {"w": floats(6, 4 // group, *kernel, seed=1)}
    if bias:
        weights["b"] = floats(6, seed=2)
    attributes: dict[str, Any] = {"group": group, "strides": strides, "auto_pad": auto_pad}
    if auto_pad == "NOTSET":
        attributes |= {"pads": pads, "dilations": dilations}
    check_node("Conv", {"x": floats(2, 4, 7, 8)}, weights, **attributes)


def test_convolution_in_one_and_three_dimensions() -> None:
    check_node("Conv", {"x": floats(2, 4, 9)}, {"w": floats(3, 4, 3)}, pads=[1, 2], strides=[2])
    check_node("Conv", {"x": floats(1, 2, 4, 5, 6)}, {"w": floats(3, 2, 2, 3, 2)})


@quick
@given(
    st.sampled_from(["MaxPool", "AveragePool"]),
    st.sampled_from(["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]),
    st.tuples(st.integers(2, 3), st.integers(1, 4)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.lists(st.integers(0, 2), min_size=4, max_size=4),
    st.booleans(),
    st.booleans(),
)
def test_pooling(
    op_type: str,
    auto_pad: str,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    pads: list[int],
    ceil: bool,
    include_pad: bool,
) -> None:
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": strides, "auto_pad": auto_pad}
    if auto_pad == "NOTSET":
        assume(all(pad < kernel[axis % 2] for axis, pad in enumerate(pads)))
        attributes |= {"pads": pads, "ceil_mode": int(ceil)}
    else:  # onnxruntime refuses the negative padding that some of these would need
        assume(auto_pad == "VALID" or all(k >= s for k, s in zip(kernel, strides, strict=True)))
    if op_type == "AveragePool":
        attributes["count_include_pad"] = int(include_pad)
    check_node(op_type, {"x": floats(1, 2, 7, 9)}, **attributes)


def test_pooling_with_dilations() -> None:
    check_node("MaxPool", {"x": floats(1, 2, 9, 9)}, kernel_shape=[3, 2], dilations=[2, 3])
    check_node(
        "AveragePool", {"x": floats(1, 2, 9, 9)}, opset=19, kernel_shape=[2, 2], dilations=[2, 3]
    )


def test_max_pool_on_integers() -> None:
    x = np.random.default_rng(0).integers(-128, 127, (1, 2, 6, 6)).astype(np.int8)
    check_node("MaxPool", {"x": x}, kernel_shape=[3, 3], pads=[1, 1, 1, 1])


@pytest.mark.parametrize("op_type", ["GlobalAveragePool", "GlobalMaxPool"])
@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 5, 4)])
def test_global_pooling(op_type: str, shape: tuple[int, ...]) -> None:
    check_node(op_type, {"x": floats(*shape)})


@pytest.mark.parametrize("shapes", [((3, 4), (4, 5)), ((2, 3, 4), (4, 5)), ((4,), (4, 5))])
def test_matmul(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    check_node("MatMul", {"x": floats(*shapes[0]), "w": floats(*shapes[1], seed=1)})


@quick
@given(
    st.booleans(),
    st.booleans(),
    st.sampled_from([1.0, 0.5]),
    st.sampled_from([1.0, 2.0, 0.0]),
    st.sampled_from([None, (5,), (1, 5), (3, 5), (3, 1), ()]),
    st.booleans(),
)
def test_gemm(
    trans_a: bool,
    trans_b: bool,
    alpha: float,
    beta: float,
    bias: tuple[int, ...] | None,
    constant_weights: bool,
) -> None:
    a = floats(*((4, 3) if trans_a else (3, 4)))
    b = floats(*((5, 4) if trans_b else (4, 5)), seed=1)
    weights = {} if bias is None else {"c": np.asarray(floats(*bias, seed=2))}
    feeds = {"a": a} if constant_weights else {"a": a, "b": b}
    if constant_weights:
        weights = {"b": b, **weights}
    flags: dict[str, Any] = {"transA": int(trans_a), "transB": int(trans_b)}
    check_node("Gemm", feeds, weights, alpha=alpha, beta=beta, **flags)


def test_integer_convolution_and_matrix_product() -> None:
    rng = np.random.default_rng(3)
    x = rng.integers(0, 255, (1, 2, 5, 5)).astype(np.uint8)
    w = rng.integers(-127, 127, (3, 2, 3, 3)).astype(np.int8)
    weights = {"w": w, "zx": np.asarray(7, np.uint8)}
    check_node("ConvInteger", {"x": x}, weights, order=["x", "w", "zx"], pads=[1, 1, 1, 1])
    matrix = {"w": w.reshape(6, 9), "za": np.asarray(7, np.uint8)}
    check_node("MatMulInteger", {"x": x[0, 0, :, :3].repeat(2, 1)}, matrix)


def test_qlinear_operators() -> None:
    rng = np.random.default_rng(3)
    scale, zero = np.asarray(0.5, np.float32), np.asarray(3, np.uint8)
    x = rng.integers(0, 255, (1, 2, 5, 5)).astype(np.uint8)
    w = rng.integers(-127, 127, (4, 2, 3, 3)).astype(np.int8)
    weights: dict[str, Array] = {
        "xs": scale,
        "xz": zero,
        "w": w,
        "ws": np.asarray([0.5, 0.25, 0.125, 1.0], np.float32),
        "wz": np.zeros(4, np.int8),
        "ys": np.asarray(64.0, np.float32),
        "yz": np.asarray(100, np.uint8),
        "b": rng.integers(-99, 99, 4).astype(np.int32),
    }
    check_node("QLinearConv", {"x": x}, weights)
    a = rng.integers(0, 255, (3, 18)).astype(np.uint8)
    b: dict[str, Array] = {
        "b": w.reshape(4, 18).T.copy(),
        "bs": scale,
        "bz": np.asarray(0, np.int8),
    }
    product: dict[str, Array] = {"as": scale, "az": zero, **b}
    product |= {"ys": weights["ys"], "yz": weights["yz"]}
    check_node("QLinearMatMul", {"a": a}, product)


@quick
@given(
    st.integers(1, 2),
    st.sampled_from(["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
    st.lists(st.integers(0, 2), min_size=4, max_size=4),
    st.booleans(),
)
def test_conv_transpose(
    group: int,
    auto_pad: str,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    dilations: tuple[int, int],
    pads: list[int],
    bias: bool,
) -> None:
    weights: dict[str, Array] = {"w": floats(2 * group, 3, *kernel, seed=1)}
    if bias:
        weights["b"] = floats(3 * group, seed=2)
    sizes, steps = (4, 5), zip(strides, dilations, kernel, strict=True)
    reach = [(s, d * (k - 1) + 1) for s, d, k in steps]
    attributes: dict[str, Any] = {"strides": strides, "dilations": dilations, "group": group}
    if auto_pad == "NOTSET":
        for i, (size, (step, taps)) in enumerate(zip(sizes, reach, strict=True)):
            assume(step * (size - 1) + taps - pads[i] - pads[2 + i] > 0)
        attributes["pads"] = pads
        attributes["output_padding"] = [step - 1 for step in strides]
    else:
        assume(auto_pad == "VALID" or all(taps >= step for step, taps in reach))
        attributes["auto_pad"] = auto_pad
    check_node("ConvTranspose", {"x": floats(1, 2 * group, *sizes)}, weights, **attributes)


def test_conv_transpose_to_a_shape() -> None:
    weights = {"w": floats(2, 3, 3, 3, seed=1)}
    x = {"x": floats(1, 2, 4, 4)}
    for pads in ("SAME_UPPER", "SAME_LOWER"):
        check_node("ConvTranspose", x, weights, strides=[3, 2], output_shape=[10, 8], auto_pad=pads)
