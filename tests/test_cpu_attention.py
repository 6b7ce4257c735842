"""Attention in one kernel: found in what exporters write, computed in blocks, as defined."""

import math
from typing import Any

import numpy as np
import onnx
import pytest
from cpu_cases import Array, Cases, Chain, attach, bind, chained
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from pass_cases import assert_same_outputs, declines, feeds_of, module_of, op_counts, run
from reference import onnxruntime_outputs

from mcc.backends.cpu import library_members, stages
from mcc.backends.cpu.compile import lower_module
from mcc.backends.cpu.kernels import attention
from mcc.backends.cpu.machine import machine_of
from mcc.backends.cpu.plan import plan_module
from mcc.frontend import load
from mcc.ir import DType, Module, Op, OpError, Region, Tensor, Value, Yield, evaluate
from mcc.ops import Attention, Relu, Reshape, Slice, Transpose
from mcc.passes import run_passes
from mcc.runtime import load_target
from mcc.runtime.library import Library

QKV = '(%q: f32[2,3,5,4], %k: f32[2,3,7,4], %v: f32[2,3,7,6]) -> ("y")'


@st.composite
def attentions(draw: st.DrawFn) -> dict[str, Any]:
    lead = draw(st.sampled_from([(), (2,), (2, 3), (1, 4)]))
    queries, depth, columns = (draw(st.integers(1, limit)) for limit in (110, 40, 70))
    keys = draw(st.one_of(st.integers(1, 60), st.sampled_from([128, 197, 256, 257, 300, 400])))
    full = (*lead, queries, keys)
    kept = tuple(draw(st.sampled_from([1, extent])) for extent in full)
    return {
        "q": (*lead, queries, depth),
        "k": (*lead, keys, depth),
        "v": (*lead, keys, columns),
        "mask": draw(st.sampled_from([None, kept, kept[1:], (keys,), full])),
        "boolean": draw(st.booleans()),
        "fill": draw(st.sampled_from([-math.inf, -1e4])),
        "scale": draw(st.sampled_from([1.0, 0.125, depth**-0.5, -0.25])),
        "moved": draw(st.booleans()) and len(lead) == 2,
        "relu": draw(st.booleans()),
        "special": draw(st.sampled_from([None, None, math.nan, math.inf, -math.inf])),
        "seed": draw(st.integers(0, 2**31)),
    }


def arrays_of(case: dict[str, Any]) -> list[Array]:
    rng = np.random.default_rng(case["seed"])
    arrays: list[Array] = [rng.standard_normal(case[name]).astype("f4") for name in ("q", "k", "v")]
    if case["special"] is not None:
        chosen: Array = arrays[rng.integers(3)]
        chosen.flat[rng.integers(chosen.size)] = case["special"]
    if case["mask"] is not None:
        shape: tuple[int, ...] = case["mask"]
        hidden: Array = rng.random(shape) < rng.choice([0.3, 0.9])
        added: Array = np.where(hidden, -np.inf, 1).astype("f4")
        arrays.append(~hidden if case["boolean"] else added)
    return arrays


def recipe(case: dict[str, Any]) -> Any:
    """The op; `moved`: its operands have their heads behind the rows, and so does what is read."""
    heads_last = (0, 2, 1, 3)

    @chained
    def make(chain: Chain, *operands: Value) -> Op:
        q, k, v, mask = (*operands, None)[:4]
        assert q is not None
        assert k is not None
        assert v is not None
        if case["moved"]:
            q, k, v = (chain(Transpose(value, heads_last)) for value in (q, k, v))
        op: Op = Attention(q, k, v, mask, scale=case["scale"], fill=case["fill"])
        if case["relu"]:
            op = Relu(chain(op))
        return Transpose(chain(op), heads_last) if case["moved"] else op

    return make


def add_attention(cases: Cases, case: dict[str, Any]) -> None:
    arrays = arrays_of(case)
    if case["moved"]:
        arrays[:3] = [np.ascontiguousarray(array.swapaxes(1, 2)) for array in arrays[:3]]
    cases.add(str(case), recipe(case), *arrays, tolerance=1e-4)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_every_shape_and_mask() -> None:
    @settings(max_examples=3, deadline=None)
    @given(st.lists(attentions(), min_size=6, max_size=6))
    def check(drawn: list[dict[str, Any]]) -> None:
        cases = Cases()
        for case in drawn:
            add_attention(cases, case)
        cases.check()

    check()


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize("blocks", [1, 3], ids=["one block", "three blocks"])
def test_infinities_and_nan_are_ieee_s(monkeypatch: pytest.MonkeyPatch, blocks: int) -> None:
    keys = 40
    monkeypatch.setattr(attention, "_KEYS", 16)
    monkeypatch.setattr(attention, "_ALL_KEYS", 256 if blocks == 1 else 16)
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((9, n)).astype("f4") for n in (4, 4, 5))
    k, v = (np.resize(array, (keys, array.shape[1])) for array in (k, v))
    mask = np.zeros((9, keys), "f4")
    mask[0] = -np.inf  # nothing to attend to
    mask[1, :-1] = -np.inf  # only the last key
    mask[2, 1:] = -np.inf  # only the first
    mask[3, 20] = np.inf
    mask[4, 0] = np.nan
    mask[5, -1] = np.nan
    mask[6, :20] = -1e30
    mask[7] = np.linspace(-200, 0, keys)
    mask[8] = np.linspace(0, -200, keys)
    cases = Cases()
    cases.add("masks", Attention, q, k, v, mask, tolerance=1e-5)
    reached = np.where(np.arange(keys) < 3, v.T, np.inf).T.astype("f4")
    # Not where weights underflow: 0 times infinity depends on the order of the scaling.
    values = (q[:7], k, reached, mask[:7])
    cases.add("values", Attention, *values, tolerance=1e-5)
    library = cases.check()
    (y, _) = library.run([q, k, v, mask, *values])
    assert np.isnan(y).all(axis=1).tolist() == [True, False, False, True, True, True] + [False] * 3
    np.testing.assert_allclose(y[1], v[-1], rtol=1e-6)


