"""What the importer makes of a model: names, provenance, shapes, constants."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, inliner, parser
from onnx_models import floats, input_info, ints, model_of, one_node
from reference import onnxruntime_outputs

from mcc.frontend import load
from mcc.frontend.registry import find
from mcc.ir import Constant, Module, evaluate, parse, print_module, verify
from mcc.ops import Dequantize, Matmul, Quantize, Transpose


def op_names(module: Module) -> list[str]:
    """The ops in order, without constants and the closing yield."""
    return [op.op_name for op in module.ops() if op.op_name not in ("constant", "yield")]


def text_model(text: str, opset: int = 17) -> onnx.ModelProto:
    """A model in the text form of onnx's own parser."""
    return parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]>\n{text}')


def test_values_are_named_after_tensors_and_ops_know_their_nodes() -> None:
    model = text_model("g (float[1,4] x) => (float[1,4] y) { h = Relu (x) y = Tanh (h) }")
    model.graph.node[0].name = "/layer/Relu"
    module = load(model)
    verify(module)
    relu, tanh, _ = list(module.body)
    assert (relu.result.name, relu.nodes) == ("h", ("/layer/Relu",))
    assert (tanh.result.name, tanh.nodes) == ("y", ("y",))  # without a name, its output's
    assert [value.name for value in module.inputs] == ["x"]
    assert module.output_names == ("y",)
    printed = print_module(module)
    assert parse(printed.text, printed.weights) == module


def test_an_input_that_never_changes_becomes_a_constant() -> None:
    model = one_node("Reshape", {"x": floats(2, 6), "shape": np.array([3, -1])})
    module = load(model, constants={"shape": np.array([3, -1])})
    x = floats(2, 6)
    assert [value.name for value in module.inputs] == ["x"]
    np.testing.assert_array_equal(evaluate(module, {"x": x})["y0"], x.reshape(3, 4))
    assert "shape" in [info.name for info in model.graph.input]  # the model is left as it is


def test_a_dimension_declared_as_zero_may_be_given_as_zero() -> None:
    model = text_model("g (float[2,0,4] x) => (float[2,0,4] y) { y = Relu (x) }")
    module = load(model, shapes={"x": (2, 0, 4)})
    assert evaluate(module, {"x": floats(2, 0, 4)})["y"].shape == (2, 0, 4)


@pytest.mark.parametrize("rows", [0, 3])
def test_a_constant_may_have_any_size_where_zero_is_declared(rows: int) -> None:
    model = text_model(
        "g (float[1,4] x, float[0,4] c) => (float[N,4] y) { y = Concat <axis = 0> (x, c) }"
    )
    c, x = floats(rows, 4), floats(1, 4)
    y = evaluate(load(model, constants={"c": c}), {"x": x})["y"]
    np.testing.assert_array_equal(y, np.concatenate([x, c]))


def test_the_size_of_the_batch_is_noted_whichever_input_has_one() -> None:
    model = text_model("g (float[3] b, float[N,3] x) => (float[N,3] y) { y = Add (b, x) }")
    assert load(model).meta["import_notes"] == "the batch 'N' is symbolic; compiled for 1"
    module = load(model, shapes={"x": (5, 3)})
    assert module.meta["import_notes"] == "the batch 'N' is symbolic; compiled for 5"


def test_facts_about_the_model_travel_along(tmp_path: Path) -> None:
    model = text_model("g (float[N,4] x) => (float[N,4] y) { y = Relu (x) }")
    model.producer_name, model.producer_version = "trainer", "1.2"
    path = tmp_path / "net.onnx"
    onnx.save(model, path)
    assert load(path).meta == {
        "source": "net.onnx",
        "producer": "trainer 1.2",
        "opset": "17",
        "batch": "symbolic",
        "batch_symbol": "N",
        "import_notes": "the batch 'N' is symbolic; compiled for 1",
    }


