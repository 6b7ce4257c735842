"""LSTM, GRU and RNN against onnxruntime, with every input and attribute that mcc reads."""

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_models import Array, floats, one_node
from operator_checks import check

from mcc.frontend import load
from mcc.ir import UserError

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
FUNCTIONS = {"LSTM": 3, "GRU": 2, "RNN": 1}


@st.composite
def layers(draw: st.DrawFn) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """Any recurrent node of opset 7 or 14, its sequences in the opset's default layout."""
    op_type = draw(st.sampled_from(sorted(GATES)))
    gates = GATES[op_type]
    steps, batch, features, hidden = (draw(st.integers(1, 4)) for _ in range(4))
    direction = draw(st.sampled_from(["forward", "reverse", "bidirectional"]))
    ways = 2 if direction == "bidirectional" else 1
    seed = draw(st.integers(0, 99))
    feeds: dict[str, Array] = {"x": floats(steps, batch, features, seed=seed)}
    weights: dict[str, Array] = {
        "w": floats(ways, gates * hidden, features, seed=seed + 1) * np.float32(0.5),
        "r": floats(ways, gates * hidden, hidden, seed=seed + 2) * np.float32(0.5),
    }
    order = ["x", "w", "r", *[""] * 5][: 8 if op_type == "LSTM" else 6]
    if draw(st.booleans()):
        weights["b"], order[3] = floats(ways, 2 * gates * hidden, seed=seed + 3), "b"
    if draw(st.booleans()):
        lengths = [draw(st.integers(1, steps)) for _ in range(batch)]
        feeds["n"], order[4] = np.array(lengths, np.int32), "n"
    if draw(st.booleans()):
        feeds["h"], order[5] = floats(ways, batch, hidden, seed=seed + 4), "h"
    if op_type == "LSTM" and draw(st.booleans()):
        feeds["c"], order[6] = floats(ways, batch, hidden, seed=seed + 5), "c"
    if op_type == "LSTM" and draw(st.booleans()):
        weights["p"], order[7] = floats(ways, 3 * hidden, seed=seed + 6), "p"
    attributes: dict[str, Any] = {"hidden_size": hidden, "direction": direction}
    if draw(st.booleans()):
        known = st.sampled_from(["Sigmoid", "Tanh", "Relu"])
        attributes["activations"] = [draw(known) for _ in range(ways * FUNCTIONS[op_type])]
    elif op_type == "RNN" and ways == 1:
        attributes["activations"] = ["Tanh"]
    if op_type == "GRU":
        attributes["linear_before_reset"] = draw(st.integers(0, 1))
    while not order[-1]:
        order.pop()
    outputs = draw(st.integers(1, 3 if op_type == "LSTM" else 2))
    opset = draw(st.sampled_from([7, 14]))
    return one_node(op_type, feeds, weights, outputs, opset, order, attributes), feeds


@settings(deadline=None, max_examples=150)
@given(layer=layers())
def test_any_layer_is_that_of_onnxruntime(layer: tuple[onnx.ModelProto, dict[str, Array]]) -> None:
    check(*layer)


@pytest.mark.parametrize("op_type", sorted(GATES))
def test_what_enters_a_function_is_clipped(op_type: str) -> None:
    feeds = {"x": floats(3, 2, 4) * np.float32(3)}
    weights = {
        "w": floats(1, GATES[op_type] * 3, 4, seed=1),
        "r": floats(1, GATES[op_type] * 3, 3, seed=2),
    }
    model = one_node(op_type, feeds, weights, 2, 14, None, {"hidden_size": 3, "clip": 0.4})
    if op_type == "RNN":
        model.graph.node[0].attribute.append(onnx.helper.make_attribute("activations", ["Tanh"]))
    check(model, feeds)


def test_hard_sigmoids() -> None:
    feeds = {"x": floats(3, 2, 4)}
    weights = {"w": floats(1, 12, 4, seed=1), "r": floats(1, 12, 3, seed=2)}
    names = ["HardSigmoid", "Tanh", "Tanh"]
    usual = {"activation_alpha": [0.2], "activation_beta": [0.5]}
    attributes = {"hidden_size": 3, "activations": names, **usual}
    check(one_node("LSTM", feeds, weights, 1, 14, None, attributes), feeds)


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("LSTM", {"input_forget": 1}, "it couples the input and forget gates"),
    ("LSTM", {"activations": ["Sigmoid", "Softsign", "Tanh"]}, "its activation is 'Softsign'"),
    ("GRU", {"activations": ["Sigmoid"]}, "1 activations are given, 2 are needed"),
    (
        "GRU",
        {"activations": ["HardSigmoid", "Tanh"], "activation_alpha": [0.3]},
        "its HardSigmoid is not that with alpha 0.2",
    ),
]


@pytest.mark.parametrize(("op_type", "attributes", "complaint"), REFUSED)
def test_what_is_not_read_says_why(
    op_type: str, attributes: dict[str, Any], complaint: str
) -> None:
    gates = GATES[op_type]
    weights = {"w": floats(1, gates * 3, 4), "r": floats(1, gates * 3, 3)}
    feeds = {"x": floats(2, 1, 4)}
    model = one_node(op_type, feeds, weights, 1, 14, None, {"hidden_size": 3, **attributes})
    with pytest.raises(UserError, match=rf"node 'the_node' \({op_type}\): .*{complaint}"):
        load(model)
