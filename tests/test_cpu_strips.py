"""Depthwise convolutions in one kernel with those around them, against the ops' definitions."""

from typing import Any

import numpy as np
import pytest
from cpu_cases import Array, Cases, Chain, chained, floats
from hypothesis import given, settings
from hypothesis import strategies as st

from mcc.backends.cpu import library_members
from mcc.backends.cpu.kernels import strip_choice
from mcc.ir import DType, Module, Op, Region, Tensor, Value, Yield, constant, evaluate
from mcc.ops import Conv, MaxPool, Mul, Relu, Sigmoid
from mcc.runtime import load_target
from mcc.runtime.library import Library


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """One kernel wherever it applies: what lies in memory is expensive."""
    monkeypatch.setattr(strip_choice, "_NEAR_BYTE", 1e9)


def strips_in(library: Library) -> int:
    """How many kernels compute by strips."""
    return sum("strips" in call.kernel for call in library.table.calls)


def filters(rng: np.random.Generator, *shape: int) -> Array:
    """Weights that leave numbers as large as they are."""
    return floats(rng, *shape) / np.float32(np.sqrt(np.prod(shape[1:])))


def conv(x: Value, w: Value, **options: Any) -> Conv:
    return Conv(x, w, layout="nhwc", **options)


@st.composite
def chains(draw: st.DrawFn) -> dict[str, Any]:
    kernel = draw(st.sampled_from([(3, 3), (3, 3), (5, 5), (1, 3), (4, 2), (7, 7)]))
    first = draw(st.sampled_from(["", "1x1", "1x1", "3x3"]))
    return {
        "batch": draw(st.integers(1, 2)),
        "size": tuple(draw(st.integers(7, 26)) for _ in range(2)),
        "channels": draw(st.integers(2, 15 if first == "3x3" else 40)),
        "first": first,
        "between": draw(st.sampled_from([3, 16, 24, 40, 70])),
        "kernel": kernel,
        "strides": tuple(draw(st.integers(1, 3)) for _ in kernel),
        "dilations": tuple(draw(st.integers(1, 2)) if n < 4 else 1 for n in kernel),
        "pads": tuple(draw(st.integers(0, 3)) for _ in range(4)),
        "last": draw(st.booleans()) if first else True,
        "outputs": draw(st.sampled_from([1, 16, 24, 37])),
        "tails": [draw(st.sampled_from(["", "clamp", "silu"])) for _ in range(3)],
        "residual": draw(st.booleans()),
        "pooled": draw(st.booleans()),
        "special": draw(st.booleans()),
        "seed": draw(st.integers(0, 2**31)),
    }


def recipe(case: dict[str, Any]) -> tuple[Any, list[Array], list[Array]]:
    """What makes the ops of a case, its inputs, and its constants."""
    rng = np.random.default_rng(case["seed"])
    x = floats(rng, case["batch"], *case["size"], case["channels"])
    if case["special"]:
        x[0, 3, 4, 1], x[0, 6, 2, 0] = np.nan, np.inf
    channels, first = case["channels"], case["first"]
    weights: list[Array] = []
    if first:
        size = (3, 3) if first == "3x3" else (1, 1)
        weights += [filters(rng, case["between"], channels, *size), floats(rng, case["between"])]
        channels = case["between"]
    weights += [filters(rng, channels, 1, *case["kernel"]), floats(rng, channels)]
    if case["last"]:
        weights += [filters(rng, case["outputs"], channels, 1, 1), floats(rng, case["outputs"])]

    def behind(chain: Chain, op: Op, tail: str) -> Value:
        y = chain(op)
        return chain(Mul(y, chain(Sigmoid(y)))) if tail == "silu" else y

    @chained
    def make(chain: Chain, x: Value, *given: Value) -> Op:
        values, tails = iter(given), iter(case["tails"])
        y = x

        def step(**options: Any) -> Value:
            tail = next(tails)
            if tail == "clamp":
                options |= {"lo": -1.0, "hi": 6.0}
            w, b = next(values), next(values)
            r = None
            if options.pop("residual", False):
                plain = conv(y, w, **options)
                r = residual_of(plain.result.tensor)
            return behind(chain, conv(y, w, b=b, r=r, **options), tail)

        def residual_of(like: Tensor) -> Value:
            return chain(constant(np.random.default_rng(1).standard_normal(like.dims).astype("f4")))

        if first:
            wide = {"strides": (2, 1), "pads": (1, 0, 1, 2)} if first == "3x3" else {}
            y = step(**wide)
        names = ("strides", "dilations", "pads")
        y = step(groups=channels, **{name: case[name] for name in names})
        if case["last"]:
            y = step(residual=case["residual"])
        if case["pooled"]:
            return MaxPool(y, kernel=(2, 3), pads=(1, 0, 0, 2), layout="nhwc")
        return Relu(y)

    return make, [x], weights