def test_path_bytes_and_proto_give_the_same(tmp_path: Path) -> None:
    model = text_model("g (float[1,4] x) => (float[1,4] y) { y = Relu (x) }")
    before = model.SerializeToString()
    path = tmp_path / "net.onnx"
    onnx.save(model, path)
    bodies = {str(load(source)).split("\n", 2)[2].split("meta")[-1] for source in (path, str(path))}
    bodies |= {str(load(source)).split("meta")[-1] for source in (model, before)}
    assert len(bodies) == 1
    assert model.SerializeToString() == before  # the caller's model is left alone


def test_a_symbolic_batch_becomes_1_wherever_it_stands() -> None:
    model = text_model(
        "g (float[N,4] x, float[2,N,4] state) => (float[2,N,4] y) { y = Add (x, state) }"
    )
    module = load(model)
    assert [value.tensor.shape for value in module.inputs] == [(1, 4), (2, 1, 4)]
    module = load(model, shapes={"x": (3, 4)})
    assert [value.tensor.shape for value in module.inputs] == [(3, 4), (2, 3, 4)]
    assert module.outputs[0].tensor.shape == (2, 3, 4)
    assert module.meta["batch_symbol"] == "N"


@pytest.mark.parametrize("symbol", [None, "unk__126"])
def test_a_batch_without_a_real_name_is_one_too(symbol: str | None) -> None:
    nodes = [helper.make_node("Concat", ["a", "b"], ["y"], axis=1)]
    model = model_of(nodes, {"a": floats(1, 2), "b": floats(1, 3)}, ["y"])
    del model.graph.input[:]
    other = symbol and "unk__127"
    model.graph.input.append(input_info("a", np.dtype(np.float32), [symbol, 2]))
    model.graph.input.append(input_info("b", np.dtype(np.float32), [other, 3]))
    module = load(model)
    assert module.outputs[0].tensor.shape == (1, 5)
    assert module.meta["batch_symbol"] == "batch"
    assert load(model, shapes={"a": (7, 2)}).outputs[0].tensor.shape == (7, 5)


def test_given_shapes_reach_the_symbols_of_other_inputs() -> None:
    model = text_model("g (float[1,T] x, float[1,T] z) => (float[1,T] y) { y = Add (x, z) }")
    module = load(model, shapes={"x": (1, 6)})
    assert module.outputs[0].tensor.shape == (1, 6)
    assert "batch" not in module.meta


def test_shape_arithmetic_is_folded_away() -> None:
    model = text_model(
        """
        g (float[N,3,4,5] x) => (float[M,K] y) <int64[1] minus = {-1}, int64 zero = {0}> {
            shape = Shape (x)
            first = Gather <axis = 0> (shape, zero)
            axes = Constant <value = int64[1] {0}> ()
            column = Unsqueeze (first, axes)
            target = Concat <axis = 0> (column, minus)
            y = Reshape (x, target)
        }
        """
    )
    module = load(model)
    assert op_names(module) == ["reshape"]
    assert module.outputs[0].tensor.shape == (1, 60)
    assert not any(isinstance(op, Constant) for op in module.ops())


def test_weights_are_constants_and_each_appears_once() -> None:
    w = floats(4, 4, seed=1)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("MatMul", ["h", "w"], ["y"]),
    ]
    module = load(model_of(nodes, {"x": floats(1, 4)}, ["y"], {"w": w, "unused": w + 1}))
    constants = [op for op in module.ops() if isinstance(op, Constant)]
    assert [op.result.name for op in constants] == ["w"]
    np.testing.assert_array_equal(constants[0].data.array, w)


def test_old_models_that_list_their_weights_as_inputs() -> None:
    w = floats(4, 4, seed=1)
    model = model_of(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        {"x": floats(1, 4), "w": w},
        ["y"],
        {"w": w},
    )
    assert [value.name for value in load(model).inputs] == ["x"]