def test_no_tensor_of_all_scores_is_stored() -> None:
    region = Region([Tensor(DType.F32, (1, 600, 2, 16))] * 3, ["q", "k", "v"])
    moved = [attach(region, Transpose(value, (0, 2, 1, 3))) for value in region.args]
    mixed = attach(region, Attention(moved[0], moved[1], moved[2]))
    y = attach(region, Transpose(mixed, (0, 2, 1, 3)), "y")
    region.append(Yield((y,)))
    module = Module("m", region, ["y"])
    target = load_target("cpu")
    plan = plan_module(module, machine_of(target))
    assert max(call.output.size for call in plan.calls) == 600 * 2 * 16
    members = library_members(module, target)
    rng = np.random.default_rng(1)
    feeds = [rng.standard_normal((1, 600, 2, 16)).astype("f4") for _ in range(3)]
    alone, shared = (
        Library(members["library.so"], members["library.json"], threads).run(feeds)[0]
        for threads in (1, 2)
    )
    np.testing.assert_array_equal(alone, shared)
    wanted = evaluate(module, dict(zip(("q", "k", "v"), feeds, strict=True)))["y"]
    np.testing.assert_allclose(alone, wanted, rtol=1e-4, atol=1e-5)


def test_operands_are_read_where_one_product_wrote_them() -> None:
    region = Region([Tensor(DType.F32, (1, 20, 3, 4, 24))], ["qkv"])
    (qkv,) = region.args
    cuts = [
        ((0, 0, 0, 0, 0), (1, 20, 1, 4, 24), (1, 2, 1, 1, 1)),
        ((0, 19, 1, 0, 0), (1, -1, 2, 4, 24), (1, -1, 1, 1, 1)),
        ((0, 0, 2, 0, 0), (1, 20, 3, 4, 24), (1, 1, 1, 1, 2)),
    ]
    operands: list[Value] = []
    for cut in cuts:
        one = attach(region, Slice(qkv, *cut))
        rows, columns = one.tensor.dims[1], one.tensor.dims[-1]
        heads = attach(region, Reshape(one, (rows, 4, 1, columns)))
        operands.append(attach(region, Transpose(heads, (2, 1, 0, 3))))
    y = attach(region, Attention(operands[0], operands[1], operands[2]), "y")
    region.append(Yield((y,)))
    module, target = Module("m", region, ["y"]), load_target("cpu")
    source = lower_module(module, target, "m", "m")
    calls = [source.program.plan.calls[number].name for number in source.program.steps]
    assert calls == ["pack", "pack", "attention"]
    members = library_members(module, target)
    x = np.random.default_rng(2).standard_normal((1, 20, 3, 4, 24)).astype("f4")
    (found,) = Library(members["library.so"], members["library.json"]).run([x])
    np.testing.assert_allclose(found, evaluate(module, {"qkv": x})["y"], rtol=1e-4, atol=1e-5)


