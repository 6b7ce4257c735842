"""Trained models on both accelerators: every integer tensor in DRAM is the evaluator's."""

import json

import numpy as np
import pytest
from zoo import Zoo

import mcc
from mcc.ir import evaluate
from mcc.runtime.program import ProgramRunner

TINY = ["ic_resnet8", "kws_dscnn", "ad_autoencoder", "vww_mobilenet"]


@pytest.mark.slow
@pytest.mark.parametrize("target", ["gemmini", "riscv-accel"])
@pytest.mark.parametrize("name", TINY)
def test_every_tensor_is_the_evaluators(zoo: Zoo, name: str, target: str) -> None:
    artifact = mcc.compile(zoo.model(name), target=target, input_range=(0.0, 1.0))
    lowered = artifact.module("lowered")
    (x,) = lowered.inputs
    rng = np.random.default_rng(5)
    feeds = {x.name: rng.uniform(0, 1, x.tensor.dims).astype(np.float32)}
    wanted: dict[str, np.ndarray] = {}
    outputs = evaluate(lowered, feeds, lambda value, array: wanted.update({value.name: array}))

    compared: list[str] = []

    def compare(tensor: str, array: np.ndarray) -> None:
        if tensor in wanted and array.dtype == np.int8:
            np.testing.assert_array_equal(array, wanted[tensor], tensor)
            compared.append(tensor)

    runner = ProgramRunner.from_artifact(artifact)
    found, stats = runner.run(feeds, compare)
    for output, array in outputs.items():
        np.testing.assert_array_equal(found[output], array)
    layers = runner.program.layers
    assert {layer.tensor for layer in layers} <= set(compared) | {layers[-1].tensor}
    assert stats.launches == 1

    totals = json.loads(artifact.members["report.json"])["totals"]
    assert totals["dram_peak"] <= 1.05 * totals["dram_bound"]