def fits(case: dict[str, Any]) -> bool:
    """Whether windows fit into what they slide over."""
    size = case["size"]
    if case["first"] == "3x3":
        size = ((size[0] - 1) // 2 + 1, size[1])
    pads = case["pads"]
    windows = zip(case["kernel"], case["dilations"], strict=True)
    return all(
        n + pads[i] + pads[2 + i] >= d * (k - 1) + 1
        for i, (n, (k, d)) in enumerate(zip(size, windows, strict=True))
    )


@pytest.mark.usefixtures("always")
def test_chains() -> None:
    @settings(max_examples=3, deadline=None)
    @given(st.lists(chains().filter(fits), min_size=10, max_size=10))
    def check(drawn: list[dict[str, Any]]) -> None:
        cases = Cases()
        for case in drawn:
            make, inputs, weights = recipe(case)
            cases.add(f"{case}", make, *inputs, constants=weights, tolerance=5e-5)
        library = cases.check()
        assert strips_in(library) == len(drawn)

    check()


def bottleneck(size: int, *, seen: bool = False) -> tuple[Module, dict[str, Array]]:
    """1 x 1, depthwise and 1 x 1 with a residual; `seen`: what the first makes is an output."""
    rng = np.random.default_rng(5)
    x = floats(rng, 1, size, size, 24)
    shapes = [(144, 24, 1, 1), (144, 1, 3, 3), (24, 144, 1, 1)]
    region = Region([Tensor(DType.F32, x.shape)], ["x"])
    first, middle, last = (
        region.append(constant(filters(rng, *shape))).results[0] for shape in shapes
    )
    source = region.args[0]
    wide = region.append(conv(source, first, lo=0.0, hi=6.0).named("wide")).results[0]
    deep = conv(wide, middle, pads=(1, 1, 1, 1), groups=144, lo=0.0, hi=6.0)
    deep_ = region.append(deep.named("deep")).results[0]
    y = region.append(conv(deep_, last, r=source).named("y")).results[0]
    outputs = (wide, y) if seen else (y,)
    region.append(Yield(outputs))
    return Module("m", region, [value.name for value in outputs]), {"x": x}


def library_of(module: Module, threads: int | None = None) -> Library:
    members = library_members(module, load_target("cpu"))
    return Library(members["library.so"], members["library.json"], threads)


def test_large_results_stay_in_the_kernel() -> None:
    module, feeds = bottleneck(57)
    library = library_of(module)
    assert [(value.name, value.into) for value in library.table.fused] == [
        ("wide", "y"),
        ("deep", "y"),
    ]
    assert library.table.workspace == 0
    wanted = evaluate(module, feeds)["y"]
    np.testing.assert_allclose(library.run([feeds["x"]])[0], wanted, rtol=5e-5, atol=5e-5)


def test_small_results_are_left_to_the_cache() -> None:
    module, _ = bottleneck(9)
    assert not strips_in(library_of(module))


@pytest.mark.usefixtures("always")
def test_what_others_see_is_stored() -> None:
    module, feeds = bottleneck(20, seen=True)
    library = library_of(module)
    assert [(value.name, value.into) for value in library.table.fused] == [("deep", "y")]
    for found, name in zip(library.run([feeds["x"]]), module.output_names, strict=True):
        wanted = evaluate(module, feeds)[name]
        np.testing.assert_allclose(found, wanted, rtol=5e-5, atol=5e-5)


def test_threads_share_the_strips() -> None:
    module, feeds = bottleneck(57)
    members = library_members(module, load_target("cpu"))
    wanted = evaluate(module, feeds)["y"]
    for threads in (1, 2, 3):
        library = Library(members["library.so"], members["library.json"], threads)
        found = library.run([feeds["x"]])[0]
        np.testing.assert_allclose(found, wanted, rtol=5e-5, atol=5e-5)
