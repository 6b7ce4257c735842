"""Schemes, encodings and the shape of the quantize/dequantize form."""

import math
from dataclasses import asdict
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from quant_cases import (
    Network,
    lowered,
    ops_named,
    quantized,
    residual_network,
    samples_of,
)

from mcc.ir import Module, RewriteReport, UserError, constant_of, evaluate, parse, print_module
from mcc.ops import Conv, Dequantize, Quantize, Requantize
from mcc.passes import format_pass, parse_passes
from mcc.passes.quantization import QuantizePass, Scheme, equalize, prepared, scheme_for
from mcc.passes.quantization.encoding import encode_range, power_above, power_below

FINITE = st.floats(-1e4, 1e4, width=32)


def test_schemes_of_the_targets() -> None:
    stock = scheme_for((), "riscv_accel")
    assert (stock.activations, stock.weights, stock.residual) == (
        "symmetric",
        "per_tensor",
        "accumulate",
    )
    assert (stock.clamps, stock.equalize) == (False, True)
    full = scheme_for(("per_channel", "zero_point", "lut", "pool"), "riscv_accel", "portable")
    assert (full.activations, full.weights, full.residual, full.mode) == (
        "affine",
        "per_channel",
        "accumulate",
        "portable",
    )
    assert (full.clamps, full.equalize) == (True, False)
    assert scheme_for((), "cpu") == Scheme()
    with pytest.raises(UserError, match="factor_limit 255 is out of range"):
        Scheme(factor_limit=255)
    with pytest.raises(UserError, match="weights of 5 bits are not known"):
        Scheme(weight_bits=5)


def test_the_pass_has_every_choice_of_a_scheme_and_prints_back() -> None:
    scheme = scheme_for((), "riscv_accel", "portable")
    step = QuantizePass(samples="a b.npz", **asdict(scheme))
    assert step.scheme == scheme
    assert parse_passes(format_pass(step)) == (step,)


@given(FINITE, FINITE, st.booleans(), st.booleans())
def test_an_encoding_covers_its_range_and_zero(
    a: float, b: float, symmetric: bool, power_of_two: bool
) -> None:
    lo, hi = min(a, b), max(a, b)
    found = encode_range(lo, hi, symmetric=symmetric, power_of_two=power_of_two)
    assert float(np.float32(found.scale)) == found.scale
    assert found.quantized(0.0) == found.zero
    if symmetric:
        assert found.zero == 0
    if power_of_two:
        assert math.frexp(found.scale)[0] == 0.5
        assert found.zero % 2 == 0
    # The ends are off by no more than the rounding of scale and zero point.
    for end in (min(lo, 0.0), max(hi, 0.0)):
        back = found.scale * (found.quantized(end) - found.zero)
        slack = 2.01 if power_of_two else 1.01
        assert abs(back - end) <= slack * found.scale + abs(end) * 1e-6


def test_relu_uses_all_integers() -> None:
    assert encode_range(0.0, 25.5, symmetric=False).zero == -128
    assert encode_range(0.0, 25.5, symmetric=False).scale == np.float32(0.1)
    assert encode_range(-12.7, 6.0, symmetric=True).scale == np.float32(0.1)
    assert encode_range(0.0, 0.0, symmetric=True).scale > 0


@given(st.floats(1e-30, 1e30))
def test_powers_around_a_number(x: float) -> None:
    above, below = Fraction(power_above(x)), Fraction(power_below(x))
    assert below <= Fraction(x) <= above
    assert above in (below, 2 * below)


def test_the_form_is_what_onnx_writes() -> None:
    module = quantized(residual_network(), Scheme())
    for op in module.ops():
        if isinstance(op, Conv):
            assert isinstance(op.x.op, Dequantize)
            assert isinstance(op.w.op, Dequantize)
            assert op.b is not None
            assert isinstance(op.b.op, Dequantize)
            bias_scale = constant_of(op.b.op.scale)
            x_scale, w_scale = constant_of(op.x.op.scale), constant_of(op.w.op.scale)
            assert bias_scale is not None
            assert x_scale is not None
            assert w_scale is not None
            np.testing.assert_array_equal(bias_scale, (x_scale * w_scale).astype(np.float32))
            assert w_scale.shape == (op.w.tensor.shape[0],)
            weights = constant_of(op.w.op.x)
            assert weights is not None
            assert weights.min() >= -127
            (reader,) = op.result.uses
            assert isinstance(reader, Quantize)
            assert reader.result.name == f"{op.result.name}.q"
            assert reader.nodes == op.nodes
    assert module.output_names == ("y0",)


def test_quantizing_leaves_the_float_module_alone() -> None:
    module = residual_network()
    before = print_module(module).text
    quantized(module, scheme_for((), "riscv_accel"))
    assert print_module(module).text == before


