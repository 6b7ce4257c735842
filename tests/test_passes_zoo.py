"""The passes on trained models: what they leave, and that it computes the same."""

import numpy as np
import pytest
from pass_cases import assert_same_outputs, feeds_of, op_counts
from zoo import Zoo

from mcc.frontend import load
from mcc.ir import Array, Constant, Module, Value, evaluate
from mcc.passes import (
    ChannelsLast,
    Dce,
    LowerQuantized,
    QuantizePass,
    pipeline,
    run_passes,
    to_onnx_layout,
)

CNNS = {  # model: transposes that the layout leaves at -O2
    "ic_resnet8": 0,
    "kws_dscnn": 0,
    "vww_mobilenet": 0,
    "sww_dscnn1d": 0,
    "resnet20_cifar10": 1,
    "mnist_cnn": 0,
    "tiny_darknet": 1,
    "mobilenet_v2_100_224": 0,
}
HEAVY = [pytest.param("mobilenet_v2_100_224", marks=pytest.mark.slow)]
LIGHT = [name for name in CNNS if name != "mobilenet_v2_100_224"]
OTHERS = ("ad_autoencoder", "wide_deep_adult", "vit_mnist")


def feeds(module: Module) -> dict[str, Array]:
    """Random floats, and indices that every embedding has."""
    found = feeds_of(module)
    return {name: array % 2 if array.dtype.kind in "iu" else array for name, array in found.items()}


def nodes(module: Module) -> set[str]:
    return {node for op in module.ops() for node in op.nodes}


@pytest.mark.parametrize("name", [*LIGHT, *OTHERS, *HEAVY])
def test_levels_compute_the_same(zoo: Zoo, name: str) -> None:
    module = load(zoo.model(name))
    inputs, before = feeds(module), nodes(module)
    expected = evaluate(module, inputs)
    for level in (1, 2):
        run_passes(module, pipeline(level))
        assert_same_outputs(expected, evaluate(module, inputs), exact=level == 1)
        assert nodes(module) == before
    assert not {"relu", "clip", "batch_norm"} & set(op_counts(module))
    text = str(module)
    run_passes(module, pipeline(2))
    assert str(module) == text


@pytest.mark.parametrize("name", [*LIGHT, *HEAVY])
def test_the_layout_leaves_no_transpose_inside(zoo: Zoo, name: str) -> None:
    module = run_passes(load(zoo.model(name)), pipeline(2))
    inputs, before = feeds(module), nodes(module)
    expected = evaluate(module, inputs)
    run_passes(module, (ChannelsLast(), Dce()))
    assert op_counts(module)["transpose"] == CNNS[name]
    assert all(op.attributes.get("layout", "nhwc") == "nhwc" for op in module.ops())
    assert nodes(module) == before
    assert_same_outputs(expected, evaluate(module, inputs), exact=False)


@pytest.mark.parametrize(
    "name",
    [
        "ic_resnet8",
        "kws_dscnn",
        "mnist_cnn",
        pytest.param("resnet20_cifar10", marks=pytest.mark.slow),
    ],
)
def test_every_integer_is_where_its_axis_map_says(zoo: Zoo, name: str) -> None:
    module = run_passes(load(zoo.model(name)), pipeline(2))
    module = run_passes(module, (QuantizePass(), LowerQuantized()))
    inputs = feeds(module)
    tensors: dict[str, Array] = {}

    def keep(value: Value, array: Array) -> None:
        tensors[value.name] = array

    expected = evaluate(module, inputs, observe=keep)
    run_passes(module, (ChannelsLast(), Dce()))
    assert op_counts(module)["transpose"] == CNNS[name]
    compared = 0

    def compare(value: Value, array: Array) -> None:
        nonlocal compared
        if value.name in tensors and not isinstance(value.op, Constant):
            assert np.array_equal(to_onnx_layout(array, value), tensors[value.name]), value.name
            compared += 1

    found = evaluate(module, inputs, observe=compare)
    assert_same_outputs(expected, found, exact=True)
    assert compared > 10
