"""3 x 3 convolutions by Winograd's algorithm against their definition, in float64."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from cpu_cases import Array, attach, floats
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from mcc.backends.cpu import library_members
from mcc.backends.cpu.kernels import winograd_conv
from mcc.backends.cpu.kernels.toom_cook import FOUR, TWO, Filtering
from mcc.ir import DType, Module, Region, Tensor, Value, Yield, constant
from mcc.ops import Add, Conv, Tanh
from mcc.runtime import Target, load_target, processor_flags
from mcc.runtime.library import Library

ACCURACY = 3e-5
"""Of the largest result; promised are 1e-4."""


@pytest.fixture(scope="module", params=["x86-64", "x86-64-v3", "this machine"])
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Target:
    """A processor without tile registers, which would be faster still."""
    if request.param != "this machine":
        needed = {"x86-64": "sse2", "x86-64-v3": "avx2"}[request.param]
        if needed not in processor_flags():
            pytest.skip(f"this processor has no {needed}")
        return load_target(request.param)
    path = tmp_path_factory.mktemp("targets") / "plain.toml"
    path.write_text(
        'name = "plain"\nbackend = "cpu"\ndescription = "no tile registers"\n'
        '[host]\nfeatures = ["-amx-tile"]\n'
    )
    return load_target(path)


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Winograd's algorithm wherever it applies."""

    def endless(*arguments: object) -> float:
        return math.inf

    monkeypatch.setattr(winograd_conv, "contraction_cycles", endless)