def test_both_forms_print_and_parse_back() -> None:
    module = quantized(residual_network(), scheme_for((), "riscv_accel"))
    for form in (module, lowered(module)):
        printed = print_module(form)
        assert parse(printed.text, printed.weights) == form


def relu6_network() -> Module:
    net = Network((1, 3, 6, 6), 2)
    value = net.conv(net.x, 6, hi=6.0)
    value = net.add(Conv(value, net.weight(6, 6, 1, 1, spread=40.0), lo=0.0, hi=6.0))
    return net.module(net.head(net.conv(value, 4)))


@pytest.mark.parametrize("mode", ["strict", "portable"])
def test_without_clamps_saturation_does_what_relu6_asks(mode: str) -> None:
    scheme = scheme_for((), "riscv_accel", "portable" if mode == "portable" else "strict")
    integers = lowered(quantized(relu6_network(), scheme))
    bounds = [(op.lo, op.hi) for op in integers.ops() if isinstance(op, Requantize)]
    assert set(bounds) <= {(0, 127), (-128, 127)}
    assert bounds.count((0, 127)) == 3


def test_with_clamps_and_powers_of_two_the_bound_of_relu6_is_an_integer() -> None:
    integers = lowered(quantized(relu6_network(), Scheme(mode="portable")))
    bounds = [(op.lo, op.hi) for op in integers.ops() if isinstance(op, Requantize)]
    assert (-128, 64) in bounds  # 6 / 2^-5 = 192 above the zero point -128


def test_ops_that_stay_float_say_why() -> None:
    from mcc.ops import LayerNorm, Softmax

    net = Network((1, 6))
    value = net.add(LayerNorm(net.x, net.weight(6), axis=1))
    value = net.add(Softmax(value, 1))
    report = RewriteReport()
    quantized(net.module(value), Scheme(), report)
    assert [(op.op_name, reason) for _, op, reason in report.declined] == [
        ("layer_norm", "none of its operands is an integer, so nothing is saved"),
        ("softmax", "none of its operands is an integer, so nothing is saved"),
    ]


def test_products_of_two_activations_have_zero_points_0() -> None:
    from mcc.ops import Matmul, Transpose

    net = Network((4, 6), 3)
    left = net.add(Matmul(net.x, net.weight(6, 5)))
    right = net.add(Transpose(net.add(Matmul(net.x, net.weight(6, 5))), (1, 0)))
    module = net.module(net.add(Matmul(left, right), "scores"))
    integers = lowered(quantized(module, Scheme()))
    product = next(op for op in ops_named(integers, "matmul") if op.result.name == "scores.q.acc")
    assert [value.quant and value.quant.zero for value in product.operands] == [(0,), (0,)]
    feeds = samples_of(module, 1)[0]
    floats = evaluate(module, feeds)["y0"]
    np.testing.assert_allclose(
        evaluate(integers, feeds)["y0"], floats, atol=0.05 * np.abs(floats).max()
    )
    report = RewriteReport()
    quantized(module, Scheme(products=False), report)
    assert "a product of two activations is not quantized here" in [
        reason for _, _, reason in report.declined
    ]


def test_equalization_keeps_the_function_and_evens_out_the_weights() -> None:
    net = Network((1, 3, 6, 6), 4)
    uneven = np.geomspace(1, 64, 8).astype(np.float32).reshape(8, 1, 1, 1)
    first = net.conv(net.x, 8)
    w1, w2 = net.weight(8, 1, 3, 3), net.weight(4, 8, 1, 1)
    array = constant_of(w1)
    assert array is not None
    from mcc.ir import constant

    scaled = net.region.append(constant((array * uneven).astype(np.float32), "uneven")).result
    middle = net.add(Conv(first, scaled, pads=(1, 1, 1, 1), groups=8, lo=0.0), "middle")
    module = prepared(net.module(net.add(Conv(middle, w2))))
    samples = samples_of(module, 4)
    before = [evaluate(module, feeds)["y0"] for feeds in samples]

    def unevenness() -> float:
        op = next(op for op in module.ops() if isinstance(op, Conv) and op.groups == 8)
        weights = constant_of(op.w)
        assert weights is not None
        peaks = np.abs(weights).max((1, 2, 3))
        return float(peaks.max() / peaks.min())

    uneven_before = unevenness()
    assert equalize(module, samples) == 2
    after = [evaluate(module, feeds)["y0"] for feeds in samples]
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4)
    assert unevenness() < uneven_before / 2
    names = [op.result.name for op in module.ops() if isinstance(op, Conv)]
    assert "middle.equalized" in names, "no longer the tensor of the ONNX model"
