"""Trained models of others: the imported module and onnxruntime agree."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
import pytest
from onnx_models import Array
from reference import onnxruntime_outputs
from zoo import Zoo

from mcc.frontend import load
from mcc.ir import DType, Module, Value, constant_of, evaluate, verify
from mcc.ops import Dequantize, quantize_array
from mcc.passes import LowerQuantized, pipeline, run_passes

FLOAT_MODELS = [
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
]
VENDOR_INT8_MODELS = ["ic_resnet8", "kws_dscnn", "vww_mobilenet", "ad_autoencoder", "sww_dscnn1d"]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if "v2" in name else name for name in FLOAT_MODELS],
)
def test_float_models_equal_onnxruntime(zoo: Zoo, name: str) -> None:
    module = load(zoo.model(name))
    verify(module)
    samples = np.load(zoo.io(name))
    for prefix in ("", "rand_"):  # real inputs, and random ones
        feeds = {v.name: samples[f"{prefix}in:{v.name}"] for v in module.inputs}
        expected = onnxruntime_outputs(zoo.model(name), feeds)
        found = evaluate(module, feeds)
        for mine, theirs in zip(found.values(), expected, strict=True):
            largest = float(np.abs(theirs).max())
            np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4 * largest)


@pytest.mark.parametrize("name", FLOAT_MODELS)
def test_names_and_provenance_survive(zoo: Zoo, name: str) -> None:
    model = onnx.load(zoo.model(name))
    module = load(zoo.model(name))
    assert module.output_names == tuple(output.name for output in model.graph.output)
    nodes = {node.name or node.output[0] for node in model.graph.node}
    tensors = {tensor for node in model.graph.node for tensor in node.output}
    tensors |= {tensor.name for tensor in model.graph.initializer}
    for op in module.ops():
        assert set(op.nodes) <= nodes
        assert op.nodes or op.op_name in ("constant", "yield")
    named = {value.name for op in module.body for value in op.results if value.name}
    assert len(named) > len(module.inputs)
    assert {name.removesuffix(".T") for name in named} <= tensors


@dataclass
class Differences:
    """How many elements of integer tensors differ from the judge's, and by how much at most."""

    elements: int = 0
    differing: int = 0
    largest: int = 0
    where: dict[str, int] = field(default_factory=dict[str, int])

    def add(self, name: str, mine: Array, theirs: Array) -> None:
        distance = np.abs(mine.astype(np.int64) - theirs.astype(np.int64))
        self.elements += distance.size
        self.differing += (count := int(np.count_nonzero(distance)))
        self.largest = max(self.largest, int(distance.max()))
        if count:
            self.where[name] = self.where.get(name, 0) + count


@pytest.mark.parametrize("name", VENDOR_INT8_MODELS)
def test_vendors_int8_models_as_they_are(zoo: Zoo, name: str) -> None:
    """Evaluated in float between the quantizations: one element in 10,000 may be 1 LSB off."""
    found = compare(zoo, name, load(zoo.model(f"{name}_int8qdq")), integers=False)
    assert found.elements > 1000
    assert found.largest <= 1, found
    assert found.differing <= found.elements / 10_000, found


@pytest.mark.parametrize("name", VENDOR_INT8_MODELS)
def test_vendors_int8_models_in_integers(zoo: Zoo, name: str) -> None:
    """Lowered to integer ops: no element of any quantized tensor differs from onnxruntime's."""
    module = load(zoo.model(f"{name}_int8qdq"))
    lowered = run_passes(module, (*pipeline(2), LowerQuantized()))
    found = compare(zoo, name, lowered, integers=True)
    assert found.elements > 1000
    assert not found.differing, found


def compare(zoo: Zoo, name: str, module: Module, *, integers: bool) -> Differences:
    """Hold every quantized tensor that the module has against onnxruntime's, on real inputs."""
    exposed, quantized = with_quantized_outputs(onnx.load(zoo.model(f"{name}_int8qdq")))
    content = exposed.SerializeToString()
    found = Differences()
    for feeds in int8_feeds(zoo, name, 3):
        seen: dict[str, Array] = {}

        def observe(value: Value, array: Array, seen: dict[str, Array] = seen) -> None:
            seen[value.name] = array

        evaluate(module, feeds, observe)
        theirs = onnxruntime_outputs(content, feeds, integers=integers)
        for output, array in zip(exposed.graph.output, theirs, strict=True):
            if output.name in quantized and output.name in seen:
                found.add(output.name, seen[output.name], array)
    return found


def with_quantized_outputs(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """The model with every result of a QuantizeLinear as a further output, and their names."""
    inferred = onnx.shape_inference.infer_shapes(model)
    infos = {info.name: info for info in inferred.graph.value_info}
    have = {output.name for output in inferred.graph.output}
    names = [node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    inferred.graph.output.extend(infos[name] for name in names if name not in have)
    return inferred, names


def int8_feeds(zoo: Zoo, name: str, count: int) -> list[Mapping[str, Array]]:
    """Real inputs, as the quantized model wants them."""
    module = load(zoo.model(f"{name}_int8qdq"))
    (value,) = module.inputs
    if name == "kws_dscnn":
        arrays = np.load(zoo.data("kws_mlperf_tiny"))["x_int8"][:count]
    elif name in ("ic_resnet8", "vww_mobilenet"):
        file, key = ("vww_coco256", "x") if "vww" in name else ("cifar10_lossless", "x_test")
        arrays = (np.load(zoo.data(file))[key][:count].astype(np.int16) - 128).astype(np.int8)
    else:
        file = {"ad_autoencoder": "ad_toycar_one_clip", "sww_dscnn1d": "sww_calib45"}[name]
        first = next(
            op for op in module.ops() if isinstance(op, Dequantize) and constant_of(op.x) is None
        )
        scale, zero = constant_of(first.scale), constant_of(first.zero)
        assert scale is not None
        assert zero is not None
        arrays = quantize_array(np.load(zoo.data(file))["x"][:count], scale, zero, DType.I8)
    return [{value.name: array.reshape(value.tensor.dims)} for array in arrays]
