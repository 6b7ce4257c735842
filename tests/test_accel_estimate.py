"""The cycles that the search of tilings expects are those of the program that comes out.

Of each layer in its network, as the event model times it in a warm inference.
"""

from itertools import pairwise

import numpy as np
import onnx
import pytest
from estimates import LONG, Compared, compared
from onnx import TensorProto, helper, numpy_helper
from zoo import Zoo

from mcc.runtime import load_target

ROUGH = {
    ("ad_autoencoder", "gemmini"): 0.13,
    ("mobilenet_v2_100_224", "gemmini"): 0.07,
    ("mobilenet_v2_100_224", "riscv-accel"): 0.11,
    ("sww_dscnn1d", "gemmini"): 0.13,
    ("sww_dscnn1d", "riscv-accel"): 0.26,
    ("vit_mnist", "gemmini"): 0.3,
    ("vww_mobilenet", "riscv-accel"): 0.12,
    ("wide_deep_adult", "riscv-accel"): 0.12,
}
"""Networks some layers of which are not within a twentieth yet: few short layers in a kernel, or
weights used once, whose lines the cache keeps at random; and a layer of MobileNetV2 on each."""
SHORT = 200.0
"""Cycles by which a short layer's may be missed."""


def check(layers: list[Compared], within: float = 0.05) -> None:
    assert layers
    for layer in layers:
        assert layer.cycles > 0
        slack = max(within * layer.cycles, SHORT if layer.cycles < LONG else 0.0)
        assert abs(layer.searched - layer.cycles) <= slack, (layer.name, layer)


def chain_of_convolutions() -> onnx.ModelProto:
    """Three convolutions whose results stay on the chip where a machine can hold them."""
    rng = np.random.default_rng(7)
    channels = (16, 32, 32, 48)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    for i, (few, many) in enumerate(pairwise(channels)):
        kernel = rng.normal(0, 0.1, (many, few, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"w{i}"))
        nodes.append(
            helper.make_node("Conv", [f"x{i}", f"w{i}"], [f"c{i}"], f"conv{i}", pads=[1, 1, 1, 1])
        )
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"x{i + 1}"], f"relu{i}"))
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, count, 24, 24])
        for name, count in (("x0", channels[0]), ("x3", channels[-1]))
    ]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("target", ["gemmini", "riscv-accel"])
def test_what_is_expected_of_layers_in_a_chain_is_what_they_take(target: str) -> None:
    layers = compared(chain_of_convolutions(), load_target(target))
    assert len(layers) == 3
    check(layers)


SMALL = ["ic_resnet8", "kws_dscnn", "ad_autoencoder", "mnist_cnn", "sww_dscnn1d"]
LARGE = [
    "vww_mobilenet",
    "resnet20_cifar10",
    "mobilenet_v1_050_160",
    "mobilenet_v2_100_224",
    "dncnn_s25",
    "dtln_1",
    "wide_deep_adult",
    "vit_mnist",
]


def check_model(zoo: Zoo, name: str, target: str) -> None:
    within = ROUGH.get((name, target), 0.05)
    check(compared(zoo.model(name), load_target(target)), within)


@pytest.mark.parametrize("target", ["gemmini", "riscv-accel"])
@pytest.mark.parametrize("name", SMALL)
def test_what_is_expected_of_layers_is_what_they_take(zoo: Zoo, name: str, target: str) -> None:
    check_model(zoo, name, target)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["gemmini", "riscv-accel"])
@pytest.mark.parametrize("name", LARGE)
def test_what_is_expected_of_large_models_layers_is_what_they_take(
    zoo: Zoo, name: str, target: str
) -> None:
    check_model(zoo, name, target)
