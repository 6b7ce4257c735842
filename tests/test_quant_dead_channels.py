"""Channels whose weights are all zero: their bias is all they give."""

import numpy as np
import pytest

from mcc.ir import DType, Module, Region, Tensor, Yield, constant, evaluate
from mcc.ops import Conv, Requantize
from mcc.passes import LowerQuantized, run_passes
from mcc.passes.quantization import quantize_module, scheme_for


@pytest.mark.parametrize("extensions", [(), ("per_channel", "zero_point")])
def test_a_dead_channel_gives_its_bias(extensions: tuple[str, ...]) -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(4, 3, 3, 3)).astype(np.float32)
    weights[1] = 0
    bias = np.array([0.1, 0.7, -0.2, 0.0], np.float32)
    body = Region([Tensor(DType.F32, (1, 3, 6, 6))], ["x"])
    w = body.append(constant(weights, "w"))
    b = body.append(constant(bias, "b"))
    conv = body.append(Conv(body.args[0], w.result, b.result, lo=0.0).named("y", ["conv"]))
    body.append(Yield((conv.result,)))
    module = Module("dead", body, ["y"])
    samples = [{"x": rng.random((1, 3, 6, 6), np.float32)} for _ in range(4)]
    scheme = scheme_for(extensions, "riscv_accel")
    quantized, _ = quantize_module(module, scheme, samples)
    lowered = run_passes(quantized, (LowerQuantized(),))
    (requantize,) = (op for op in lowered.ops() if isinstance(op, Requantize))
    multiplier = evaluate_constant(requantize)
    assert np.isfinite(multiplier).all()
    assert (multiplier > 0).all()
    y = evaluate(lowered, samples[0])["y"]
    exact = evaluate(module, samples[0])["y"]
    assert np.abs(y - exact).max() < 0.03 * np.abs(exact).max()


def evaluate_constant(op: Requantize) -> np.ndarray:
    from mcc.ir import constant_of

    array = constant_of(op.multiplier)
    assert array is not None
    return array
