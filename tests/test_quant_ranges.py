"""Histograms of a stream, the ranges chosen from them, and their record."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quant_cases import Network, residual_network, samples_of

from mcc.ir import Module, UserError, evaluate
from mcc.ops import Log
from mcc.passes.quantization import Ranges, collect_ranges, prepared
from mcc.passes.quantization.histogram import BINS, Histogram


@settings(max_examples=60)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=200), st.integers(1, 5))
def test_a_stream_counts_like_one_array(numbers: list[float], pieces: int) -> None:
    array = np.asarray(numbers, np.float32)
    stream, whole = Histogram(), Histogram()
    for part in np.array_split(array, pieces):
        stream.add(part)
    whole.add(array)
    assert (stream.lo, stream.hi, stream.zeros) == (whole.lo, whole.hi, whole.zeros)
    assert stream.counts.sum() + stream.zeros == array.size
    np.testing.assert_array_equal(stream.counts, whole.counts)


def test_bins_hold_what_numpy_counts() -> None:
    array = np.random.default_rng(0).normal(0, 1, 10_000).astype(np.float32)
    histogram = Histogram()
    for part in np.array_split(array, 7):
        histogram.add(part)
    expected, _ = np.histogram(array, BINS, (-histogram.extent, histogram.extent))
    np.testing.assert_array_equal(histogram.counts, expected)


def test_minmax_is_everything() -> None:
    histogram = Histogram()
    histogram.add(np.asarray([-1.5, 0.0, 7.25], np.float32))
    assert histogram.range("minmax") == (-1.5, 7.25)


@pytest.mark.parametrize("percentile", [90.0, 99.0, 99.9])
def test_percentile_agrees_with_numpy_to_a_bin(percentile: float) -> None:
    array = np.random.default_rng(0).normal(2, 3, 100_000).astype(np.float32)
    histogram = Histogram()
    histogram.add(array)
    cut = (100 - percentile) / 2
    expected = np.percentile(array, [cut, 100 - cut])
    width = 2 * histogram.extent / BINS
    np.testing.assert_allclose(histogram.range("percentile", percentile), expected, atol=width)


def test_least_error_is_as_small_as_by_trying() -> None:
    array = np.random.default_rng(0).laplace(1, 1, 50_000).astype(np.float32)
    histogram = Histogram()
    histogram.add(array)

    def error(lo: float, hi: float) -> float:
        step = (hi - lo) / 255
        rounded = np.clip(np.rint((array - lo) / step), 0, 255) * step + lo
        return float(((rounded - array) ** 2).mean())

    low, high = float(array.min()), float(array.max())
    shares = np.arange(0.3, 1.01, 0.05)
    tried = min(error(low * a, high * b) for a in shares for b in shares)
    lo, hi = histogram.range("mse")
    assert error(lo, hi) < 1.02 * tried < error(low, high)
    assert low <= lo < hi <= high


def test_zeros_alone_have_an_empty_range() -> None:
    histogram = Histogram()
    histogram.add(np.zeros(5, np.float32))
    assert histogram.range("mse") == (0.0, 0.0)


def test_ranges_are_those_of_the_evaluated_values() -> None:
    module = prepared(residual_network())
    samples = samples_of(module)
    seen: dict[str, list[float]] = {}
    for feeds in samples:
        evaluate(module, feeds, lambda v, a: seen.setdefault(v.name, []).extend([a.min(), a.max()]))
    ticks: list[tuple[int, int]] = []
    ranges = collect_ranges(
        module, samples, "minmax", limit=5, progress=lambda done, total: ticks.append((done, total))
    )
    assert ranges.samples == 5
    assert ticks == [(i + 1, 5) for i in range(5)]
    ticks.clear()
    collect_ranges(
        module,
        samples[:3],
        "minmax",
        limit=5,
        progress=lambda done, total: ticks.append((done, total)),
    )
    assert ticks == [(1, 5), (2, 5), (3, 5), (3, 3)]
    everything = collect_ranges(module, samples, "minmax")
    for op in module.ops():
        for value in op.results:
            if value.name in everything.values:
                found = everything[value.name]
                assert (found.lo, found.hi) == (min(seen[value.name]), max(seen[value.name]))


def test_means_are_of_each_channel() -> None:
    module = prepared(residual_network())
    samples = samples_of(module)
    ranges = collect_ranges(module, samples, "minmax")
    expected = np.mean([feeds["x"] for feeds in samples], axis=(0, 1, 3, 4))
    np.testing.assert_allclose(ranges["x"].mean, expected, rtol=1e-4, atol=1e-6)


def test_a_record_reads_back() -> None:
    module = prepared(residual_network())
    ranges = collect_ranges(module, samples_of(module), "mse")
    assert Ranges.from_json(ranges.to_json()) == ranges


def log_network() -> Module:
    net = Network((1, 4))
    return net.module(net.add(Log(net.x), "logarithm"))


def test_messages() -> None:
    module = prepared(residual_network())
    with pytest.raises(UserError, match="there is no calibration sample"):
        collect_ranges(module, [])
    ranges = collect_ranges(module, samples_of(module), "minmax")
    with pytest.raises(UserError, match="calibration saw no value 'nothing'"):
        ranges["nothing"]
    with pytest.raises(UserError, match="no record of ranges"):
        Ranges.from_json("{}")
    zeros = [{"x": np.zeros((1, 4), np.float32)}]
    with pytest.raises(UserError, match="value 'logarithm' is not finite on calibration sample 0"):
        collect_ranges(log_network(), zeros)
