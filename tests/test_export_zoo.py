"""Trained models, imported and exported again."""

from collections.abc import Mapping

import numpy as np
import pytest
from onnx_models import Array
from reference import onnxruntime_outputs
from zoo import Zoo

from mcc.backends.onnx import export
from mcc.frontend import load
from mcc.ir import Module, evaluate
from mcc.passes import LowerQuantized, pipeline, run_passes

NAMES = [
    "ic_resnet8",
    "kws_dscnn",
    "vww_mobilenet",
    "ad_autoencoder",
    "sww_dscnn1d",
    "resnet20_cifar10",
    "mobilenet_v2_100_224",
    "mobilenet_v1_050_160",
    "tiny_darknet",
    "mnist_cnn",
    "wide_deep_adult",
    "vit_mnist",
    "ic_resnet8_int8qdq",
    "kws_dscnn_int8qdq",
    "vww_mobilenet_int8qdq",
    "ad_autoencoder_int8qdq",
    "sww_dscnn1d_int8qdq",
]


def random_feeds(module: Module) -> Mapping[str, Array]:
    """Random inputs of the module's types; integers small enough to be indices."""
    rng = np.random.default_rng(1)
    feeds: dict[str, Array] = {}
    for value in module.inputs:
        dtype, dims = value.tensor.dtype, value.tensor.dims
        low, high = (-128, 128) if dtype.bits == 8 else (0, 2)
        drawn = rng.normal(size=dims) if dtype.is_float else rng.integers(low, high, dims)
        feeds[value.name] = drawn.astype(dtype.numpy)
    return feeds


SLOW = {"mobilenet_v2_100_224"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in NAMES],
)
def test_there_and_back(zoo: Zoo, name: str) -> None:
    """Read back, it evaluates to the same bits; onnxruntime finds it equal to the original."""
    module = load(zoo.model(name))
    feeds = random_feeds(module)
    exported = export(module)
    mine, again = evaluate(module, feeds), evaluate(load(exported), feeds)
    assert {key: array.tobytes() for key, array in mine.items()} == {
        key: array.tobytes() for key, array in again.items()
    }
    original = onnxruntime_outputs(zoo.model(name), feeds)
    judged = onnxruntime_outputs(exported.SerializeToString(), feeds)
    for ours, theirs in zip(judged, original, strict=True):
        if theirs.dtype.kind == "f":
            largest = float(np.abs(theirs).max())
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4 * largest)
        else:
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("_int8qdq")])
def test_a_fused_quantized_model_keeps_its_integers(zoo: Zoo, name: str) -> None:
    """Fused, exported and run by onnxruntime in int8: the same integers as mcc's own lowering."""
    fused = run_passes(load(zoo.model(name)), pipeline(2))
    exported = export(fused)
    feeds = random_feeds(fused)
    lowered = run_passes(fused, (LowerQuantized(),))
    judged = onnxruntime_outputs(exported.SerializeToString(), feeds, integers=True)
    for mine, theirs in zip(evaluate(lowered, feeds).values(), judged, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("name", ["ic_resnet8", "resnet20_cifar10", "vit_mnist", "wide_deep_adult"])
def test_a_fused_float_model_computes_the_same(zoo: Zoo, name: str) -> None:
    fused = run_passes(load(zoo.model(name)), pipeline(2))
    feeds = random_feeds(fused)
    original = onnxruntime_outputs(zoo.model(name), feeds)
    judged = onnxruntime_outputs(export(fused).SerializeToString(), feeds)
    for ours, theirs in zip(judged, original, strict=True):
        largest = float(np.abs(theirs).max())
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4 * largest)
