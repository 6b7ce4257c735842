"""Quantized models as the exporter writes them, and what it refuses."""

import math

import numpy as np
import pytest
from exporting import Build, op_types, round_trip
from onnx_models import floats

import mcc.ops as ops
from mcc.backends.onnx import export
from mcc.frontend import load
from mcc.ir import (
    DType,
    Module,
    UserError,
    Value,
)


def quantized_conv(zero: int, lo: float) -> tuple[Build, Module]:
    """quantize -> conv of dequantized values, per-channel weights -> quantize -> dequantize."""
    build = Build(x=floats(1, 4, 8, 8))
    rng = np.random.default_rng(5)

    def number(value: float, dtype: type[np.generic], name: str) -> Value:
        return build.weight(np.asarray(value, dtype), name)

    def edge(value: Value, scale: float, name: str) -> Value:
        parameters = number(scale, np.float32, f"{name}.s"), number(zero, np.int8, f"{name}.z")
        q = build.op(ops.Quantize(value, *parameters), f"{name}.q", f"{name}/Q")
        return build.op(ops.Dequantize(q, *parameters), f"{name}.d", f"{name}/D")

    scales = rng.uniform(0.001, 0.01, 6).astype(np.float32)
    w = build.op(
        ops.Dequantize(
            build.weight(rng.integers(-127, 128, (6, 4, 3, 3)).astype(np.int8), "w.q"),
            build.weight(scales, "w.s"),
            build.weight(np.zeros(6, np.int8), "w.z"),
            axis=0,
        ),
        "w.d",
    )
    b = build.op(
        ops.Dequantize(
            build.weight(rng.integers(-900, 900, 6).astype(np.int32), "b.q"),
            build.weight((np.float32(0.03125) * scales).astype(np.float32), "b.s"),
            build.weight(np.zeros(6, np.int32), "b.z"),
            axis=0,
        ),
        "b.d",
    )
    x = edge(build.x, 0.03125, "x")
    y = build.op(ops.Conv(x, w, b=b, pads=(1, 1, 1, 1), lo=lo), "h", "/conv")
    return build, build.module(y=edge(y, 0.0625, "h"))


@pytest.mark.parametrize("zero", [0, -128, 7])
@pytest.mark.parametrize("lo", [-math.inf, 0.0])
def test_a_quantized_convolution(zero: int, lo: float) -> None:
    build, module = quantized_conv(zero, lo)
    model = round_trip(build, module, exact=True)
    kinds = op_types(model)
    assert kinds.count("DequantizeLinear") == 4
    assert kinds.count("QuantizeLinear") == 2
    bias = next(node for node in model.graph.node if node.output[0] == "b.d")
    assert list(bias.input) == ["b.q", "b.s"]  # int32 has no zero point in ONNX
    assert {"x.q", "h.q", "h"} <= {name for node in model.graph.node for name in node.output}
    assert load(model).meta["opset"] == "18"


def test_narrow_integers_need_a_newer_opset() -> None:
    build = Build(x=floats(2, 3))
    scale = build.weight(np.asarray(0.5, np.float32), "s")
    zero = build.weight(np.asarray(0, np.int16), "z")
    q = build.op(ops.Quantize(build.x, scale, zero), "q")
    model = round_trip(build, build.module(y=build.op(ops.Dequantize(q, scale, zero), "y")))
    assert (model.opset_import[0].version, model.ir_version) == (21, 10)


def test_the_same_bytes_each_time() -> None:
    _, module = quantized_conv(0, 0.0)
    once, twice = (export(module).SerializeToString(deterministic=True) for _ in range(2))
    assert once == twice


def test_ops_without_a_counterpart_are_listed() -> None:
    build = Build(x=np.ones((1, 4, 2, 2), np.int8))
    w = build.weight(np.ones((4, 4, 1, 1), np.int8))
    acc = build.op(ops.Conv(build.x, w))
    total = build.op(ops.SumPool(build.x, (2, 2)))
    half = build.weight(np.asarray(0.5, np.float32), "m")
    module = build.module(
        y=build.op(ops.Requantize(acc, half)), z=build.op(ops.Requantize(total, half))
    )
    with pytest.raises(UserError) as caught:
        export(module)
    assert caught.value.message == (
        "module built has ops without a counterpart in ONNX: requantize, sum_pool"
    )
    assert "export from the stage `quantized`" in caught.value.remedy


def test_an_integer_convolution_is_refused() -> None:
    build = Build(x=np.ones((1, 4, 2, 2), np.int8))
    w = build.weight(np.ones((4, 4, 1, 1), np.int8))
    module = build.module(y=build.op(ops.Conv(build.x, w), "y", "/conv"))
    with pytest.raises(UserError) as caught:
        export(module)
    assert str(caught.value) == (
        "op conv from ONNX node '/conv': conv on integers has no counterpart in ONNX's QDQ form\n"
        "  export from the stage `quantized` (or `optimized` for a float model), before integer ops"
    )


def test_a_biased_int32_is_refused() -> None:
    build = Build(x=np.ones(4, np.int32))
    scale = build.weight(np.asarray(0.5, np.float32), "s")
    zero = build.weight(np.asarray(3, np.int32), "z")
    module = build.module(y=build.op(ops.Dequantize(build.x, scale, zero)))
    with pytest.raises(UserError, match="int32 with zero point 0 only"):
        export(module)


def test_one_bit_weights_are_refused() -> None:
    from mcc.ir import Constant, Data

    build = Build(x=floats(2))
    bits = build.region.append(Constant(Data(np.ones(2, np.int8), "w"), dtype=DType.B1)).result
    with pytest.raises(UserError, match="one-bit weights"):
        export(build.module(y=build.x, w=bits))
