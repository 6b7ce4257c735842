"""Ranges from the statistics of batch normalizations, for models without calibration samples."""

import math

import numpy as np
from quant_cases import Network, ops_named

from mcc.ir import Array, Module, RewriteReport, Value, constant, constant_of
from mcc.ops import Add, BatchNorm, Conv, MaxPool, Relu
from mcc.passes import FoldBatchNorm, FuseActivation, run_passes
from mcc.passes.quantization import QuantizePass, RecordStatistics, statistic_ranges


def normalized(net: Network, value: Value, name: str) -> Value:
    channels = value.tensor.dims[1]

    def vector(array: Array) -> Value:
        return net.region.append(constant(array.astype(np.float32))).result

    scale, bias = net.rng.uniform(0.5, 2, channels), net.rng.normal(0, 1, channels)
    mean, var = np.zeros(channels), np.ones(channels)
    op = BatchNorm(value, vector(scale), vector(bias), vector(mean), vector(var))
    return net.add(op, name)


def network() -> Module:
    net = Network((1, 3, 8, 8), 3)
    conv = Conv(net.x, net.weight(4, 3, 1, 1, spread=1.0))
    first = net.add(Relu(normalized(net, net.add(conv), "bn1")), "relu1")
    second = normalized(net, net.add(Conv(first, net.weight(4, 4, 1, 1))), "bn2")
    total = net.add(Add(first, second), "sum")
    return net.module(net.add(MaxPool(total, (2, 2)), "pool"))


def test_ranges_are_those_of_normal_values() -> None:
    """Sampled normal values stay inside, and are not far from the ends."""
    module = network()
    ranges = statistic_ranges(module)
    assert ranges.keys() == {"bn1", "relu1", "bn2", "sum", "pool"}
    rng = np.random.default_rng(0)
    table: dict[str, Array] = {}
    for op in module.ops():
        if isinstance(op, BatchNorm):
            scale, bias = constant_of(op.scale), constant_of(op.bias)
            assert scale is not None
            assert bias is not None
            table[op.result.name] = rng.normal(bias, scale, (200_000, len(bias)))
    table["relu1"] = np.maximum(table["bn1"], 0)
    table["sum"] = table["relu1"] + table["bn2"]
    for name, array in table.items():
        lo, hi = ranges[name]
        assert np.mean((array < lo) | (array > hi)) < 1e-3, name
        assert hi - lo < 1.6 * (array.max() - array.min()), name
    assert ranges["relu1"][0] == 0.0
    assert ranges["pool"] == ranges["sum"]


def test_the_record_reaches_the_quantizer_through_folding() -> None:
    module = network()
    ranges = statistic_ranges(module)
    step = QuantizePass(input_low=-4.0, input_high=4.0)
    quantized = run_passes(module, (RecordStatistics(), FoldBatchNorm(), FuseActivation(), step))
    assert "ranges of batch normalizations" in quantized.meta["calibration"]
    assert "batch-norm-ranges" not in quantized.meta
    quants = {op.result.name: op.result.quant for op in ops_named(quantized, "quantize")}
    found = quants["relu1.q"]
    assert found is not None
    assert math.isclose(found.scale[0], ranges["relu1"][1] / 255, rel_tol=1e-5)


def test_a_model_without_them_has_no_record() -> None:
    net = Network((1, 3, 4, 4))
    module = net.module(net.conv(net.x, 4))
    report = RewriteReport()
    assert RecordStatistics().run(module, report) is module
    assert not module.meta
    assert not report.fired
