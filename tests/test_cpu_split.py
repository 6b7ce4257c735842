"""Float products in tile registers, each number as three bfloat16: as near as float32."""

import math
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from cpu_cases import Array, Cases, bind
from hypothesis import given, settings
from hypothesis import strategies as st
from processors import native_without

from mcc.backends.cpu import library_members
from mcc.backends.cpu.kernels import splitting
from mcc.backends.cpu.kernels.parts import can_split, split_weights
from mcc.backends.cpu.kernels.split_blocking import choose_split_blocking, split_order
from mcc.ir import DType, Module, Region, Tensor, Value, Yield, constant, evaluate
from mcc.ops import Add, Conv, Matmul, Softmax
from mcc.runtime import Target, load_target, processor_flags
from mcc.runtime.library import Library

needs_tiles = pytest.mark.skipif(
    "amx_bf16" not in processor_flags(), reason="this processor has no AMX for bfloat16"
)


@pytest.fixture
def always_split(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the cost of vectors be no argument, so that small shapes are split as well."""

    def endless(*arguments: object) -> float:
        return math.inf

    monkeypatch.setattr(splitting, "contraction_cycles", endless)


def floats(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape).astype("f4")


def product(x: Array, w: Array) -> Module:
    region = Region([Tensor(DType.F32, x.shape)], ["x"])
    weights = region.append(constant(w)).results[0]
    y = region.append(Matmul(region.args[0], weights).named("y"))
    region.append(Yield((y.results[0],)))
    return Module("m", region, ["y"])


def library_of(module: Module, target: Target, threads: int | None = None) -> Library:
    members = library_members(module, target)
    return Library(members["library.so"], members["library.json"], threads)


def kernels(library: Library) -> set[str]:
    return {call.kernel.rstrip("_0123456789") for call in library.table.calls}


@st.composite
def convolutions(draw: st.DrawFn) -> dict[str, Any]:
    rank = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 1, 1, 2]))
    per_group = draw(st.sampled_from([16, 17, 24, 32, 33, 48, 100]))
    kernel = tuple(draw(st.integers(1, 3)) for _ in range(rank))
    return {
        "x": (
            draw(st.integers(1, 2)),
            groups * per_group,
            *(draw(st.integers(5, 21 if rank < 3 else 8)) for _ in kernel),
        ),
        "w": (groups * draw(st.integers(1, 70)), per_group, *kernel),
        "strides": tuple(draw(st.integers(1, 2)) for _ in kernel),
        "pads": tuple(draw(st.integers(0, 2)) for _ in kernel * 2),
        "dilations": tuple(draw(st.integers(1, 2)) for _ in kernel),
        "groups": groups,
        "layout": "nhwc",
        "sides": draw(st.integers(0, 2)),
        "seed": draw(st.integers(0, 2**31)),
    }


@needs_tiles
@pytest.mark.usefixtures("always_split")
def test_convolutions() -> None:
    @settings(max_examples=2, deadline=None)
    @given(st.lists(convolutions(), min_size=8, max_size=8))
    def check(drawn: list[dict[str, Any]]) -> None:
        cases = Cases()
        for case in drawn:
            rng = np.random.default_rng(case["seed"])
            x, w = floats(rng, *case["x"]), floats(rng, *case["w"])
            x = np.ascontiguousarray(np.moveaxis(x, 1, -1))
            names = ("strides", "pads", "dilations", "groups", "layout")
            make = bind(Conv, **{name: case[name] for name in names}, hi=30.0)
            probe = make(Value(Tensor(DType.F32, x.shape)), Value(Tensor(DType.F32, w.shape)))
            sides = [floats(rng, w.shape[0]), floats(rng, *probe.results[0].tensor.dims)]
            constants = [w, *sides[: case["sides"]]]
            cases.add(f"{case}", make, x, constants=constants, tolerance=1e-5)
        library = cases.check()
        assert "amx_bf16" in library.table.machine.flags

    check()


@needs_tiles
@pytest.mark.usefixtures("always_split")
def test_matrix_products() -> None:
    @settings(max_examples=2, deadline=None)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        cases = Cases()
        for number in range(10):
            rng = np.random.default_rng(number)
            m, n = (data.draw(st.integers(1, 70)) for _ in range(2))
            k = data.draw(st.integers(16, 200))
            left = data.draw(st.sampled_from([(), (3,), (2, 3), (2, 1)]))
            right = data.draw(st.sampled_from([(), (), (3,), (1, 3)]))
            shape = data.draw(st.sampled_from([(*left, m, k), (k,)]))
            w = data.draw(st.sampled_from([(*right, k, n), (k,), (k, n)]))
            bias = [floats(rng, n)] if len(w) > 1 else []
            x = floats(rng, *shape)
            cases.add(f"{shape} {w}", Matmul, x, constants=[floats(rng, *w), *bias], tolerance=1e-5)
        assert "amx_bf16" in cases.check().table.machine.flags

    check()


@needs_tiles
@pytest.mark.usefixtures("always_split")
@pytest.mark.parametrize(
    ("m", "k", "n"),
    [(130, 300, 500), (49, 2048, 512), (196, 1024, 256), (33, 4000, 96), (500, 64, 64)],
)
def test_chunks_passes_and_threads(m: int, k: int, n: int) -> None:
    rng = np.random.default_rng(0)
    x, w = floats(rng, m, k), floats(rng, k, n)
    library = library_of(product(x, w), load_target("cpu"), threads=2)
    assert kernels(library) == {"model_split_matmul"}
    found = [library.run([x])[0] for _ in range(3)]
    exact = x.astype("f8") @ w
    for array in found:
        np.testing.assert_allclose(array, exact, rtol=0, atol=2e-6 * np.abs(exact).max())
        np.testing.assert_array_equal(array, found[0])
    alone = library_of(product(x, w), load_target("cpu"), threads=1).run([x])[0]
    np.testing.assert_array_equal(alone, found[0])


@needs_tiles
@pytest.mark.usefixtures("always_split")
@pytest.mark.parametrize(("k", "n"), [(20, 16), (20, 70), (64, 20), (100, 64), (300, 70)])
def test_a_residual_in_place_is_added_once(k: int, n: int) -> None:
    rng = np.random.default_rng(k)
    x, w, r = floats(rng, 9, 15, k), floats(rng, k, n), floats(rng, 9, 15, n)
    region = Region([Tensor(DType.F32, x.shape), Tensor(DType.F32, r.shape)], ["x", "r"])
    weights = region.append(constant(w)).results[0]
    residual = region.append(Softmax(region.args[1], axis=2).named("residual")).results[0]
    products = region.append(Matmul(region.args[0], weights).named("products")).results[0]
    y = region.append(Add(products, residual).named("y")).results[0]
    # What leaves the model lies in the caller's memory.
    region.append(Yield((region.append(Softmax(y, axis=2).named("z")).results[0],)))
    module = Module("m", region, ["z"])
    library = library_of(module, load_target("cpu"), threads=2)
    assert [c.replaced for c in library.table.calls if "split" in c.kernel] == [3]
    expected = evaluate(module, {"x": x, "r": r})["z"]
    np.testing.assert_allclose(library.run([x, r])[0], expected, rtol=0, atol=1e-5)


def of_wide_range(rng: np.random.Generator, *shape: int) -> Array:
    """Numbers of either sign over 60 binary orders."""
    return (floats(rng, *shape) * np.exp2(rng.uniform(-30, 30, shape))).astype("f4")


def positive(rng: np.random.Generator, *shape: int) -> Array:
    return rng.random(shape).astype("f4") + np.float32(0.5)


def cancelling(rng: np.random.Generator, *shape: int) -> Array:
    """Pairs along the last axis whose sum is nearly nothing."""
    half = floats(rng, *shape[:-1], -(-shape[-1] // 2))
    both = np.stack([half, -half * np.float32(1 + 2.0**-18)], -1)
    return both.reshape(*shape[:-1], -1)[..., : shape[-1]]


def root_mean_square(array: Array) -> float:
    return float(np.sqrt(np.mean(np.square(array))))


def by_onnxruntime(x: Array, w: Array) -> Array:
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x.shape)],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(w, "w")],
    )
    opsets = [onnx.helper.make_opsetid("", 17)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, {"x": x})[0])


@needs_tiles
@pytest.mark.usefixtures("always_split")
@pytest.mark.parametrize("k", [16, 57, 300, 2000])
@pytest.mark.parametrize("numbers", [floats, of_wide_range, positive, cancelling])
def test_errors_are_those_of_float32(numbers: Any, k: int) -> None:
    """Against float64, relative to the sum of the absolute products, beside onnxruntime's."""
    rng = np.random.default_rng(k)
    x, w = numbers(rng, 40, k), floats(rng, k, 48)
    if numbers is cancelling:
        w = np.repeat(floats(rng, -(-k // 2), 48), 2, axis=0)[:k]
    library = library_of(product(x, w), load_target("cpu"))
    assert kernels(library) == {"model_split_matmul"}
    exact = x.astype("f8") @ w
    scale = np.abs(x).astype("f8") @ np.abs(w)
    mine = np.abs(library.run([x])[0] - exact) / scale
    theirs = np.abs(by_onnxruntime(x, w) - exact) / scale
    unit = 2.0**-24
    assert mine.max() <= 2.0 * max(theirs.max(), unit)
    assert root_mean_square(mine) <= 1.5 * max(root_mean_square(theirs), unit / 2)


@needs_tiles
@pytest.mark.usefixtures("always_split")
def test_what_is_not_finite_follows_ieee() -> None:
    rng = np.random.default_rng(0)
    w = floats(rng, 64, 48)
    w[5] = 0.0
    w[:, 3] = np.abs(w[:, 3])
    x = floats(rng, 100, 64)
    x[3, 5] = math.inf  # meets zeros
    x[10, 7] = math.inf
    x[11, 7], x[11, 8] = math.inf, -math.inf
    x[40, 0] = math.nan
    x[70, 9] = -math.inf
    x[99, 63] = np.array(0x7F800001, "u4").view("f4")  # NaN whose upper bits are infinity's
    found = library_of(product(x, w), load_target("cpu")).run([x])[0]
    with np.errstate(invalid="ignore"):
        expected = x @ w
    special = ~np.isfinite(expected)
    np.testing.assert_array_equal(found[special], expected[special])
    np.testing.assert_allclose(found[~special], expected[~special], rtol=0, atol=1e-5)
    assert special[3].all()
    assert np.isfinite(expected[4]).all()


@needs_tiles
@pytest.mark.usefixtures("always_split")
def test_the_largest_numbers_do_not_overflow_on_the_way() -> None:
    x = np.full((20, 32), np.finfo("f4").max)
    w = np.full((32, 16), np.float32(1 / 33))
    found = library_of(product(x, w), load_target("cpu")).run([x])[0]
    np.testing.assert_allclose(found, x.astype("f8") @ w, rtol=1e-6)


@needs_tiles
def test_targets_can_do_without() -> None:
    rng = np.random.default_rng(0)
    x, w = floats(rng, 128, 256), floats(rng, 256, 256)
    assert kernels(library_of(product(x, w), load_target("cpu"))) == {"model_split_matmul"}
    for feature in ("amx-bf16", "amx-tile"):
        library = library_of(product(x, w), native_without(feature))
        assert kernels(library) == {"model_matmul"}
        assert "amx_bf16" not in library.table.machine.flags


@needs_tiles
@pytest.mark.parametrize("value", [math.inf, math.nan, float(np.finfo("f4").max)])
def test_weights_that_cannot_be_split_are_multiplied_as_they_are(value: float) -> None:
    rng = np.random.default_rng(0)
    x, w = floats(rng, 128, 256), floats(rng, 256, 256)
    w[7, 9] = value
    module = product(x, w)
    library = library_of(module, load_target("cpu"))
    assert kernels(library) == {"model_matmul"}
    with np.errstate(over="ignore", invalid="ignore"):
        expected = evaluate(module, {"x": x})["y"]
    np.testing.assert_allclose(library.run([x])[0], expected, rtol=1e-4, atol=1e-4)


def test_parts_add_up_exactly() -> None:
    rng = np.random.default_rng(0)
    w = of_wide_range(rng, 1000)
    assert can_split(w)
    parts = (split_weights(w).astype("u4") << 16).view("f4")
    np.testing.assert_array_equal(parts[0] + (parts[1] + parts[2]), w)
    assert (np.abs(parts[1]) <= np.abs(w) * 2.0**-8).all()
    assert (np.abs(parts[2]) <= np.abs(w) * 2.0**-16).all()
    assert not can_split(np.array([3.4e38], "f4"))


def test_every_element_of_a_run_has_one_row_of_weights() -> None:
    for run in range(16, 200):
        blocking = choose_split_blocking(40, 40, 3, run, passes=True)
        assert 16 <= blocking.depth <= 32
        order = split_order(run, blocking)
        assert sorted(n for n in order if n >= 0) == list(range(run))
        assert len(order) == blocking.steps * blocking.tile.units * 2
