"""Real models, whole: every target, every integer tensor, and onnxruntime's opinion."""

import numpy as np
import pytest
from zoo import Zoo

import mcc
from mcc.samples import random_samples
from mcc.verify import Verification, verify

pytestmark = pytest.mark.slow

FLOAT = {
    "ic_resnet8": (0.0, 255.0),
    "kws_dscnn": (-100.0, 60.0),
    "ad_autoencoder": (-60.0, 60.0),
    "vww_mobilenet": (0.0, 1.0),
    "sww_dscnn1d": (0.0, 26.0),
    "resnet20_cifar10": (-2.0, 2.0),
    "mnist_cnn": (0.0, 255.0),
    "wide_deep_adult": (-2.0, 2.0),
    "vit_mnist": (0.0, 1.0),
    "mobilenet_v2_100_224": (-1.0, 1.0),
    "tiny_darknet": (0.0, 1.0),
}
"""Float models, and what their inputs look like."""
VENDOR = [
    "ic_resnet8_int8qdq",
    "kws_dscnn_int8qdq",
    "vww_mobilenet_int8qdq",
    "ad_autoencoder_int8qdq",
    "sww_dscnn1d_int8qdq",
]
LAYERS = "each layer on the same inputs"


def judged(found: Verification) -> dict[str, tuple[int, float]]:
    """By setting, how many integers differ where each layer has the same inputs, and how far."""
    return {
        setting: (
            sum(check.differing for check in integers),
            max((check.largest for check in integers), default=0.0),
        )
        for setting, checks in found.onnxruntime.items()
        if setting.startswith(LAYERS)
        for integers in [[check for check in checks if "int" in check.dtype]]
    }


def differing(found: Verification) -> dict[str, int]:
    return {c.name: c.differing for c in found.machine if "int" in c.dtype and c.differing}


@pytest.mark.parametrize("target", ["riscv-accel", "gemmini", "cpu"])
@pytest.mark.parametrize("name", list(FLOAT))
def test_a_float_model_becomes_integers(zoo: Zoo, name: str, target: str) -> None:
    artifact = mcc.compile(
        zoo.model(name), target=target, quantize="int8", input_range=FLOAT[name], samples=2
    )
    found = verify(artifact, random_samples(artifact.manifest, 1, seed=3))
    assert not differing(found)
    assert found.passed
    assert any("int8" in check.dtype for check in found.machine)
    for setting, (count, largest) in judged(found).items():
        assert largest <= 1, (setting, count)


@pytest.mark.parametrize("target", ["riscv-accel", "gemmini", "cpu"])
@pytest.mark.parametrize("name", VENDOR)
def test_a_vendors_int8_model_runs_as_it_is(zoo: Zoo, name: str, target: str) -> None:
    artifact = mcc.compile(zoo.model(name), target=target, quantize="int8")
    found = verify(artifact, random_samples(artifact.manifest, 2, seed=3))
    assert not differing(found)
    assert found.passed
    for setting, (count, largest) in judged(found).items():
        assert largest <= 1, (setting, count)


@pytest.mark.parametrize("name", list(FLOAT))
def test_a_float_model_runs_on_the_cpu(zoo: Zoo, name: str) -> None:
    from reference import onnxruntime_outputs

    artifact = mcc.compile(zoo.model(name), input_range=FLOAT[name])
    [feeds] = random_samples(artifact.manifest, 1, seed=3)
    found = mcc.Session(artifact).run(None, feeds)
    for array, wanted in zip(found, onnxruntime_outputs(zoo.model(name), feeds), strict=True):
        largest = float(np.abs(wanted).max())
        np.testing.assert_allclose(array, wanted, rtol=1e-3, atol=1e-4 * largest)
