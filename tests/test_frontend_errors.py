"""Every complaint of the importer: what, where, and what to do."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper, parser
from onnx_models import Array, floats, input_info, ints, model_of, one_node

from mcc.frontend import load
from mcc.ir import UserError

GOOD = one_node("Relu", {"x": floats(1, 4)})


def complaint(source: onnx.ModelProto | bytes | Path | str, **shapes: tuple[int, ...]) -> UserError:
    with pytest.raises(UserError) as caught:
        load(source, shapes=shapes)
    return caught.value


def test_no_such_file(tmp_path: Path) -> None:
    error = complaint(tmp_path / "absent.onnx")
    assert error.message == "no such file"
    assert error.where == str(tmp_path / "absent.onnx")


def test_a_folder(tmp_path: Path) -> None:
    assert complaint(tmp_path).message == "cannot be read: Is a directory"


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.onnx"
    path.touch()
    error = complaint(path)
    assert (error.message, error.where) == ("the file is empty", str(path))
    assert "export or copy the model again" in error.remedy


def test_garbage() -> None:
    error = complaint(b"\x89PNG\r\n\x1a\n" * 30)
    assert error.message == "not an ONNX model, or cut short: its bytes do not decode"


def test_every_truncation_is_one_clear_message() -> None:
    weights = {"w": floats(16, 16)}
    content = one_node("MatMul", {"x": floats(1, 16)}, weights).SerializeToString()
    for length in (1, 5, 20, len(content) // 2, len(content) - 40, len(content) - 3):
        error = complaint(content[:length])
        assert error.where == "the given bytes"
        assert error.remedy


def test_missing_external_data(tmp_path: Path) -> None:
    model = one_node("MatMul", {"x": floats(1, 64)}, {"w": floats(64, 64)})
    path = tmp_path / "net.onnx"
    onnx.save(model, path, save_as_external_data=True, location="net.data", size_threshold=0)
    load(path)
    content = path.read_bytes()
    (tmp_path / "net.data").unlink()
    error = complaint(path)
    assert "its weights lie in another file, which cannot be read" in error.message
    assert error.where == str(path)
    assert "beside the model" in error.remedy
    error = complaint(content)
    assert error.message == "the weights of 'w' lie in another file"
    assert error.remedy.startswith("give the path of the model")


def test_a_model_that_onnx_does_not_accept() -> None:
    model = onnx.ModelProto()
    model.CopyFrom(GOOD)
    model.graph.node[0].input[0] = "nowhere"
    error = complaint(model)
    assert error.message.startswith("not a valid ONNX model: Nodes in a graph must be topological")


def test_an_empty_model() -> None:
    assert complaint(onnx.ModelProto()).message == "the model has no graph"


def test_an_opset_from_the_future() -> None:
    model = onnx.ModelProto()
    model.CopyFrom(GOOD)
    model.opset_import[0].version = 99
    error = complaint(model)
    assert error.message.startswith("the model is of opset 99; the installed onnx")
    assert error.remedy.startswith("upgrade the package onnx")


def test_all_unknown_operators_are_listed_at_once() -> None:
    nodes = [
        helper.make_node("Unique", ["x"], ["a"], "/u/Unique"),
        helper.make_node("RandomUniformLike", ["a"], ["b"], "/r/RandomUniformLike"),
        helper.make_node("RandomUniformLike", ["b"], ["c"]),
    ]
    model = model_of(nodes, {"x": floats(2, 2)}, ["c"])
    fused = helper.make_node("FusedThing", ["c"], ["d"], "thing", domain="com.example")
    model.graph.node.append(fused)
    model.opset_import.append(helper.make_opsetid("com.example", 3))
    assert str(complaint(model)) == (
        "the given model: 3 operators of the model cannot be imported:\n"
        "    RandomUniformLike (opset 17): '/r/RandomUniformLike', 'c'\n"
        "    Unique (opset 17): '/u/Unique'\n"
        "    com.example::FusedThing (opset 3): 'thing'\n"
        "  docs/onnx.md lists what mcc imports; replace the others before exporting the model"
    )


def test_an_operator_that_onnx_has_never_heard_of() -> None:
    nodes = [
        helper.make_node("Relux", ["x"], ["h"]),
        helper.make_node("RandomUniformLike", ["h"], ["y"]),
    ]
    error = complaint(model_of(nodes, {"x": floats(2, 2)}, ["y"]))
    assert error.message.splitlines()[1:] == [
        "    RandomUniformLike (opset 17): 'y'",
        "    Relux (opset 17): 'h'",
    ]


def test_unknown_operators_in_the_body_of_a_function() -> None:
    model = one_node(
        "AffineGrid", {"theta": floats(1, 2, 3)}, {"size": np.array([1, 1, 4, 4])}, opset=20
    )
    error = complaint(model)
    assert "\n    If (opset 20): 'the_node', " in error.message


def test_many_nodes_are_counted() -> None:
    nodes = [helper.make_node("RandomUniformLike", [f"x{i}"], [f"x{i + 1}"]) for i in range(11)]
    error = complaint(model_of(nodes, {"x0": floats(2)}, ["x11"]))
    assert error.message.endswith("'x7', 'x8' and 3 more")


def test_a_symbolic_dimension_asks_for_its_size() -> None:
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]>'
        "g (float[N,3,H,W] image) => (float[N,3,H,W] y) { y = Relu (image) }"
    )
    error = complaint(model)
    assert error.message == "input 'image' has the shape 1x3xHxW, which is not fixed"
    assert error.remedy.endswith("as in --shape image=1x3x32x32")
    load(model, shapes={"image": (1, 3, 8, 8)})


def test_a_constant_for_no_input() -> None:
    with pytest.raises(UserError) as caught:
        load(GOOD, constants={"y": np.zeros(1, np.float32)})
    assert caught.value.message == "a constant is given for 'y', which is no input of the model"
    assert "x" in caught.value.remedy


@pytest.mark.parametrize(
    ("array", "given"),
    [
        (np.zeros((1, 4), np.float64), "float64, 1x4"),
        (np.zeros(4, np.float32), "float32, 4"),
        (np.float32(0), "float32, a scalar"),
    ],
)
def test_a_constant_that_contradicts_the_model(array: Array, given: str) -> None:
    with pytest.raises(UserError) as caught:
        load(GOOD, constants={"x": np.asarray(array)})
    expected = f"input 'x' is float32, 1x4; the constant given for it is {given}"
    assert caught.value.message == expected


def test_a_second_symbolic_leading_dimension() -> None:
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]>'
        "g (float[N,4] x, float[T,4] z) => (float[M,4] y) { y = Concat <axis = 0> (x, z) }"
    )
    assert complaint(model).message == "input 'z' has the shape Tx4, which is not fixed"


def test_a_shape_for_no_input() -> None:
    error = complaint(GOOD, nope=(1, 4))
    assert error.message == "a shape is given for 'nope', which is no input of the model"
    assert error.remedy == "known: x"


@pytest.mark.parametrize("shape", [(2, 4), (1, 4, 1), (1, 0)])
def test_a_shape_that_contradicts_the_model(shape: tuple[int, ...]) -> None:
    error = complaint(GOOD, x=shape)
    assert error.message.startswith("input 'x' cannot have the shape ")
    assert error.message.endswith("the model says 1x4")


def test_shapes_that_contradict_each_other() -> None:
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]>'
        "g (float[1,N] x, float[1,N] z) => (float[1,N] y) { y = Add (x, z) }"
    )
    assert "input 'z' cannot have the shape 1x5" in complaint(model, x=(1, 4), z=(1, 5)).message
    wrong = one_node("MatMul", {"x": floats(1, 4)}, {"w": floats(3, 2)})
    error = complaint(wrong)
    assert error.message.startswith("the shapes in the model contradict each other: ")
    assert "the_node" in error.message


def test_a_parameter_that_is_computed_at_run_time() -> None:
    feeds: dict[str, Array] = {"x": floats(2, 3), "target": ints(3, 2)}
    error = complaint(one_node("Reshape", feeds))
    assert error.message == (
        "node 'the_node' (Reshape): its input shape ('target') is computed from the model's inputs "
        "at run time"
    )
    assert "as a constant" in error.remedy


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (
            one_node(
                "MaxPool", {"x": floats(1, 1, 4, 4)}, None, 2, attributes={"kernel_shape": [2, 2]}
            ),
            "its output 'y1' is not computed by mcc",
        ),
        (
            one_node(
                "Dropout",
                {"x": floats(4)},
                {"r": np.asarray(0.5, np.float32), "t": np.asarray(True)},
            ),
            "it is in training mode",
        ),
        (
            one_node("LRN", {"x": floats(1, 2, 3, 3)}, attributes={"size": 0}),
            "size 0 must be a positive number",
        ),
        (
            one_node(
                "Pad", {"x": floats(4)}, {"p": ints(1, 1)}, opset=19, attributes={"mode": "wrap"}
            ),
            "its mode is 'wrap'; mcc knows constant, reflect, edge",
        ),
        (
            one_node(
                "Cast", {"x": floats(4)}, opset=19, attributes={"to": onnx.TensorProto.FLOAT8E5M2}
            ),
            "it casts to a type that mcc lacks",
        ),
        (
            one_node(
                "DequantizeLinear",
                {"x": np.ones((4, 4), np.int8)},
                {"s": np.ones((2, 4), np.float32)},
                opset=21,
                attributes={"block_size": 2, "axis": 0},
            ),
            "it dequantizes in blocks",
        ),
    ],
)
def test_an_unsupported_use_of_a_known_operator(model: onnx.ModelProto, reason: str) -> None:
    message = complaint(model).message
    assert message.startswith(f"node 'the_node' ({model.graph.node[0].op_type}): ")
    assert reason in message


def test_a_rule_that_only_the_op_knows() -> None:
    model = one_node(
        "Conv", {"x": floats(1, 4, 5, 5)}, {"w": floats(6, 2, 3, 3)}, attributes={"group": 1}
    )
    message = complaint(model).message
    assert "the_node" in message


def test_sparse_weights() -> None:
    model = onnx.ModelProto()
    model.CopyFrom(GOOD)
    values = numpy_helper.from_array(floats(1), "w")
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(ints(0)), [4])
    model.graph.sparse_initializer.append(sparse)
    assert "sparse weights" in complaint(model).message


def test_an_input_that_is_no_tensor() -> None:
    model = parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]>'
        "g (float[1,4] x, seq(float[4]) s) => (float[1,4] y) { y = Relu (x) }"
    )
    assert complaint(model).message == "input 's' is no tensor"


def test_an_element_type_that_the_ir_lacks() -> None:
    model = onnx.ModelProto()
    model.CopyFrom(GOOD)
    model.graph.input.append(input_info("z", np.dtype(np.complex64), [4]))
    assert "input 'z'" in complaint(model).message
