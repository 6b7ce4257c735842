"""Accuracy of int8 models under each target's scheme, by the evaluator, on whole labelled sets.

Calibration uses the zoo's own calibration items, never those that are scored.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from recording import ZOO, Cell, Table, arguments, finish, zoo_evaluator

from mcc.frontend import load
from mcc.ir import Array, Module, RewriteReport, evaluate
from mcc.passes import pipeline, run_passes
from mcc.passes.quantization import LowerQuantized, Scheme, quantize_module, scheme_for
from mcc.passes.quantization.scheme import Mode
from mcc.runtime.target import load_target

TARGETS = ("riscv-accel", "cpu", "gemmini")
BATCHES = {"ic_resnet8": 250, "resnet20_cifar10": 250, "kws_dscnn": 100}
"""Models that are compiled for more than one item at a time, to score them faster."""


@dataclass(frozen=True)
class Goal:
    """What a model's int8 form must keep."""

    metric: str
    floor: float
    """For accelerators with extensions, and the CPU."""
    stock: float
    """For stock Gemmini."""


GOALS = {
    "ic_resnet8": Goal("acc", 0.881 - 0.005, 0.881 - 0.01),
    "kws_dscnn": Goal("acc", 0.91111 - 0.005, 0.91111 - 0.01),
    "resnet20_cifar10": Goal("acc", 0.915 - 0.005, 0.915 - 0.01),
    "vww_mobilenet": Goal("acc", 110 / 128, 109 / 128),
    "ad_autoencoder": Goal("sqnr_db", 35.0, 30.0),
}


@dataclass(frozen=True)
class Port:
    """An input or output, as onnxruntime describes it."""

    name: str
    shape: Sequence[int]
    type: str = "tensor(float)"


class Engine:
    """The evaluator behind the calls of an onnxruntime session."""

    def __init__(self, module: Module) -> None:
        self.module = module

    def get_inputs(self) -> list[Port]:
        return [Port(value.name, value.tensor.dims) for value in self.module.inputs]

    def get_outputs(self) -> list[Port]:
        values = zip(self.module.output_names, self.module.outputs, strict=True)
        return [Port(name, value.tensor.dims) for name, value in values]

    def run(self, names: object, feeds: Mapping[str, Array]) -> list[Array]:
        del names  # the scorer always asks for all
        return list(evaluate(self.module, feeds).values())


def float_module(name: str) -> Module:
    """The model after -O2, for as many items at a time as it is scored with."""
    path = ZOO / "models" / f"{name}.onnx"
    (value,) = load(path).inputs
    shape = (BATCHES.get(name, 1), *value.tensor.dims[1:])
    return run_passes(load(path, shapes={value.name: shape}), pipeline(2))


def batched(feeds: Sequence[Mapping[str, Array]], module: Module) -> list[dict[str, Array]]:
    """Feeds of one item as feeds of the module's batch; the last batch starts over."""
    (value,) = module.inputs
    stack = np.concatenate([feed[value.name] for feed in feeds])
    size = value.tensor.dims[0]
    return [
        {value.name: stack[np.arange(start, start + size) % len(stack)]}
        for start in range(0, len(stack), size)
    ]


def score(name: str, scheme: Scheme, scorer: Any, samples: int) -> Mapping[str, float]:
    """The metric of the lowered model."""
    module = float_module(name)
    feeds = batched(scorer.calib_feeds(name)[:samples], module)
    quantized, _ = quantize_module(module, scheme, feeds)
    report = RewriteReport()
    lowered = LowerQuantized().run(quantized, report)
    found: Mapping[str, float] = scorer.evaluate(name, Engine(lowered))
    return found


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--models", default=",".join(GOALS), help="which, between commas")
    parser.add_argument("--samples", type=int, default=256, help="calibration items")
    parser.add_argument("--portable", action="store_true", help="powers of two as scales")
    parser.add_argument("--weight-bits", type=int, default=8, choices=(8, 4), help="of weights")
    options = parser.parse_args()
    mode: Mode = "portable" if options.portable else "strict"
    scorer = zoo_evaluator()
    short = options.weight_bits < 8
    key = "quantization" + ("-portable" if options.portable else "") + ("-short" if short else "")
    table = Table(
        key,
        f"Accuracy of int8{' with weights of 4 bits' if short else ''}, {mode} mode",
        "benchmarks/quantization.py"
        + (" --portable" if options.portable else "")
        + (" --weight-bits 4" if short else ""),
        ("model", "metric", "float", *TARGETS, "least asked", "least on gemmini"),
        notes=[
            f"calibrated on up to {options.samples} items of each model's calibration set (mse)",
            "accuracy is top-1 on the whole labelled set; sqnr_db is against float outputs",
        ],
    )
    missed: list[str] = []
    for name in options.models.split(","):
        goal = GOALS[name]
        cells: list[Cell] = []
        for label in TARGETS:
            target = load_target(label)
            scheme = scheme_for(target.extensions, target.backend, mode)
            scheme = replace(scheme, weight_bits=options.weight_bits)
            found = score(name, scheme, scorer, options.samples)[goal.metric]
            asked = goal.stock if label == "gemmini" else goal.floor
            if round(found, 4) < round(asked, 4):
                missed.append(f"{name} on {label}: {found} is below {asked:.4f}")
            cells.append(found)
        reference = scorer.evaluate(name)[goal.metric]
        table.rows.append((name, goal.metric, reference, *cells, goal.floor, goal.stock))
    finish([table], options)
    if missed and not options.portable and not short:
        sys.exit("\n".join(missed))


if __name__ == "__main__":
    main()
