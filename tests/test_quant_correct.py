"""Biases corrected on samples."""

import numpy as np
import pytest
from quant_cases import lowered, ops_named, residual_network, samples_of

from mcc.ir import Array, Module, RewriteReport, Value, constant_of, evaluate, verify
from mcc.ops import Conv, Dequantize
from mcc.passes.quantization import (
    Scheme,
    collect_ranges,
    insert_quantization,
    prepared,
    quantize_module,
)
from mcc.passes.quantization.correct import correct_biases, correction_samples
from mcc.passes.quantization.overflow import accumulator_bounds

COARSE = Scheme(weights="per_tensor", activations="symmetric", residual="accumulate")


def means_of(module: Module, samples: list[dict[str, Array]]) -> dict[str, Array]:
    """The mean of each channel of every float image in a module."""
    found: dict[str, Array] = {}

    def observe(value: Value, array: Array) -> None:
        if array.ndim == 4 and array.dtype == np.float32 and value.op is not None:
            mean: Array = array.mean((0, 2, 3), dtype=np.float64) / len(samples)
            found[value.name] = found[value.name] + mean if value.name in found else mean

    for feeds in samples:
        evaluate(module, feeds, observe)
    return found


@pytest.mark.parametrize("mode", ["strict", "portable"])
def test_the_means_of_products_come_back(mode: str) -> None:
    module = prepared(residual_network(size=16))
    samples = samples_of(module, 16)
    scheme = Scheme(weights="per_tensor", mode="portable" if mode == "portable" else "strict")
    form = insert_quantization(module, collect_ranges(module, samples, "percentile"), scheme)
    expected = means_of(module, samples)
    before = means_of(form, samples)
    assert correct_biases(module, form, samples, scheme) >= 5
    verify(form)
    after = means_of(form, samples)
    # A relu's mean moves less than what it clamps: look at products without one.
    names = [op.result.name for op in module.ops() if isinstance(op, Conv) and op.lo != 0.0]
    assert len(names) == 3
    errors = [
        sum(float(np.abs(found[name] - expected[name]).sum()) for name in names)
        for found in (before, after)
    ]
    assert errors[1] < 0.5 * errors[0]
    if mode == "portable":
        for op in ops_named(lowered(form), "conv"):
            assert isinstance(op, Conv)
            weights = constant_of(op.w)
            assert weights is not None
            bounds = accumulator_bounds(
                weights, (-128, 127, 0), constant_of(op.b), constant_of(op.k),
                (-128, 127, 0) if op.k is not None else (0, 0, 0),
            )  # fmt: skip
            assert bounds.summary[2] < 2**24


def test_too_few_elements_change_nothing() -> None:
    module = prepared(residual_network(size=4))
    samples = samples_of(module, 2)
    form = insert_quantization(module, collect_ranges(module, samples), COARSE)
    before = str(form)
    assert correct_biases(module, form, samples, COARSE) == 0
    assert str(form) == before


def test_it_is_part_of_quantizing() -> None:
    module = residual_network(size=16)
    samples = samples_of(module, 16)
    report = RewriteReport()
    form, _ = quantize_module(module, COARSE, samples, report=report)
    assert report.fired["bias-corrected"] >= 5
    for op in form.ops():
        if isinstance(op, Conv):
            assert op.b is not None
            assert isinstance(op.b.op, Dequantize)
            bias = constant_of(op.b.op.x)
            assert bias is not None
            assert bias.dtype == np.int32


def test_large_models_use_fewer_samples() -> None:
    assert correction_samples(residual_network(size=8)) == 64
    assert 1 <= correction_samples(residual_network(size=1024)) < 10
