"""Whole models on the CPU: floats against onnxruntime, integers against the evaluator."""

import numpy as np
import pytest
from reference import onnxruntime_outputs
from zoo import Zoo

from mcc.backends.cpu import library_members, stages
from mcc.frontend import load
from mcc.ir import Array, Module, RewriteReport, evaluate
from mcc.passes import LowerQuantized, pipeline, run_passes
from mcc.passes.quantization import quantize_module, scheme_for, synthetic_samples
from mcc.runtime import load_target
from mcc.runtime.library import Library

pytestmark = pytest.mark.slow

FLOAT_MODELS = [
    "ic_resnet8",
    "kws_dscnn",
    "vww_mobilenet",
    "ad_autoencoder",
    "sww_dscnn1d",
    "resnet20_cifar10",
    "mobilenet_v2_100_224",
    "tiny_darknet",
    "mnist_cnn",
    "wide_deep_adult",
    "vit_mnist",
    "yolox_nano",
    "dtln_1",
]
VENDOR_INT8_MODELS = ["ic_resnet8", "kws_dscnn", "vww_mobilenet", "ad_autoencoder", "sww_dscnn1d"]
OWN_INT8_MODELS = ["ic_resnet8", "kws_dscnn", "vww_mobilenet", "ad_autoencoder", "resnet20_cifar10"]
TARGET = load_target("cpu")


def compiled(module: Module) -> tuple[Module, Library]:
    """The module after the backend's stages, and its library."""
    for stage in stages(TARGET):
        module = run_passes(module, stage.passes)
    members = library_members(module, TARGET)
    return module, Library(members["library.so"], members["library.json"])


@pytest.mark.parametrize("level", [0, 2])
@pytest.mark.parametrize("name", FLOAT_MODELS)
def test_float_models_equal_onnxruntime(zoo: Zoo, name: str, level: int) -> None:
    module, library = compiled(run_passes(load(zoo.model(name)), pipeline(level)))
    samples = np.load(zoo.io(name))
    for prefix in ("", "rand_"):  # real inputs, and random ones
        feeds = {value.name: samples[f"{prefix}in:{value.name}"] for value in module.inputs}
        expected = onnxruntime_outputs(zoo.model(name), feeds)
        found = library.run(list(feeds.values()))
        for mine, theirs in zip(found, expected, strict=True):
            largest = float(np.abs(theirs).max())
            np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4 * largest)


@pytest.mark.parametrize("name", VENDOR_INT8_MODELS)
def test_vendor_int8_models_equal_the_evaluator(zoo: Zoo, name: str) -> None:
    module = run_passes(load(zoo.model(f"{name}_int8qdq")), pipeline(2))
    module, library = compiled(LowerQuantized().run(module, RewriteReport()))
    for seed in range(3):
        assert differing_integers(module, library, random_feeds(module, seed)) == {}


@pytest.mark.parametrize("name", OWN_INT8_MODELS)
def test_quantized_models_equal_the_evaluator(zoo: Zoo, name: str) -> None:
    module = run_passes(load(zoo.model(name)), pipeline(2))
    scheme = scheme_for(TARGET.extensions, TARGET.backend)
    form, _ = quantize_module(module, scheme, synthetic_samples(module, (-1.0, 1.0), 4), "minmax")
    module, library = compiled(LowerQuantized().run(form, RewriteReport()))
    for seed in range(3):
        assert differing_integers(module, library, random_feeds(module, seed)) == {}


def random_feeds(module: Module, seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    feeds: dict[str, Array] = {}
    for value in module.inputs:
        dtype, shape = value.tensor.dtype, value.tensor.dims
        if dtype.is_float:
            feeds[value.name] = rng.standard_normal(shape).astype(dtype.numpy)
        else:
            feeds[value.name] = rng.integers(*dtype.limits, shape).astype(dtype.numpy)
    return feeds


def differing_integers(module: Module, library: Library, feeds: dict[str, Array]) -> dict[str, int]:
    """How many elements of each stored integer tensor differ from the evaluator's."""
    exact: dict[str, Array] = {}
    evaluate(module, feeds, lambda value, array: exact.update({value.name: array}))
    observed = library.observe(list(feeds.values()))
    integers = {name for name, array in observed.items() if array.dtype.kind in "iu"}
    assert len(integers) > len(module.inputs)
    counts = {name: int((observed[name] != exact[name]).sum()) for name in integers}
    return {name: count for name, count in counts.items() if count}
