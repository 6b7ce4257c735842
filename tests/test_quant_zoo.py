"""Trained models: those quantized by others to the bit, float ones to their decisions."""

from collections.abc import Mapping

import numpy as np
import pytest
from quant_cases import differing, integer_values, judged, lowered
from zoo import Zoo

from mcc.frontend import load
from mcc.ir import Array, Module, RewriteReport, evaluate
from mcc.passes import pipeline, run_passes
from mcc.passes.quantization import quantize_module, scheme_for

VENDOR = ("ic_resnet8", "kws_dscnn", "vww_mobilenet", "ad_autoencoder", "sww_dscnn1d")
EXTENSIONS = ("per_channel", "zero_point", "lut", "pool", "move_out_scratchpad")
SCHEMES = {
    "cpu": scheme_for((), "cpu"),
    "riscv-accel": scheme_for(EXTENSIONS, "riscv_accel"),
    "gemmini": scheme_for((), "riscv_accel"),
}


def random_integers(module: Module, count: int) -> list[dict[str, Array]]:
    rng = np.random.default_rng(0)
    (value,) = module.inputs
    low, high = value.tensor.dtype.limits
    return [
        {
            value.name: rng.integers(low, high + 1, value.tensor.dims).astype(
                value.tensor.dtype.numpy
            )
        }
        for _ in range(count)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", VENDOR)
def test_vendor_models_equal_onnxruntime(
    name: str, zoo: Zoo, capsys: pytest.CaptureFixture[str]
) -> None:
    module = run_passes(load(zoo.model(f"{name}_int8qdq")), pipeline(2))
    report = RewriteReport()
    integers = lowered(module, report)
    stay = {op.operands[0].op.op_name for _, op, _ in report.declined if op.operands[0].op}
    assert stay <= {"softmax"}
    feeds = random_integers(module, 4)
    for level in ("ORT_ENABLE_ALL", "ORT_DISABLE_ALL"):
        total, largest, count = 0, 0, 0
        for feed, theirs in zip(feeds, judged(module, feeds, level), strict=True):
            elements, apart, found = differing(integer_values(integers, feed), theirs)
            total, largest = total + elements, max(largest, apart)
            count += sum(found.values())
        with capsys.disabled():
            print(f"\n  {name} {level}: {count} of {total} differ, at most {largest}", end="")
        assert largest <= 2
        assert count <= total // 2000
        if level == "ORT_ENABLE_ALL":
            assert count == 0


def quantized_zoo_model(zoo: Zoo, name: str, target: str, samples: Mapping[str, Array]) -> Module:
    module = run_passes(load(zoo.model(name)), pipeline(2))
    (value,) = module.inputs
    (stack,) = samples.values()
    feeds = [{value.name: row[None].astype(np.float32)} for row in stack]
    form, _ = quantize_module(module, SCHEMES[target], feeds)
    return lowered(form)


@pytest.mark.slow
@pytest.mark.parametrize("target", SCHEMES)
def test_resnet8_keeps_its_decisions(zoo: Zoo, target: str) -> None:
    """On 100 images, each scheme's top class is nearly always float's (whole sets: benchmarks)."""
    with np.load(zoo.data("cifar10_lossless")) as data:
        train, test = data["x_train"][:128], data["x_test"][:100]
    module = quantized_zoo_model(zoo, "ic_resnet8", target, {"x": train})
    floats = load(zoo.model("ic_resnet8"))
    (value,) = floats.inputs
    same = 0
    for image in test:
        feeds = {value.name: image[None].astype(np.float32)}
        (mine,), (theirs,) = evaluate(module, feeds).values(), evaluate(floats, feeds).values()
        same += int(mine.argmax() == theirs.argmax())
    assert same >= 95
