"""Residual additions: in the accumulator with an integer factor, or as ops of their own."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quant_cases import (
    Network,
    integer_values,
    lowered,
    ops_named,
    quantized,
    residual_network,
    samples_of,
)

from mcc.ir import Module, RewriteReport, constant_of
from mcc.ops import Add, Conv, QAdd
from mcc.passes import FuseResidual, run_passes
from mcc.passes.quantization import Scheme, prepared
from mcc.passes.quantization.residual import TOLERANCE, factors
from mcc.passes.quantization.scheme import LARGEST_FACTOR

F32 = np.float32
ACCUMULATE = Scheme(residual="accumulate")


@given(st.floats(2.0**-12, 16, width=32), st.floats(2.0**-12, 16, width=32), st.integers(1, 254))
def test_factors_survive_the_rounding_of_scales(s_x: float, s_r: float, k: int) -> None:
    weight = np.asarray([s_r / (s_x * k)], F32)
    unit = np.asarray(F32(s_x) * weight, F32)
    found = factors(unit, s_r)
    assert found is not None
    assert found.tolist() == [k]


def test_factors_refuse_what_is_no_multiple() -> None:
    assert factors(np.asarray(0.5, F32), 1.25) is None
    assert factors(np.asarray([0.5, 0.3], F32), 1.0) is None
    assert factors(np.asarray(0.5, F32), 0.25) is None, "half a unit"
    assert factors(np.asarray(0.5, F32), 0.5 * (LARGEST_FACTOR + 1)) is None
    assert factors(np.asarray(0.5, F32), 2.0 * (1 + 4 * TOLERANCE)) is None
    assert factors(np.asarray(0.0, F32), 1.0) is None


def test_every_residual_of_the_network_enters_an_accumulator() -> None:
    report = RewriteReport()
    module = quantized(residual_network(), ACCUMULATE, report)
    assert report.fired["residual-accumulated"] == 2
    assert not ops_named(module, "add")
    integers = lowered(module)
    assert not ops_named(integers, "qadd")
    with_residual = [c for c in ops_named(integers, "conv") if isinstance(c, Conv) and c.r]
    assert len(with_residual) == 2
    for conv in with_residual:
        k = constant_of(conv.k)
        assert k is not None
        assert 1 <= k.min() <= k.max() <= LARGEST_FACTOR


def test_form_a_is_two_products_and_one_sum() -> None:
    module = quantized(residual_network(), Scheme())
    integers = lowered(module)
    feeds = samples_of(module, 1)[0]
    values = integer_values(integers, feeds)
    adds = ops_named(integers, "qadd")
    assert len(adds) == 2
    for add in adds:
        assert isinstance(add, QAdd)
        quants = [value.quant for value in (add.a, add.b, add.result)]
        (s_a, z_a), (s_b, z_b), (s_y, z_y) = ((q.scale[0], q.zero[0]) for q in quants if q)
        left = (values[add.a.name].astype(np.int64) - z_a).astype(F32) * (F32(s_a) / F32(s_y))
        right = (values[add.b.name].astype(np.int64) - z_b).astype(F32) * (F32(s_b) / F32(s_y))
        y = np.clip(np.rint(left + right) + z_y, max(-128, z_y), 127)  # relu: not below zero
        np.testing.assert_array_equal(values[add.result.name], y.astype(np.int8))


def test_a_fused_residual_is_split_for_calibration() -> None:
    module = residual_network()
    run_passes(module, (FuseResidual(),))
    assert not [op for op in module.ops() if isinstance(op, Add)]
    split = prepared(module)
    adds = [op for op in split.ops() if isinstance(op, Add)]
    assert len(adds) == 2
    for op in split.ops():
        if isinstance(op, Conv):
            assert op.r is None
    assert all(add.lo == 0.0 and add.hi == math.inf for add in adds)
    names = [value.name for value in split.values()]
    assert len(set(names)) == len(names)
    assert all(names)


def two_inputs_of_pools() -> Module:
    """An addition whose operands are no products."""
    net = Network((1, 3, 8, 8))
    a, b = net.conv(net.x, 4), net.conv(net.x, 4)
    return net.module(net.head(net.residual(net.max_pool(a), net.max_pool(b))))


def a_product_read_twice() -> Module:
    net = Network((1, 3, 8, 8))
    first = net.conv(net.x, 4)
    body = net.conv(first, 4, relu=False)
    return net.module(net.head(net.residual(first, body)), net.head(body))


@pytest.mark.parametrize("build", [two_inputs_of_pools, a_product_read_twice])
def test_additions_that_cannot_be_accumulated_say_why(build: Callable[[], Module]) -> None:
    report = RewriteReport()
    module = quantized(build(), ACCUMULATE, report)
    assert [(op.op_name, reason) for _, op, reason in report.declined] == [
        ("add", "neither operand is a convolution or matrix product that nothing else reads")
    ]
    assert len(ops_named(lowered(module), "qadd")) == 1


def test_a_bias_out_of_reach_of_a_dead_residual_leaves_the_addition_alone() -> None:
    # Nothing but zeros goes in and past: their scale is the smallest, and 1 is no 32-bit multiple.
    net = Network((1, 3, 6, 6))
    dead = net.add(Conv(net.x, net.weight(3, 3, 1, 1, spread=0.0)))
    body = net.add(Conv(dead, net.weight(3, 3, 1, 1), b=net.weight(3)))
    report = RewriteReport()
    module = quantized(net.module(net.residual(dead, body)), ACCUMULATE, report)
    assert "the product's bias is too large for units of the residual" in {
        reason for _, _, reason in report.declined
    }
    assert lowered(module)


def fine_residual(spread: float) -> Module:
    """A residual that is `spread` times as large as what one unit of the accumulator weighs."""
    net = Network((1, 3, 6, 6), 5)
    first = net.conv(net.x, 4)
    small = net.max_pool(net.add(Conv(first, net.weight(4, 4, 1, 1, spread=spread))))
    w = net.weight(4, 4, 1, 1, spread=127 * spread)
    big = net.add(Conv(net.max_pool(first), w))
    return net.module(net.head(net.residual(small, big)))


def test_a_residual_finer_than_one_unit_raises_its_scale() -> None:
    report = RewriteReport()
    module = quantized(fine_residual(1.0), ACCUMULATE, report)
    assert report.fired["residual-accumulated"] == 1
    (conv,) = [c for c in ops_named(lowered(module), "conv") if isinstance(c, Conv) and c.r]
    k = constant_of(conv.k)
    assert k is not None
    assert k.min() == 1


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(["affine", "symmetric"]))
def test_accumulated_models_are_about_as_near_to_float_as_added_ones(
    seed: int, activations: str
) -> None:
    from mcc.ir import evaluate

    float_module = residual_network(seed)
    feeds = samples_of(float_module, 4, seed=8)
    errors: list[float] = []
    for residual in ("add", "accumulate"):
        scheme = Scheme(
            activations="affine" if activations == "affine" else "symmetric",
            residual="add" if residual == "add" else "accumulate",
        )
        integers = lowered(quantized(float_module, scheme))
        apart = [evaluate(integers, f)["y0"] - evaluate(float_module, f)["y0"] for f in feeds]
        errors.append(float(np.sqrt(np.mean(np.square(apart)))))
    assert errors[1] < 3 * errors[0] + 0.01