def test_an_output_may_be_an_input_a_weight_or_an_output_twice() -> None:
    w = floats(2, 2, seed=1)
    nodes = [
        helper.make_node("Identity", ["x"], ["same"]),
        helper.make_node("Identity", ["w"], ["weight"]),
        helper.make_node("Relu", ["x"], ["inner"]),
        helper.make_node("Identity", ["inner"], ["first"]),
        helper.make_node("Identity", ["inner"], ["second"]),
    ]
    x = floats(1, 2)
    outputs = ["same", "weight", "first", "second", "x"]
    model = model_of(nodes, {"x": x}, outputs[:-1], {"w": w})
    model.graph.output.append(model.graph.input[0])
    found = evaluate(load(model), {"x": x})
    assert list(found) == outputs
    relu = np.maximum(x, 0)
    for name, expected in zip(outputs, (x, w, relu, relu, x), strict=True):
        np.testing.assert_array_equal(found[name], expected)


def test_gemm_folds_the_transpose_of_its_weights() -> None:
    weights = {"w": floats(5, 4), "c": floats(5, seed=1)}
    module = load(one_node("Gemm", {"x": floats(1, 4)}, weights, attributes={"transB": 1}))
    assert op_names(module) == ["matmul", "add"]
    matmul = next(op for op in module.ops() if isinstance(op, Matmul))
    assert matmul.w.name == "w.T"
    assert matmul.w.tensor.shape == (4, 5)


def test_gemm_folds_the_transpose_of_quantized_weights_too() -> None:
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=0),
        helper.make_node("Gemm", ["x", "w"], ["y"], transB=1),
    ]
    q = np.arange(-10, 10, dtype=np.int8).reshape(5, 4)
    weights = {"q": q, "s": np.abs(floats(5)), "z": np.zeros(5, np.int8)}
    x = floats(1, 4)
    module = load(model_of(nodes, {"x": x}, ["y"], weights))
    assert not any(isinstance(op, Transpose) for op in module.ops())
    turned = next(op for op in module.ops() if isinstance(op, Matmul)).w.op
    assert isinstance(turned, Dequantize)
    assert (turned.axis, turned.x.tensor.shape) == (1, (4, 5))
    expected = x @ (q.astype(np.float32) * weights["s"][:, None]).T
    np.testing.assert_allclose(evaluate(module, {"x": x})["y"], expected, rtol=1e-6)


def test_quantized_weights_are_not_folded_into_floats() -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["w", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("MatMul", ["x", "d"], ["y"]),
    ]
    weights = {"w": floats(4, 4), "s": np.asarray(0.1, np.float32), "z": np.asarray(0, np.int8)}
    module = load(model_of(nodes, {"x": floats(1, 4)}, ["y"], weights))
    assert op_names(module) == ["dequantize", "matmul"]  # the quantize of a constant is one
    assert not any(isinstance(op, Quantize) for op in module.ops())


def test_nodes_of_a_function_body_carry_their_callers_name() -> None:
    nodes = [
        helper.make_node("HardSwish", ["x"], ["h"], "/act/HardSwish"),
        helper.make_node("Relu", ["h"], ["y"], "/act/Relu"),
    ]
    module = load(model_of(nodes, {"x": floats(1, 4)}, ["y"], opset=18))
    origins = [op.nodes for op in module.ops() if op.nodes]
    assert set(origins[:-1]) == {("/act/HardSwish",)}
    assert origins[-1] == ("/act/Relu",)