@dataclass(frozen=True)
class Layer:
    """A convolution with bias, perhaps a residual, a clamp, and tanh behind it; channels last."""

    x: Array
    outputs: int
    pads: tuple[int, int, int, int] = (1, 1, 1, 1)
    residual: bool = False
    lo: float = -math.inf
    tanh: bool = False
    kept: float = 1.0
    """Of the weights, in blocks of 16 outputs; the others are zeros."""

    @property
    def constants(self) -> tuple[Array, Array]:
        """Weights and bias."""
        rng = np.random.default_rng(self.outputs)
        channels = self.x.shape[-1]
        w = floats(rng, self.outputs, channels, 3, 3) / np.float32(3 * channels**0.5)
        if self.kept < 1:
            zeros = rng.random((self.outputs // 16, channels, 3, 3)) > self.kept
            w[np.repeat(zeros, 16, 0)] = 0
        return w, floats(rng, self.outputs)

    @property
    def side(self) -> Array:
        """The residual."""
        samples, rows, columns, _ = self.x.shape
        top, left, bottom, right = self.pads
        shape = (samples, rows + top + bottom - 2, columns + left + right - 2, self.outputs)
        return floats(np.random.default_rng(1), *shape)

    def build(self, region: Region, x: Value, side: Value) -> Value:
        w, b = (attach(region, constant(array)) for array in self.constants)
        r = side if self.residual else None
        conv = Conv(x, w, b, r, pads=self.pads, layout="nhwc", lo=self.lo)
        value = attach(region, conv)
        return attach(region, Tanh(value)) if self.tanh else value

    def expected(self) -> Array:
        """The definition, in float64."""
        w, b = (array.astype(np.float64) for array in self.constants)
        top, left, bottom, right = self.pads
        edges = ((0, 0), (top, bottom), (left, right), (0, 0))
        windows = sliding_window_view(np.pad(self.x.astype(np.float64), edges), (3, 3), (1, 2))
        total: Array = np.tensordot(windows, w, ((3, 4, 5), (1, 2, 3))) + b
        if self.residual:
            total += self.side
        total = np.maximum(total, self.lo)
        return np.tanh(total) if self.tanh else total


def run(layers: Sequence[Layer], target: Target) -> list[Array]:
    """The layers in one library; each must use Winograd's algorithm."""
    arrays = [array for layer in layers for array in (layer.x, layer.side)]
    region = Region(
        [Tensor(DType.F32, array.shape) for array in arrays],
        [f"in{number}" for number in range(len(arrays))],
    )
    results: list[Value] = []
    for number, layer in enumerate(layers):
        x, side = region.args[2 * number : 2 * number + 2]
        results.append(layer.build(region, x, side))
    region.append(Yield(tuple(results)))
    names = [f"out{number}" for number in range(len(results))]
    members = library_members(Module("layers", region, names), target)
    library = Library(members["library.so"], members["library.json"])
    used = [call.kernel for call in library.table.calls if "winograd" in call.kernel]
    assert sum("tiles" not in kernel for kernel in used) == len(layers)
    return library.run(arrays)


def error(found: Array, exact: Array) -> float:
    """By the largest result."""
    return float(np.abs(found - exact).max() / np.abs(exact).max())


@st.composite
def cases(draw: st.DrawFn, least: int) -> dict[str, Any]:
    return {
        "image": (draw(st.integers(1, 3)), *(draw(st.integers(least + 2, 17)) for _ in range(2))),
        "channels": 16 * draw(st.integers(1, 5)),
        "outputs": 16 * draw(st.integers(1, 6)),
        "pads": tuple(draw(st.integers(0, 2)) for _ in range(4)),
        "residual": draw(st.booleans()),
        "lo": draw(st.sampled_from([-math.inf, 0.0])),
        "tanh": draw(st.booleans()),
        "scale": 10.0 ** draw(st.integers(-6, 6)),
        "seed": draw(st.integers(0, 2**31)),
    }


def layer_of(case: dict[str, Any]) -> Layer:
    rng = np.random.default_rng(case["seed"])
    # Behind tanh, which has no large results, an error counts by the convolution's largest.
    scale = min(case["scale"], 1.0) if case["tanh"] else case["scale"]
    x = floats(rng, *case["image"], case["channels"]) * np.float32(scale)
    names = ("outputs", "pads", "residual", "lo", "tanh")
    return Layer(x, **{name: case[name] for name in names})


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("filtering", [TWO, FOUR], ids=["two", "four"])
def test_random_layers(
    filtering: Filtering, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winograd_conv, "_FILTERINGS", (filtering,))

    @settings(max_examples=2, deadline=None)
    @given(st.lists(cases(filtering.results), min_size=4, max_size=4))
    def check(drawn: list[dict[str, Any]]) -> None:
        layers = [layer_of(case) for case in drawn]
        for case, layer, found in zip(drawn, layers, run(layers, target), strict=True):
            assert error(found, layer.expected()) < ACCURACY, case

    check()


@pytest.mark.usefixtures("always")
def test_many_strips_are_transformed_one_by_one(target: Target) -> None:
    rng = np.random.default_rng(0)
    large = Layer(floats(rng, 1, 45, 60, 16), outputs=48, residual=True, lo=0.0)
    deep = Layer(floats(rng, 2, 14, 14, 256), outputs=32)
    for layer, found in zip((large, deep), run([large, deep], target), strict=True):
        assert error(found, layer.expected()) < ACCURACY


def spoiled(x: Array) -> Iterator[Array]:
    """Copies of x with elements that are not finite, or so large that a transform is not."""
    for value in (math.inf, -math.inf, math.nan, 3e38):
        for place in ((0, 0, 0, 0), (0, 4, 4, 3), (0, 6, 10, 15), (0, -1, -1, -1)):
            changed = x.copy()
            changed[place] = value
            yield changed


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("filtering", [TWO, FOUR], ids=["two", "four"])
def test_infinities_and_nan_spoil_what_they_reach_and_no_neighbour(
    filtering: Filtering, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(winograd_conv, "_FILTERINGS", (filtering,))
    plain = Layer(floats(np.random.default_rng(2), 1, 11, 13, 16), outputs=16)
    layers = [replace(plain, x=x) for x in spoiled(plain.x)]
    for layer, found in zip(layers, run(layers, target), strict=True):
        with np.errstate(invalid="ignore"):
            exact = layer.expected()
        same = ~np.isfinite(exact)
        np.testing.assert_array_equal(found[same], exact[same].astype(np.float32))
        assert error(found[~same], exact[~same]) < ACCURACY


@pytest.mark.usefixtures("always")
def test_padding_and_residuals_between_layers(target: Target) -> None:
    """A layer writes the border that the next one wants, and takes its residual's place."""
    rng = np.random.default_rng(3)
    x = floats(rng, 1, 14, 15, 32)
    first = Layer(x, outputs=32, lo=0.0)
    region = Region([Tensor(DType.F32, x.shape)], ["x"])
    start = attach(region, Tanh(region.args[0]))
    inner = first.build(region, start, start)
    summed = attach(region, Add(first.build(region, inner, inner), start))
    last = replace(first, pads=(0, 0, 0, 0))
    region.append(Yield((last.build(region, summed, summed),)))
    members = library_members(Module("block", region, ["y"]), target)
    library = Library(members["library.so"], members["library.json"])
    assert any(call.replaced is not None for call in library.table.calls)
    (found,) = library.run([x])
    start_exact = np.tanh(x.astype(np.float64))
    inner_exact = replace(first, x=start_exact).expected()
    summed_exact = replace(first, x=inner_exact).expected() + start_exact
    exact = replace(last, x=summed_exact).expected()
    assert error(found, exact) < ACCURACY


def test_it_is_chosen_where_it_is_faster(target: Target) -> None:
    rng = np.random.default_rng(4)

    def kernels(rows: int, channels: int, outputs: int, kept: float = 1.0) -> str:
        layer = Layer(floats(rng, 1, rows, rows, channels), outputs, kept=kept)
        region = Region([Tensor(DType.F32, layer.x.shape)], ["x"])
        region.append(Yield((layer.build(region, region.args[0], region.args[0]),)))
        members = library_members(Module("layer", region, ["y"]), target)
        return members["library.json"].decode()

    assert "winograd" in kernels(28, 64, 64)
    assert "sparse" in kernels(28, 64, 64, kept=0.05), "most weights are zeros"
    assert "winograd" not in kernels(28, 3, 64), "three channels fill no vector"
    assert "winograd" not in kernels(7, 512, 64), "four times the weights for a few positions"
