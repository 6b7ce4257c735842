"""The proof that no accumulator overflows, and what happens where one could."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quant_cases import Network, lowered, ops_named, quantized, residual_network

from mcc.ir import Array, Module, RewriteReport, UserError, constant, constant_of, parse
from mcc.ops import Conv, Matmul
from mcc.passes.quantization import Scheme
from mcc.passes.quantization.encoding import Encoding
from mcc.passes.quantization.overflow import accumulator_bounds
from mcc.passes.quantization.products import fit_product
from mcc.passes.quantization.weights import accumulator_scale, largest

PORTABLE = Scheme(mode="portable")
SMALL = st.integers(-4, 4)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(SMALL, min_size=1, max_size=3),
    st.integers(-5, 5),
    st.integers(-2, 2),
    st.integers(0, 3),
    st.integers(-2, 2),
)
def test_bounds_are_reached_and_never_passed(
    weights: list[int], bias: int, zero: int, factor: int, r_zero: int
) -> None:
    """All inputs and all orders of the terms, with 3-bit integers [-3, 2]."""
    low, high = -3, 2
    found = accumulator_bounds(
        np.asarray([weights]), (low, high, zero), np.asarray([bias]), np.asarray([factor]),
        (low, high, r_zero),
    )  # fmt: skip
    sums: list[int] = []
    partial = 0
    for xs in itertools.product((low, high), repeat=len(weights)):
        for r in (low, high):
            centred = [(x - zero) * w for x, w in zip(xs, weights, strict=True)]
            centred += [bias, factor * (r - r_zero)]
            raw = [x * w for x, w in zip(xs, weights, strict=True)]
            raw += [bias - zero * sum(weights) - factor * r_zero, factor * r]
            assert sum(centred) == sum(raw)
            sums.append(sum(raw))
            for terms in (centred, raw):
                ups, downs = (sum(t for t in terms if t * s > 0) for s in (1, -1))
                partial = max(partial, ups, -downs)
    lo, hi, magnitude = found.summary
    assert (lo, hi) == (min(sums), max(sums))
    assert magnitude >= partial


def reachable(conv: Conv | Matmul) -> int:
    """The largest sum of one integer product, from its own constants."""
    weights, bias, k = constant_of(conv.w), constant_of(conv.b), constant_of(conv.k)
    assert weights is not None
    rows = weights if isinstance(conv, Conv) else weights.T
    total = np.abs(rows.reshape(len(rows), -1).astype(np.int64)).sum(1) * 128
    total = total + (0 if bias is None else np.abs(bias.astype(np.int64)))
    return int((total + (0 if k is None else k.astype(np.int64) * 128)).max())


@pytest.mark.parametrize("residual", ["add", "accumulate"])
def test_portable_accumulators_stay_below_two_to_the_24(residual: str) -> None:
    scheme = Scheme(mode="portable", residual="accumulate" if residual == "accumulate" else "add")
    integers = lowered(quantized(residual_network(), scheme))
    products = [*ops_named(integers, "conv"), *ops_named(integers, "matmul")]
    record: dict[str, list[int]] = json.loads(integers.meta["accumulators"])
    assert record.keys() == {op.result.name for op in products}
    for op in products:
        assert isinstance(op, Conv | Matmul)
        lo, hi, magnitude = record[op.result.name]
        assert lo <= hi
        assert max(-lo, hi) <= magnitude == reachable(op) < 2**24


def deep_product(depth: int) -> Module:
    """All weights as large as they get: 127 in int8."""
    net = Network((1, depth))
    w = net.region.append(constant(np.ones((depth, 2), np.float32), "w")).result
    return net.module(net.add(Matmul(net.x, w)))


def test_weights_get_coarser_where_2_to_the_24_would_be_passed() -> None:
    depth = 2000  # 2000 * 127 * 128 is 32 million
    integers = lowered(quantized(deep_product(depth), PORTABLE))
    (matmul,) = ops_named(integers, "matmul")
    weights = constant_of(matmul.operands[1])
    assert weights is not None
    assert int(np.abs(weights.astype(np.int64)).sum(0).max()) * 128 < 2**24
    assert int(np.abs(weights).max()) == 32
    strict = lowered(quantized(deep_product(depth), Scheme()))
    unbounded = constant_of(ops_named(strict, "matmul")[0].operands[1])
    assert unbounded is not None
    assert int(np.abs(unbounded).max()) == 127


def test_a_bias_too_large_for_32_bits_widens_its_own_channel_only() -> None:
    net = Network((1, 4))
    w = np.asarray([[1.0, 1e-9]] * 4, np.float32)
    b = np.asarray([0.5, 100.0], np.float32)
    weights = net.region.append(constant(w, "w")).result
    bias = net.region.append(constant(b, "b")).result
    integers = lowered(quantized(net.module(net.add(Matmul(net.x, weights, b=bias))), Scheme()))
    (matmul,) = ops_named(integers, "matmul")
    assert isinstance(matmul, Matmul)
    found, folded = constant_of(matmul.w), constant_of(matmul.b)
    assert found is not None
    assert folded is not None
    assert (int(np.abs(found[:, 0]).max()), int(np.abs(found[:, 1]).max())) == (127, 0)
    assert matmul.result.quant is not None
    assert folded[1] * matmul.result.quant.scale[1] == pytest.approx(100.0, rel=1e-6)


def test_a_sum_that_cannot_stay_below_the_limit_is_refused() -> None:
    depth = 2**18  # even weights of +-1 reach 2^18 * 128 = 2^25
    rows = np.ones((1, depth), np.float32)
    op = deep_product(4).body.last
    assert op is not None
    product = next(iter(op.operands)).op
    assert product is not None
    with pytest.raises(
        UserError, match="can exceed 16,777,216 whatever the weights' scale"
    ) as error:
        fit_product(
            product, rows, largest(rows, per_channel=False, clip=False), Encoding(1.0), PORTABLE,
            residual=Encoding(1.0),
        )  # fmt: skip
    assert "/matmul" in error.value.where
    assert "strict mode" in error.value.remedy


def test_a_bias_is_in_units_of_the_accumulator() -> None:
    rng = np.random.default_rng(0)
    rows, bias = rng.normal(0, 1, (5, 20)), rng.normal(0, 1, 5)
    op = deep_product(4).body.first
    assert op is not None
    x = Encoding(0.037, 5)
    peak = largest(rows, per_channel=True, clip=False)
    found = fit_product(op, rows.astype(np.float32), peak, x, Scheme(), bias=bias)
    unit = accumulator_scale(x.scale, found.weights.scale)
    assert found.bias is not None
    np.testing.assert_array_equal(found.bias, np.rint(bias / unit.astype(np.float64)))


def test_the_expected_error_of_rounding_is_taken_off_the_bias() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 1, (5, 20)).astype(np.float32)
    mean: Array = rng.normal(3, 1, 20)
    op = deep_product(4).body.first
    assert op is not None
    peak = largest(rows, per_channel=False, clip=False)
    x = Encoding(0.001)
    plain = fit_product(op, rows, peak, x, Scheme(), bias=np.zeros(5))
    corrected = fit_product(op, rows, peak, x, Scheme(), bias=np.zeros(5), x_mean=mean)
    unit = float(accumulator_scale(x.scale, plain.weights.scale))
    assert plain.bias is not None
    assert corrected.bias is not None
    exact = rows.astype(np.float64) @ mean
    before = plain.weights.real @ mean + plain.bias * unit
    after = corrected.weights.real @ mean + corrected.bias * unit
    assert np.abs(before - exact).max() > 0.02
    np.testing.assert_allclose(after, exact, atol=unit)


def test_an_imported_product_that_could_overflow_stays_float() -> None:
    depth = 2**17 + 64
    weights = {"w": np.full((depth, 1), -128, np.int8)}
    text = f"""module @big(%x: i8[1,{depth}]) -> ("y") {{
%s = constant(f32 0.5) : f32[]
%z = constant(i8 -128) : i8[]
%n = constant(i8 0) : i8[]
%w = constant(@w) : i8[{depth},1]
%xd = dequantize(%x, %s, %z) : f32[1,{depth}]
%wd = dequantize(%w, %s, %n) : f32[{depth},1]
%m = matmul(%xd, %wd) : f32[1,1]
%y = quantize(%m, %s, %z) : i8[1,1]
yield(%y)
}}"""
    report = RewriteReport()
    integers = lowered(parse(text, weights), report)
    assert [reason for _, _, reason in report.declined] == [
        f"its accumulator can reach {2 * 128 * 128 * depth:,}, past 32 bits"
    ]
    assert ops_named(integers, "matmul")
    assert "accumulators" not in integers.meta
