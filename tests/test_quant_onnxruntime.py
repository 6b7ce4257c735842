"""onnxruntime on the exported QDQ form, against the integer form: counts of differing elements."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quant_cases import (
    Network,
    differing,
    integer_values,
    judged,
    lowered,
    quantized,
    residual_network,
    samples_of,
)

from mcc.ir import Module, evaluate
from mcc.ops import Matmul, Mul, Sigmoid
from mcc.passes.quantization import Scheme, scheme_for

LEVELS = ("ORT_ENABLE_ALL", "ORT_DISABLE_ALL")
PRODUCTS_AND_POOLS = {"conv", "matmul", "max_pool", "avg_pool", "reshape"}


def counted(module: Module, level: str, samples: int = 4) -> tuple[int, int, dict[str, int]]:
    """Elements, the largest difference and the differing elements of each tensor."""
    feeds = samples_of(module, samples, seed=5)
    integers = lowered(module)
    total, largest, counts = 0, 0, dict[str, int]()
    for feed, theirs in zip(feeds, judged(module, feeds, level), strict=True):
        mine = integer_values(integers, feed)
        assert mine.keys() <= theirs.keys()
        elements, apart, found = differing(mine, theirs)
        total, largest = total + elements, max(largest, apart)
        for name, count in found.items():
            counts[name] = counts.get(name, 0) + count
        outputs = evaluate(integers, feed)
        if not found:
            for name in module.output_names:
                np.testing.assert_allclose(outputs[name], theirs[name], rtol=1e-5, atol=1e-6)
    return total, largest, counts


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("residual", ["add", "accumulate"])
@pytest.mark.parametrize("activations", ["affine", "symmetric"])
def test_portable_models_have_the_same_bits_at_every_level(
    activations: str, residual: str, level: str
) -> None:
    scheme = Scheme(
        mode="portable",
        activations="affine" if activations == "affine" else "symmetric",
        residual="add" if residual == "add" else "accumulate",
    )
    # 8x8 inputs end in an average over 4x4: a power of two.
    total, _, counts = counted(quantized(residual_network(size=8), scheme), level)
    assert not counts
    assert total > 5000


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(LEVELS))
def test_portable_models_of_any_weights(seed: int, level: str) -> None:
    scheme = Scheme(mode="portable")
    _, _, counts = counted(quantized(residual_network(seed, size=8), scheme, seed=seed), level, 2)
    assert not counts


def plain_network(seed: int) -> Module:
    """Convolutions, pools and products, with no addition of two activations."""
    net = Network((1, 3, 8, 8), seed)
    value = net.conv(net.x, 8)
    value = net.conv(value, 8, groups=8)
    value = net.max_pool(net.conv(value, 12, relu=False))
    return net.module(net.head(net.conv(value, 8, 1, hi=6.0)))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_strict_convolutions_products_and_pools_are_equal(seed: int) -> None:
    module = quantized(plain_network(seed), Scheme(), seed=seed)
    _, largest, counts = counted(module, "ORT_ENABLE_ALL", 2)
    # The average pool's single multiplier may round apart; nothing else may.
    pooled = [name for name in counts if not name.startswith(("avg_pool", "reshape", "matmul"))]
    assert not pooled
    assert largest <= 1


def test_strict_additions_differ_rarely_and_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    module = quantized(residual_network(size=16), Scheme())
    for level in LEVELS:
        total, largest, counts = counted(module, level, 8)
        with capsys.disabled():
            print(
                f"\n  {level}: {sum(counts.values())} of {total} differ, at most {largest}", end=""
            )
        assert largest <= 2, "one apart, and what follows from it"
        assert sum(counts.values()) <= total // 500


def test_accumulated_residuals_differ_at_ties_only() -> None:
    scheme = scheme_for(("per_channel", "zero_point", "lut"), "riscv_accel")
    module = quantized(residual_network(size=16), scheme)
    for level in LEVELS:
        total, largest, counts = counted(module, level, 8)
        assert largest <= 2
        assert sum(counts.values()) <= total // 500


def test_tables_are_what_onnxruntime_computes() -> None:
    net = Network((1, 16), 1)
    value = net.add(Matmul(net.x, net.weight(16, 16)))
    silu = net.add(Mul(value, net.add(Sigmoid(value))))
    module = quantized(net.module(net.add(Matmul(silu, net.weight(16, 8)))), Scheme())
    _, largest, counts = counted(module, "ORT_ENABLE_ALL", 16)
    assert largest <= 1
    assert sum(counts.values()) <= 2
