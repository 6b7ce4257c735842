"""What the exporter writes: onnxruntime computes the same, and it reads back as it was."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from exporting import Build, op_types, round_trip
from onnx import helper
from onnx_models import floats, ints, model_of
from reference import onnxruntime_outputs

import mcc.ops as ops
from mcc.backends.onnx import export
from mcc.frontend import load
from mcc.ir import (
    DType,
    Op,
    UserError,
    Value,
    evaluate,
)


@pytest.mark.parametrize(
    ("lo", "hi", "ending"),
    [
        (-math.inf, math.inf, []),
        (0.0, math.inf, ["Relu"]),
        (0.0, 6.0, ["Clip"]),
        (-math.inf, 0.5, ["Clip"]),
        (-0.5, math.inf, ["Clip"]),
    ],
)
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_a_fused_convolution_is_taken_apart(
    lo: float, hi: float, ending: list[str], residual: bool, layout: ops.Layout
) -> None:
    shape, out = ((1, 4, 6, 5), (1, 6, 6, 5)) if layout == "nchw" else ((1, 6, 5, 4), (1, 6, 5, 6))
    feeds = {"x": floats(*shape)} | ({"r": floats(*out, seed=3)} if residual else {})
    build = Build(**feeds)
    y = build.op(
        ops.Conv(
            build.x,
            build.weight(floats(6, 2, 3, 3, seed=1)),
            b=build.weight(floats(6, seed=2), "b"),
            r=build.region.args[1] if residual else None,
            pads=(1, 1, 1, 1),
            groups=2,
            lo=lo,
            hi=hi,
            layout=layout,
        ),
        "y",
        "/block/Conv",
        "/block/Relu",
    )
    model = round_trip(build, build.module(y=y))
    middle = ["Conv"] if layout == "nchw" else ["Transpose", "Conv", "Transpose"]
    assert op_types(model) == [*middle, *(["Add"] if residual else []), *ending]
    assert model.graph.node[-1].name == "/block/Conv"
    assert model.graph.node[-1].doc_string == "from /block/Conv, /block/Relu"
    assert len({node.name for node in model.graph.node}) == len(model.graph.node)


@pytest.mark.parametrize(
    ("x", "w", "bias", "residual", "expected"),
    [
        ((2, 4), (4, 3), True, False, ["Gemm", "Relu"]),
        ((2, 4), (4, 3), True, True, ["Gemm", "Add", "Relu"]),
        ((2, 4), (4, 3), False, False, ["MatMul", "Relu"]),
        ((5, 2, 4), (4, 3), True, False, ["MatMul", "Add", "Relu"]),
        ((5, 2, 4), (5, 4, 3), False, True, ["MatMul", "Add", "Relu"]),
    ],
)
def test_a_fused_matrix_product_is_taken_apart(
    x: tuple[int, ...], w: tuple[int, ...], bias: bool, residual: bool, expected: list[str]
) -> None:
    build = Build(x=floats(*x))
    b = build.weight(floats(3, seed=2), "b") if bias else None
    r = build.weight(floats(*x[:-1], 3, seed=3), "r") if residual else None
    product = ops.Matmul(build.x, build.weight(floats(*w, seed=1)), b=b, r=r, lo=0.0)
    model = round_trip(build, build.module(y=build.op(product, "y")))
    assert op_types(model) == expected


UNARY: list[Callable[[Value], Op]] = [
    ops.Abs,
    ops.Neg,
    ops.Exp,
    ops.Tanh,
    ops.Sigmoid,
    ops.Erf,
    ops.Sin,
    ops.Cos,
    ops.Atan,
    ops.Floor,
    ops.Round,
    ops.Relu,
    lambda x: ops.LeakyRelu(x, alpha=0.25),
    lambda x: ops.Clip(x, lo=-0.5, hi=0.5),
    lambda x: ops.Clip(x),
    lambda x: ops.Cast(x, to=DType.F16),
    lambda x: ops.Cast(x, to=DType.I32),
    lambda x: ops.Softmax(x, axis=1),
    lambda x: ops.ReduceMean(x, axes=(1, 2)),
    lambda x: ops.ReduceSum(x, axes=(0,), keepdims=True),
    lambda x: ops.ReduceMax(x, axes=(3,)),
    lambda x: ops.Reshape(x, shape=(6, 20)),
    lambda x: ops.Transpose(x, perm=(0, 2, 3, 1)),
    lambda x: ops.Concat((x, x), axis=2),
    lambda x: ops.Slice(x, (0, 2, 0, 4), (2, -1, 4, 1), (1, -1, 2, -2)),
    lambda x: ops.Slice(x, (0, 0, 0, 0), (2, 3, 4, 5)),
    lambda x: ops.Expand(x, shape=(2, 2, 3, 4, 5)),
    lambda x: ops.Pad(x, pads=(0, 0, 1, 2, 0, 0, 0, 1), value=1.5),
    lambda x: ops.Pad(x, pads=(0, 0, 1, 2, 0, 0, 0, 1), mode="reflect"),
    lambda x: ops.MaxPool(x, (3, 2), strides=(2, 1), pads=(1, 0, 1, 1), ceil=True),
    lambda x: ops.MaxPool(x, (1, 1), strides=(3, 3), ceil=True),
    lambda x: ops.MaxPool(x, (1, 2), strides=(2, 3), ceil=True),
    lambda x: ops.MaxPool(x, (1, 2), strides=(3, 2), ceil=True),
    lambda x: ops.AvgPool(x, (1, 2), strides=(5, 2), ceil=True, include_pad=True),
    lambda x: ops.AvgPool(x, (2, 2), strides=(2, 2), pads=(1, 1, 0, 0), include_pad=True),
    lambda x: ops.AvgPool(x, (2, 2), dilations=(2, 1)),
]


@pytest.mark.parametrize("number", range(len(UNARY)))
def test_ops_with_one_operand(number: int) -> None:
    build = Build(x=floats(2, 3, 4, 5))
    round_trip(build, build.module(y=build.op(UNARY[number](build.x), "y")))


def test_pooling_with_the_channels_last() -> None:
    build = Build(x=floats(2, 4, 5, 3))
    module = build.module(
        y=build.op(ops.MaxPool(build.x, (2, 2), layout="nhwc"), "y"),
        z=build.op(ops.AvgPool(build.x, (2, 2), layout="nhwc"), "z"),
    )
    model = export(module)
    turned = ["Transpose", "MaxPool", "Transpose", "Transpose", "AveragePool", "Transpose"]
    assert op_types(model) == turned
    judged = onnxruntime_outputs(model.SerializeToString(), build.feeds)
    for mine, theirs in zip(evaluate(module, build.feeds).values(), judged, strict=True):
        np.testing.assert_allclose(theirs, mine, rtol=1e-5, atol=1e-6)


BINARY: list[Callable[[Value, Value], Op]] = [
    lambda a, b: ops.Add(a, b, lo=0.0),
    ops.Sub,
    ops.Mul,
    ops.Div,
    ops.Minimum,
    ops.Maximum,
    ops.Equal,
    ops.Less,
    ops.Greater,
]


@pytest.mark.parametrize("number", range(len(BINARY)))
def test_ops_with_two_operands(number: int) -> None:
    build = Build(x=floats(2, 3, 4), z=floats(3, 1, seed=1))
    y = build.op(BINARY[number](*build.region.args), "y")
    round_trip(build, build.module(y=y))


def test_positive_numbers_and_logic() -> None:
    build = Build(x=np.abs(floats(2, 3)) + np.float32(0.1))
    root = build.op(ops.Sqrt(build.op(ops.Reciprocal(build.op(ops.Log(build.x))))))
    power = build.op(ops.Pow(build.x, build.weight(np.asarray(1.5, np.float32))))
    less = build.op(ops.Less(build.x, power))
    both = build.op(ops.And(less, build.op(ops.Not(less))))
    either = build.op(ops.Or(less, both))
    picked = build.op(ops.Where(either, build.x, power))
    round_trip(build, build.module(root=root, power=power, either=either, picked=picked))


def test_normalizations_and_gather() -> None:
    build = Build(x=floats(2, 3, 4))
    s, b, m, v = (build.weight(np.abs(floats(3, seed=i)), f"p{i}") for i in range(4))
    norm = build.op(ops.BatchNorm(build.x, s, b, m, v, epsilon=1e-3))
    scale, bias = build.weight(floats(4), "scale"), build.weight(floats(4, seed=1), "bias")
    with_bias = build.op(ops.LayerNorm(norm, scale, bias, axis=2))
    without = build.op(ops.LayerNorm(norm, scale, axis=2))
    rows = build.op(ops.Gather(build.x, build.weight(ints(1, -1), "i"), axis=2))
    round_trip(build, build.module(a=with_bias, b=without, rows=rows))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_sampling_an_axis_is_a_product(axis: int) -> None:
    build = Build(x=floats(2, 3, 4))
    indices = build.weight(np.array([[0, 1], [1, 1], [-1, 5]]), "i")
    y = build.op(ops.Resample(build.x, indices, build.weight(floats(3, 2), "w"), axis), "y")
    module = build.module(y=y)
    (judged,) = onnxruntime_outputs(export(module).SerializeToString(), build.feeds)
    np.testing.assert_allclose(judged, evaluate(module, build.feeds)["y"], rtol=1e-5, atol=1e-6)


def test_sampling_by_computed_tables_is_refused() -> None:
    build = Build(x=floats(2, 3), i=np.array([[0, 1]]))
    x, i = build.region.args
    y = build.op(ops.Resample(x, i, build.weight(floats(1, 2), "w"), 1), "y")
    with pytest.raises(UserError, match="resample with tables computed at run time"):
        export(build.module(y=y))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", ["lstm", "peepholes", "gru", "late gru", "rnn"])
def test_recurrent_layers(name: str, reverse: bool) -> None:
    gates = {"lstm": 4, "peepholes": 4, "gru": 3, "late gru": 3, "rnn": 1}[name]
    build = Build(x=floats(3, 2, gates * 5), h=floats(2, 5, seed=1), c=floats(2, 5, seed=2))
    x, h, c = build.region.args
    r, p, b = (build.weight(floats(*s, seed=3), n) for n, s in _recurrent_weights(gates).items())
    layers: dict[str, Callable[[], Op]] = {
        "lstm": lambda: ops.Lstm(x, r, h, c, reverse=reverse, clip=0.9),
        "peepholes": lambda: ops.Lstm(x, r, h, c, p, reverse=reverse, gate="hard_sigmoid"),
        "gru": lambda: ops.Gru(x, r, h, reverse=reverse),
        "late gru": lambda: ops.Gru(x, r, h, b, reverse=reverse),
        "rnn": lambda: ops.Rnn(x, r, h, reverse=reverse, cell="relu"),
    }
    module = build.module(y=build.op(layers[name](), "y"))
    (judged,) = onnxruntime_outputs(export(module).SerializeToString(), build.feeds)
    np.testing.assert_allclose(judged, evaluate(module, build.feeds)["y"], rtol=1e-4, atol=1e-5)


def _recurrent_weights(gates: int) -> dict[str, tuple[int, ...]]:
    return {"r": (5, gates * 5), "p": (15,), "b": (5,)}


def test_sequences_of_different_lengths_are_refused() -> None:
    build = Build(x=floats(3, 2, 5), h=floats(2, 5), n=np.array([1, 3], np.int32))
    x, h, n = build.region.args
    y = build.op(ops.Rnn(x, build.weight(floats(5, 5), "r"), h, n), "y")
    with pytest.raises(UserError, match="forgets the states of sequences that have ended"):
        export(build.module(y=y))


def test_names_of_inputs_outputs_and_tensors_are_kept() -> None:
    nodes = [
        helper.make_node("MatMul", ["in:put", "weight"], ["hidden"], "/fc/MatMul"),
        helper.make_node("Relu", ["hidden"], ["out/1"], "/act/Relu"),
    ]
    x = floats(1, 4)
    before = load(model_of(nodes, {"in:put": x}, ["out/1"], {"weight": floats(4, 3)}))
    model = export(before)
    assert [value.name for value in model.graph.input] == ["in:put"]
    assert [value.name for value in model.graph.output] == ["out/1"]
    assert [tensor.name for tensor in model.graph.initializer] == ["weight"]
    assert [(node.name, *node.output) for node in model.graph.node] == [
        ("/fc/MatMul", "hidden"),
        ("/act/Relu", "out/1"),
    ]
    again = load(model)
    assert [str(op) for op in again.body] == [str(op) for op in before.body]


def test_outputs_that_are_inputs_weights_or_the_same_twice() -> None:
    build = Build(x=floats(2, 2))
    relu = build.op(ops.Relu(build.x), "b")
    weight = build.weight(floats(2, seed=1), "d")
    module = build.module(a=build.x, b=relu, c=relu, d=weight)
    model = round_trip(build, module, exact=True)
    assert [value.name for value in model.graph.output] == ["a", "b", "c", "d"]
