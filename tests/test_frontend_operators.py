"""Element-wise operators, reductions, normalizations and quantization, against onnxruntime."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from onnx_models import Array, floats, ints, one_node
from operator_checks import check_node

from mcc.frontend import load
from mcc.ir import evaluate

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


@pytest.mark.parametrize("size", [1, 3, 11])
def test_local_response_normalization(size: int) -> None:
    check_node("LRN", {"x": floats(2, 7, 4, 3)}, size=size, alpha=0.3, beta=0.6, bias=0.8)
    check_node("LRN", {"x": floats(1, 6, 2, 2)}, size=size)


def test_local_response_normalization_of_an_even_number_of_channels() -> None:
    """Which onnxruntime refuses; ONNX's definition has one channel more behind than before.

    The batch is as large as the channels are many: the reference normalizes only so many of them.
    """
    feeds = {"x": floats(7, 7, 4, 3)}
    model = one_node("LRN", feeds, attributes={"size": 4, "alpha": 0.3})
    (judged,) = ReferenceEvaluator(model).run(None, feeds)
    (found,) = evaluate(load(model), feeds).values()
    np.testing.assert_allclose(found, np.asarray(judged), rtol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax_before_and_after_opset_13(axis: int) -> None:
    check_node("Softmax", {"x": X}, opset=17, axis=axis)
    check_node("Softmax", {"x": X}, opset=11, axis=axis)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_hardmax_before_and_after_opset_13(axis: int) -> None:
    ties = np.round(X)
    check_node("Hardmax", {"x": ties}, opset=17, axis=axis)
    check_node("Hardmax", {"x": ties}, opset=11, axis=axis)


def test_dropout_does_nothing() -> None:
    check_node("Dropout", {"x": X}, {"ratio": np.asarray(0.5, np.float32)})
    check_node("Dropout", {"x": X}, opset=7, ratio=0.3)


def test_the_mask_of_a_dropout_keeps_everything() -> None:
    check_node("Dropout", {"x": X}, {"ratio": np.asarray(0.5, np.float32)}, outputs=2)
    training = {"ratio": np.asarray(0, np.float32), "training": np.asarray(True)}
    check_node("Dropout", {"x": X}, training, outputs=2)


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


@pytest.mark.parametrize("op_type", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("last", [0, 1])
def test_places_of_extremes(op_type: str, axis: int, last: int) -> None:
    """With several at the same number, so that it counts which of them is meant."""
    for dtype in ("f4", "i1", "u1", "i4"):
        x = np.round(np.abs(X) * 2).astype(dtype)
        check_node(op_type, {"x": x}, axis=axis, select_last_index=last, keepdims=last)


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("k", [-2, 0, 1])
def test_triangles(upper: int, k: int) -> None:
    check_node("Trilu", {"x": X}, {"k": np.array(k)}, upper=upper)
    check_node("Trilu", {"x": X}, upper=upper)