FORMS = {
    "plain": ("", "%s", None),
    "scaled": ("%c = constant(f32 0.5) : f32[]\n%t = mul(%s, %c) : f32[2,3,5,7]", "%t", None),
    "divided": ("%c = constant(f32 2.0) : f32[]\n%t = div(%s, %c) : f32[2,3,5,7]", "%t", None),
    "masked": ("%t = add(%m, %s) : f32[2,3,5,7]", "%t", "f32[5,7]"),
    "scaled, then masked": (
        """
        %c = constant(f32 0.5) : f32[]
        %a = mul(%s, %c) : f32[2,3,5,7]
        %t = add(%a, %m) : f32[2,3,5,7]
        """,
        "%t",
        "f32[2,1,1,7]",
    ),
    "kept where true": (
        "%c = constant(f32 -inf) : f32[]\n%t = where(%m, %s, %c) : f32[2,3,5,7]",
        "%t",
        "i1[2,1,5,7]",
    ),
    "hidden where true": (
        "%c = constant(f32 -10000.0) : f32[]\n%t = where(%m, %c, %s) : f32[2,3,5,7]",
        "%t",
        "i1[5,7]",
    ),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_the_forms_that_are_found(name: str) -> None:
    between, read, mask = FORMS[name]
    signature = QKV.replace(") ->", f", %m: {mask}) ->") if mask else QKV
    module = module_of(
        f"""
        %t0 = transpose(%k, perm=[0,1,3,2]) : f32[2,3,4,7]
        %s = matmul(%q, %t0) : f32[2,3,5,7] from "/scores"
        {between}
        %p = softmax({read}, axis=3) : f32[2,3,5,7] from "/softmax"
        %y = matmul(%p, %v) : f32[2,3,5,6] from "/mix"
        yield(%y)
        """,
        signature,
    )
    feeds = feeds_of(module)
    expected = evaluate(module, feeds)
    run(module, "fuse-attention,dce")
    others = {"not": 1} if name == "hidden where true" else {}
    assert op_counts(module) == {"attention": 1, **others}
    assert_same_outputs(expected, evaluate(module, feeds), exact=False)
    op = module.outputs[0].op
    assert isinstance(op, Attention)
    assert {"/scores", "/softmax", "/mix"} == set(op.nodes)


@pytest.mark.parametrize(
    ("value", "reason"),
    [("%p", "the weights are read elsewhere"), ("%s", "the scores are read elsewhere")],
)
def test_what_others_read_is_left_alone(value: str, reason: str) -> None:
    declines(
        "fuse-attention",
        f"""
        %t0 = transpose(%k, perm=[0,1,3,2]) : f32[2,3,4,7]
        %s = matmul(%q, %t0) : f32[2,3,5,7]
        %p = softmax(%s, axis=3) : f32[2,3,5,7]
        %y = matmul(%p, %v) : f32[2,3,5,6]
        yield(%y, {value})
        """,
        QKV[:-1] + ', "z")',
        reason,
    )


def attention_model(mask: Array | None, boolean: bool) -> onnx.ModelProto:
    """Scaled dot-product attention as torch's exporters decompose it: both factors scaled."""
    shape, root = [1, 4, 33, 16], numpy_helper.from_array(np.array(0.5, "f4"), "root")
    constants = [root]
    nodes = [
        helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 1, 3, 2]),
        helper.make_node("Mul", ["q", "root"], ["qs"]),
        helper.make_node("Mul", ["kt", "root"], ["ks"]),
        helper.make_node("MatMul", ["qs", "ks"], ["s"]),
    ]
    scores = "s"
    if mask is not None and boolean:
        constants += [
            numpy_helper.from_array(mask, "mask"),
            numpy_helper.from_array(np.array(-np.inf, "f4"), "hidden"),
        ]
        nodes.append(helper.make_node("Where", ["mask", "s", "hidden"], ["masked"]))
        scores = "masked"
    elif mask is not None:
        constants.append(numpy_helper.from_array(mask, "mask"))
        nodes.append(helper.make_node("Add", ["s", "mask"], ["masked"]))
        scores = "masked"
    nodes += [
        helper.make_node("Softmax", [scores], ["p"], axis=-1),
        helper.make_node("MatMul", ["p", "v"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in "qkv"]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "attention", inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    return model


@pytest.mark.parametrize("mask", ["none", "causal", "causal, boolean", "a row of nothing"])
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_exported_models_agree_with_onnxruntime(mask: str) -> None:
    seen = np.tril(np.ones((33, 33), np.bool_))
    hidden: Array = np.where(seen, 0, -np.inf).astype("f4")
    if mask == "a row of nothing":
        hidden[7] = -np.inf
    chosen = {"none": None, "causal, boolean": seen}.get(mask, hidden)
    model = attention_model(chosen, boolean=mask == "causal, boolean")
    rng = np.random.default_rng(5)
    feeds = {n: rng.standard_normal((1, 4, 33, 16)).astype("f4") for n in "qkv"}
    (expected,) = onnxruntime_outputs(model.SerializeToString(), feeds)
    module, target = load(model), load_target("cpu")
    for stage in stages(target):
        module = run_passes(module, stage.passes)
    assert op_counts(module)["attention"] == 1
    members = library_members(module, target)
    (found,) = Library(members["library.so"], members["library.json"]).run(
        [feeds[value.name] for value in module.inputs]
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((2, 5, 4), (3, 7, 4), (3, 7, 6), None), "leading dimensions agree"),
        (((5, 4), (7, 3), (7, 6), None), "equally many columns"),
        (((5, 4), (7, 4), (8, 6), None), "equally many rows"),
        (((5, 4), (7, 4), (7, 6), (2, 5, 7)), "does not broadcast"),
    ],
)
def test_shapes_that_do_not_fit(shapes: tuple[Any, ...], message: str) -> None:
    values = [Value(Tensor(DType.F32, shape)) for shape in shapes if shape is not None]
    with pytest.raises(OpError, match=message):
        bind(Attention)(*values)
