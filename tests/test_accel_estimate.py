"""The cycles that the search of tilings expects are those of the program that comes out.

Of a layer alone within a twentieth; in its network only its share is held, see `check_together`.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from estimates import LONG, Compared, compared
from onnx import TensorProto, helper, numpy_helper
from zoo import Zoo

from mcc.backends.riscv_accel import link, stages
from mcc.backends.riscv_accel.choices import timed
from mcc.backends.riscv_accel.cloning import clone
from mcc.backends.riscv_accel.emitting import Memories, Shared
from mcc.backends.riscv_accel.layers import Product, read_layer
from mcc.backends.riscv_accel.mapping import mappings
from mcc.backends.riscv_accel.search import Search
from mcc.backends.riscv_accel.structure import Layer
from mcc.backends.riscv_accel.tiling import Cut
from mcc.backends.riscv_accel.trial import SEEDS, touch
from mcc.backends.riscv_accel.weights import cut
from mcc.driver import Compilation
from mcc.ir import Module, Region, Yield
from mcc.options import Options
from mcc.passes import run_passes
from mcc.runtime import Program, Target, load_target
from mcc.runtime.simulator import CycleModel


def layers(model: Path, target: str) -> Iterator[Layer]:
    """The layers that the accelerator runs, equal ones once."""
    compilation = Compilation(Options(target=target, io="int8"))
    (module,) = (found for name, found in compilation.walk(model) if name == "partitioned")
    yield from (op for op in module.body if isinstance(op, Layer))


def alone(layer: Layer, target: Target) -> Program:
    """The program of one layer, which reads its inputs from DRAM."""
    body = Region([x.type for x in layer.xs], [f"x{i}" for i in range(len(layer.xs))])
    copy = body.append(clone(layer, dict(zip(layer.xs, body.args, strict=True))))
    body.append(Yield((copy.result,)))
    module = Module("alone", body, ["y"])
    for stage in stages(target):
        if stage.name in ("tiled", "configured"):
            module = run_passes(module, stage.passes)
    return link(module, target).program


def simulated(program: Program, target: Target) -> float:
    """The cycles of the whole program, with its activations in the cache if they fit."""
    result = program.layers[-1].tensor
    ordered = sorted(program.tensors.items(), key=lambda item: item[0] == result)
    places = [(found.offset, math.prod(found.shape)) for _, found in ordered]
    cycles: list[int] = []
    for seed in range(SEEDS):
        model = CycleModel(target, seed=seed)
        touch(model, target, places)
        cycles.append(model.run_stream(program.stream(target)).total)
    return float(np.mean(cycles))


def check(model: Path, name: str) -> None:
    target = load_target(name)
    search = Search()
    checked: set[object] = set()
    for layer in layers(model, name):
        product = read_layer(layer)
        if not isinstance(product, Product) or product.w is not None:
            continue
        cuts = [Cut(one, cut(one, 16), target) for one in mappings(product, target)]
        cuts += [replace(one, added=True) for one in cuts if one.addable]
        if cuts[0].key in checked:
            continue
        checked.add(cuts[0].key)
        memories = Memories(Shared(target), "layer", ["x0", "x1"], "y", frames=[None, None])
        _, tiling = search.best(cuts, lambda one, tiling: timed(one, tiling, memories))  # noqa: B023
        wanted = simulated(alone(layer, target), target)
        assert tiling.cost == pytest.approx(wanted, rel=0.05), layer.result.name
    assert checked


@pytest.mark.parametrize("target", ["gemmini", "riscv-accel"])
def test_the_estimate_is_within_a_twentieth(zoo: Zoo, target: str) -> None:
    check(zoo.model("mnist_cnn"), target)


MODELS = [
    "ic_resnet8",
    "kws_dscnn",
    "vww_mobilenet",
    "ad_autoencoder",
    "resnet20_cifar10",
    "sww_dscnn1d",
    "mobilenet_v1_050_160",
]


@pytest.mark.slow
@pytest.mark.parametrize("target", ["gemmini", "riscv-accel"])
@pytest.mark.parametrize("name", MODELS)
def test_the_estimate_is_within_a_twentieth_on_larger_models(
    zoo: Zoo, name: str, target: str
) -> None:
    check(zoo.model(name), target)


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


def check_together(layers: list[Compared], within: float) -> None:
    """The formula's sum over a network; one layer's part of it is known less well."""
    assert layers
    assert all(layer.cycles > 0 for layer in layers)
    cycles = sum(layer.cycles for layer in layers)
    assert sum(layer.formula for layer in layers) == pytest.approx(cycles, rel=within)
    for layer in layers:
        if layer.cycles >= LONG:
            assert abs(layer.error) <= 0.45, layer.name


@pytest.mark.parametrize("target", ["gemmini", "riscv-accel"])
def test_layers_in_a_network_take_about_what_the_formula_says(target: str) -> None:
    layers = compared(chain_of_convolutions(), load_target(target))
    assert len(layers) == 3
    check_together(layers, 0.12)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["gemmini", "riscv-accel"])
@pytest.mark.parametrize("name", ["ic_resnet8", "kws_dscnn", "vww_mobilenet", "ad_autoencoder"])
def test_layers_of_the_zoo_take_about_what_the_formula_says(
    zoo: Zoo, name: str, target: str
) -> None:
    check_together(compared(zoo.model(name), load_target(target)), 0.17)