def test_calls_that_are_alike_ask_onnx_for_one_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its inliner takes time quadratic in the calls."""
    seen: list[int] = []
    inlined = inliner.inline_selected_functions

    def count(model: onnx.ModelProto, *options: Any) -> onnx.ModelProto:
        seen.append(len(model.graph.node))
        return inlined(model, *options)

    monkeypatch.setattr(inliner, "inline_selected_functions", count)
    kinds = ["Celu", "Shrink", "Celu", "Mish"]
    nodes = [
        helper.make_node(kinds[i % 4], [f"x{i}"], [f"x{i + 1}"], f"node{i}") for i in range(40)
    ]
    nodes[2].attribute.append(helper.make_attribute("alpha", 0.5))
    model = model_of(nodes, {"x0": floats(4)}, ["x40"], opset=18)
    module = load(model)
    assert seen
    assert max(seen) == 1
    assert len(seen) <= 8  # one for Celu in two ways, Shrink and Mish, and what they call
    assert [op.nodes for op in module.ops() if op.nodes][-1] == ("node39",)
    x = floats(4)
    (judged,) = onnxruntime_outputs(model.SerializeToString(), {"x0": x})
    np.testing.assert_allclose(evaluate(module, {"x0": x})["x40"], judged, rtol=1e-5)


def test_names_in_a_body_keep_clear_of_the_models() -> None:
    """Whatever a body calls its values, and however often it is put in."""
    first = load(model_of([helper.make_node("Celu", ["x"], ["y"])], {"x": floats(4)}, ["y"]))
    inner = [value.name for op in first.ops() for value in op.results if value.name]
    nodes = [helper.make_node("Relu", ["x"], [name]) for name in inner if name != "y"]
    nodes.append(helper.make_node("Celu", ["x"], ["y"]))
    kept = [node.output[0] for node in nodes]
    x = floats(4) - np.float32(0.5)
    made = evaluate(load(model_of(nodes, {"x": x}, kept)), {"x": x})
    for name in kept[:-1]:
        np.testing.assert_array_equal(made[name], np.maximum(x, 0))
    np.testing.assert_allclose(made["y"], np.where(x > 0, x, np.expm1(x)), rtol=1e-5)


def test_a_models_own_functions_are_inlined() -> None:
    model = parser.parse_model(
        """
        <ir_version: 8, opset_import: ["": 17, "mine": 1]>
        g (float[1,4] x) => (float[1,4] y) { y = mine.Twice (x) }
        <domain: "mine", opset_import: ["": 17]>
        Twice (a) => (b) { b = Add (a, a) }
        """
    )
    x = floats(1, 4)
    module = load(model)
    assert op_names(module) == ["add"]
    np.testing.assert_array_equal(evaluate(module, {"x": x})["y"], x + x)


def test_an_old_model_is_converted_and_says_so() -> None:
    module = load(one_node("Relu", {"x": floats(1, 4)}, opset=9))
    assert module.meta["opset"] == "9"
    assert module.meta["import_notes"] == "converted from opset 9 to 18"


def test_what_onnx_cannot_convert_is_imported_by_older_schemas(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(model: onnx.ModelProto, target: int) -> onnx.ModelProto:
        raise RuntimeError(f"no way to {target}")

    monkeypatch.setattr(onnx.version_converter, "convert_version", refuse)
    module = load(one_node("Squeeze", {"x": floats(1, 4, 1)}, opset=11, attributes={"axes": [0]}))
    assert module.outputs[0].tensor.shape == (4, 1)
    notes = module.meta["import_notes"]
    assert notes == "imported as opset 11: onnx cannot convert it to 18 (no way to 18)"


def test_the_version_that_holds_at_an_opset_is_found() -> None:
    newest, old = find("Squeeze", "", 13), find("Squeeze", "ai.onnx", 12)
    assert newest is not None
    assert old is not None
    assert (newest.since, old.since) == (13, 1)
    assert find("LayerNormalization", "", 16) is None
    assert find("Relu", "com.example", 17) is None


def test_an_output_of_a_dynamic_gather_of_constants() -> None:
    indices = ints(2, 0)
    table = floats(3, 4)
    model = one_node("Gather", {"i": indices}, {"t": table}, order=["t", "i"])
    np.testing.assert_array_equal(evaluate(load(model), {"i": indices})["y0"], table[indices])
