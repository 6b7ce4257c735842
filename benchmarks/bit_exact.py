"""Simulator, CPU library, evaluator and onnxruntime on quantized models, element by element."""

import argparse
import sys
import tempfile

from recording import ZOO, Cell, Table, arguments, finish, zoo_calibration, zoo_evaluator

from mcc import compile as compile_model
from mcc.ir import Array
from mcc.runtime import Artifact
from mcc.samples import random_samples
from mcc.verify import LEVELS, TensorCheck, Verification, verify
from mcc.verify import WAYS as VERIFY_WAYS

MODELS = ("ic_resnet8", "kws_dscnn", "vww_mobilenet", "ad_autoencoder")
TARGETS = ("riscv-accel", "gemmini", "cpu")


def scoring_inputs(name: str, artifact: Artifact, count: int) -> list[dict[str, Array]]:
    """The zoo's labelled inputs, and random ones where there are fewer than `count`."""
    scorer = zoo_evaluator()
    _, task = scorer.MODELS[name]
    session = scorer.session(str(ZOO / "models" / f"{name}.onnx"))
    if hasattr(task, "n_test"):
        feeds = [task.feed(session, [i]) for i in range(min(count, task.n_test()))]
    else:
        feeds = list(task.calib(session)[:count])
    return feeds + [dict(feed) for feed in random_samples(artifact.manifest, count - len(feeds))]


WAYS = tuple(f"{way}, {level}" for level in LEVELS for way in VERIFY_WAYS)
SHORT = tuple(
    f"{'layers' if way.startswith('each') else 'model'} {level.removeprefix('ORT_')}".replace(
        ", int8 convolutions allowed", " int8"
    )
    for level in LEVELS
    for way in VERIFY_WAYS
)
"""Column titles: each layer on the same inputs, or the whole model, at each setting."""


def summed(checks: tuple[TensorCheck, ...]) -> tuple[int, int, int, float]:
    """Tensors, elements, differing elements and the largest difference over integer tensors."""
    integers = [check for check in checks if not check.dtype.startswith("float")]
    return (
        len(integers),
        sum(check.elements for check in integers),
        sum(check.differing for check in integers),
        max((check.largest for check in integers), default=0.0),
    )


def row_of(name: str, target: str, mode: str, found: Verification) -> tuple[Cell, ...]:
    """Counts of differing elements, with the largest difference where there is one."""
    tensors, elements, differing, _ = summed(found.machine)
    judged: list[str] = []
    for way in WAYS:
        _, _, count, largest = summed(found.onnxruntime[way])
        judged.append(f"{count:,} (by {largest:g})" if count else "0")
    return (name, target, mode, tensors, elements, differing, *judged)


def main() -> None:
    parser: argparse.ArgumentParser = arguments(__doc__ or "")
    parser.add_argument("--inputs", type=int, default=100)
    parser.add_argument("--modes", default="strict,portable")
    options = parser.parse_args()
    rows: list[tuple[Cell, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            samples = zoo_calibration(name, folder)
            for mode in options.modes.split(","):
                for target in TARGETS:
                    artifact = compile_model(
                        ZOO / "models" / f"{name}.onnx",
                        target=target,
                        quantize="int8",
                        mode=mode,
                        calibrate=samples,
                    )
                    feeds = scoring_inputs(name, artifact, options.inputs)
                    found = verify(artifact, feeds)
                    rows.append(row_of(name, target, mode, found))
                    print(rows[-1], file=sys.stderr)
    table = Table(
        "bit_exact",
        "The same bits: machine, evaluator, onnxruntime",
        "python benchmarks/bit_exact.py",
        ("model", "target", "mode", "tensors", "elements", "machine / evaluator", *SHORT),
        list(rows),
        [
            f"{options.inputs} inputs, integer tensors only; each cell counts differing elements.",
            "Machine: the simulator, or the CPU library. It must not differ from the evaluator.",
            "The other columns hold the evaluator against onnxruntime on the exported QDQ model: "
            "each layer on the same inputs (layers), or the whole model (model); all "
            "optimisations with int8 convolutions allowed (ENABLE_ALL int8), its default "
            "(ENABLE_ALL), and none (DISABLE_ALL). Without that option onnxruntime computes int8 "
            "convolutions in float on x86, and one near-tie spreads through the rest of a model.",
        ],
    )
    finish([table], options)
    if any(row[5] for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
