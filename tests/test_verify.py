"""The judge's own instruments: counting differences, and cutting a model into layers."""

import numpy as np
import onnx
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper, numpy_helper

from mcc.judge import GIVEN, cut_into_layers, onnxruntime_session
from mcc.verify import compare, fidelity


@given(hnp.arrays(np.int8, (4, 5)), hnp.arrays(np.int8, (4, 5)))
def test_every_integer_difference_counts(left: np.ndarray, right: np.ndarray) -> None:
    check = compare("x", left, right)
    gap = np.abs(left.astype(int) - right.astype(int))
    assert (check.elements, check.differing) == (20, int((gap > 0).sum()))
    assert check.largest == gap.max()


def test_floats_may_differ_by_the_tolerance() -> None:
    exact = np.array([1.0, -2.0, 0.0], np.float32)
    assert compare("x", exact, exact + np.float32(1e-6)).differing == 0
    assert compare("x", exact, exact + np.float32(1e-3)).differing == 3
    odd = np.array([np.nan, np.inf, 1.0], np.float32)
    assert compare("x", odd, odd.copy()).differing == 0
    assert compare("x", odd, np.array([0, np.inf, 1], np.float32)).differing == 1


def test_fidelity_is_signal_to_noise_and_agreement() -> None:
    expected = np.array([[3.0, 4.0], [1.0, 0.0]])
    found = fidelity("y", expected, expected + np.array([[0.1, 0.0], [0.0, 2.0]]))
    assert np.isclose(found.sqnr_db, 10 * np.log10(26 / 4.01))
    assert (found.same_argmax, found.rows) == (1, 2)
    assert fidelity("y", expected, expected).sqnr_db == np.inf


@given(st.integers(-128, 127))
def test_a_cut_model_judges_each_layer_on_what_it_is_given(value: int) -> None:
    """q1 = Q(x), q2 = Q(DQ(q1) * 2): with q1 given, q2 follows the given one."""
    scalars = {"s": np.float32(1), "z": np.int8(0), "two": np.float32(2)}
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q1"]),
            helper.make_node("DequantizeLinear", ["q1", "s", "z"], ["d1"]),
            helper.make_node("Mul", ["d1", "two"], ["m"]),
            helper.make_node("QuantizeLinear", ["m", "s", "z"], ["q2"]),
        ],
        "two_layers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("q2", TensorProto.INT8, [1])],
        [numpy_helper.from_array(np.asarray(item), name) for name, item in scalars.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    cut = cut_into_layers(model)
    assert [taken.name for taken in model.graph.input] == ["x"]
    assert [taken.name for taken in cut.graph.input] == ["x", f"q1{GIVEN}"]
    session = onnxruntime_session(cut, "ORT_ENABLE_ALL", extra_outputs=["q1", "q2"])
    feeds: dict[str, np.ndarray] = {
        "x": np.array([5], np.float32),
        f"q1{GIVEN}": np.array([value], np.int8),
    }
    first, second = session.run(["q1", "q2"], feeds)
    assert first.tolist() == [5]
    assert second.tolist() == [max(-128, min(127, 2 * value))]
    assert isinstance(cut, onnx.ModelProto)
