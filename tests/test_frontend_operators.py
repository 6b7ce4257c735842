"""Each operator by itself, held against onnxruntime over its attributes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx_models import Array, floats, ints, one_node
from reference import onnxruntime_outputs

from mcc.frontend import load
from mcc.ir import evaluate


def check(model: onnx.ModelProto, feeds: Mapping[str, Array], *, exact: bool = False) -> None:
    """The imported module and onnxruntime agree on every output: shape, dtype, numbers."""
    expected = onnxruntime_outputs(model.SerializeToString(), feeds)
    module = load(model)
    found = evaluate(module, feeds)
    assert list(found) == [output.name for output in model.graph.output]
    for (name, mine), theirs in zip(found.items(), expected, strict=True):
        assert mine.shape == theirs.shape, name
        assert mine.dtype == theirs.dtype, name
        if exact or theirs.dtype.kind not in "f":
            np.testing.assert_array_equal(mine, theirs, err_msg=name)
        else:
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5, err_msg=name)


def check_node(
    op_type: str,
    feeds: Mapping[str, Array],
    weights: Mapping[str, Array] | None = None,
    opset: int = 17,
    order: Sequence[str] | None = None,
    outputs: int = 1,
    **attributes: Any,
) -> None:
    check(one_node(op_type, feeds, weights, outputs, opset, order, attributes), feeds)


quick = settings(max_examples=40, deadline=None)
X = floats(2, 3, 4)
POSITIVE = np.abs(X) + np.float32(0.1)
BITS = X > 0


@pytest.mark.parametrize(
    "op_type", ["Abs", "Neg", "Exp", "Tanh", "Sigmoid", "Erf", "Relu", "LeakyRelu", "Identity"]
)
def test_unary(op_type: str) -> None:
    check_node(op_type, {"x": X})


@pytest.mark.parametrize("op_type", ["Log", "Sqrt", "Reciprocal"])
def test_unary_on_positive_numbers(op_type: str) -> None:
    check_node(op_type, {"x": POSITIVE})


@pytest.mark.parametrize("op_type", ["Add", "Sub", "Mul", "Div", "Min", "Max"])
@pytest.mark.parametrize("shape", [(2, 3, 4), (4,), (3, 1), ()])
def test_binary_broadcasts(op_type: str, shape: tuple[int, ...]) -> None:
    other = np.abs(floats(*shape, seed=1)) + np.float32(0.5)
    check_node(op_type, {"x": X, "z": np.asarray(other, np.float32)})


def test_integer_division_truncates() -> None:
    check_node("Div", {"x": ints(-7, 7, -7, 7), "z": ints(2, 2, -2, -2)})


@pytest.mark.parametrize("op_type", ["Sum", "Mean", "Min", "Max"])
@pytest.mark.parametrize("count", [1, 3])
def test_variadic(op_type: str, count: int) -> None:
    check_node(op_type, {f"x{i}": floats(2, 3, seed=i) for i in range(count)})


@pytest.mark.parametrize("exponent", [2.0, 0.5, -1.0])
def test_pow(exponent: float) -> None:
    check_node("Pow", {"x": POSITIVE}, {"e": np.asarray(exponent, np.float32)})


@pytest.mark.parametrize("op_type", ["Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"])
def test_comparison(op_type: str) -> None:
    check_node(op_type, {"x": ints(1, 2, 3, 4), "z": ints(4, 2, 1, 4)})


@pytest.mark.parametrize("op_type", ["And", "Or", "Xor"])
def test_logic(op_type: str) -> None:
    check_node(op_type, {"x": BITS, "z": floats(2, 3, 4, seed=5) > 0})


def test_not_and_where() -> None:
    check_node("Not", {"x": BITS})
    check_node("Where", {"c": BITS, "x": X, "z": floats(4, seed=1)})


@pytest.mark.parametrize(
    ("order", "bounds"),
    [
        (["x", "lo", "hi"], {"lo": -0.5, "hi": 0.5}),
        (["x", "", "hi"], {"hi": 0.5}),
        (["x", "lo"], {"lo": 0.25}),
        (["x"], {}),
    ],
)
def test_clip_with_missing_bounds(order: list[str], bounds: dict[str, float]) -> None:
    weights = {name: np.asarray(bound, np.float32) for name, bound in bounds.items()}
    check_node("Clip", {"x": X}, weights, order=order)


def test_clip_with_computed_bounds() -> None:
    check_node(
        "Clip", {"x": X, "lo": np.asarray(-0.5, np.float32), "hi": np.asarray(0.5, np.float32)}
    )


def test_clip_of_an_old_opset() -> None:
    check_node("Clip", {"x": X}, opset=6, min=-0.5)


@pytest.mark.parametrize(
    ("source", "to"),
    [
        (X * 10, onnx.TensorProto.INT32),
        (X, onnx.TensorProto.BOOL),
        (ints(-1, 0, 300), onnx.TensorProto.FLOAT),
        (ints(0, 1, 2), onnx.TensorProto.BOOL),
        (X, onnx.TensorProto.FLOAT16),
        (X, onnx.TensorProto.FLOAT),
    ],
)
def test_cast(source: Array, to: int) -> None:
    check_node("Cast", {"x": source}, to=to)


@pytest.mark.parametrize(
    ("op_type", "opset", "attributes"),
    [
        ("HardSwish", 14, {}),
        ("HardSigmoid", 13, {"alpha": 0.3}),
        ("HardSigmoid", 18, {"beta": 0.4}),
        ("Elu", 13, {"alpha": 0.7}),
        ("Selu", 18, {}),
        ("Celu", 17, {"alpha": 2.0}),
        ("Softplus", 17, {}),
        ("Softsign", 17, {}),
        ("ThresholdedRelu", 17, {"alpha": 0.5}),
        ("Mish", 18, {}),
        ("Gelu", 20, {}),
        ("Gelu", 20, {"approximate": "tanh"}),
        ("LogSoftmax", 17, {"axis": 1}),
        ("Shrink", 17, {"lambd": 0.3, "bias": 0.1}),
        ("ReduceL1", 18, {}),
        ("ReduceL2", 18, {"keepdims": 0}),
        ("ReduceLogSumExp", 18, {}),
        ("ReduceSumSquare", 18, {}),
        ("MeanVarianceNormalization", 17, {"axes": [0, 2]}),
    ],
)
def test_operators_that_onnx_defines_by_others(
    op_type: str, opset: int, attributes: dict[str, Any]
) -> None:
    check_node(op_type, {"x": X}, opset=opset, **attributes)


def test_prelu_and_group_normalization() -> None:
    check_node("PRelu", {"x": X}, {"slope": floats(4, seed=2)})
    scale, bias = floats(6, seed=1), floats(6, seed=2)
    groups = {"scale": scale, "bias": bias}
    check_node("GroupNormalization", {"x": floats(2, 6, 3, 3)}, groups, opset=21, num_groups=3)


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


@pytest.mark.parametrize("op_type", ["ReduceMean", "ReduceMax", "ReduceMin"])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_reduce_in_both_schemas(op_type: str, keepdims: int) -> None:
    check_node(op_type, {"x": X}, opset=17, axes=[-1, 0], keepdims=keepdims)
    check_node(op_type, {"x": X}, {"axes": ints(1)}, opset=18, keepdims=keepdims)
    check_node(op_type, {"x": X}, opset=18, keepdims=keepdims)
    check_node(op_type, {"x": X}, opset=18, noop_with_empty_axes=1)


def test_reduce_sum() -> None:
    check_node("ReduceSum", {"x": X}, {"axes": ints(1)}, keepdims=0)
    check_node("ReduceSum", {"x": X}, opset=11, axes=[0])
    check_node("ReduceSum", {"x": ints(3, 4, 5)})


def test_normalizations() -> None:
    x, c = floats(2, 3, 4, 5), {name: np.abs(floats(3, seed=i)) for i, name in enumerate("smbv")}
    check_node("BatchNormalization", {"x": x}, c, epsilon=1e-3)
    check_node("BatchNormalization", {"x": x}, c, opset=9)
    affine = {"s": floats(3, seed=1), "b": floats(3, seed=2)}
    check_node("InstanceNormalization", {"x": x}, affine, epsilon=1e-3)
    check_node("LayerNormalization", {"x": x}, {"s": floats(5, seed=1)})
    both = {"s": floats(4, 5, seed=1), "b": floats(4, 5, seed=2)}
    check_node("LayerNormalization", {"x": x}, both, axis=-2, epsilon=1e-3)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax_before_and_after_opset_13(axis: int) -> None:
    check_node("Softmax", {"x": X}, opset=17, axis=axis)
    check_node("Softmax", {"x": X}, opset=11, axis=axis)


def test_dropout_does_nothing() -> None:
    check_node("Dropout", {"x": X}, {"ratio": np.asarray(0.5, np.float32)})
    check_node("Dropout", {"x": X}, opset=7, ratio=0.3)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("axis", [None, 1, -1])
def test_quantize_and_dequantize(dtype: type[np.generic], axis: int | None) -> None:
    x = floats(3, 4, 4) * 40
    shape = () if axis is None else (4,)
    scale = np.abs(floats(*shape, seed=3)) + np.float32(0.1)
    zero = np.random.default_rng(1).integers(0, 99, shape).astype(dtype)
    parameters: dict[str, Array] = {"s": np.asarray(scale, np.float32), "z": np.asarray(zero)}
    attributes: dict[str, Any] = {} if axis is None else {"axis": axis}
    check_node("QuantizeLinear", {"x": x}, parameters, **attributes)
    q = np.random.default_rng(2).integers(0, 127, x.shape).astype(dtype)
    check_node("DequantizeLinear", {"x": q}, parameters, **attributes)


def test_quantize_without_a_zero_point() -> None:
    check_node("QuantizeLinear", {"x": X * 40}, {"s": np.asarray(0.7, np.float32)})
    biases = np.arange(-6, 6, dtype=np.int32)
    check_node("DequantizeLinear", {"x": biases}, {"s": np.asarray([0.25], np.float32)})


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
