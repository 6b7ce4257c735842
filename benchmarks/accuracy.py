"""Accuracy of compiled int8 artifacts on whole labelled sets: the simulator and the CPU library."""

import sys
import tempfile
import time

from recording import ZOO, Cell, Table, arguments, finish, zoo_calibration, zoo_evaluator

from mcc import Session
from mcc import compile as compile_model

# By model: the metric, and by how much it may fall short of float, on most targets and on stock
# Gemmini. A decibel is no difference but a floor.
MODELS: dict[str, tuple[str, float, float]] = {
    "ic_resnet8": ("acc", 0.005, 0.010),
    "kws_dscnn": ("acc", 0.005, 0.010),
    "resnet20_cifar10": ("acc", 0.005, 0.010),
    "vww_mobilenet": ("acc", 1 / 128, 2 / 128),
    "ad_autoencoder": ("sqnr_db", 35.0, 30.0),
}
TARGETS = ("riscv-accel", "gemmini", "cpu")


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--targets", default=",".join(TARGETS))
    options = parser.parse_args()
    scorer = zoo_evaluator()
    rows: list[tuple[Cell, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.models.split(","):
            metric, most, stock = MODELS[name]
            model = ZOO / "models" / f"{name}.onnx"
            exact = scorer.evaluate(name)
            samples = zoo_calibration(name, folder)
            for target in options.targets.split(","):
                artifact = compile_model(
                    model, target=target, quantize="int8", calibrate=samples, samples=256
                )
                started = time.perf_counter()
                found = scorer.evaluate(name, Session(artifact))
                seconds = time.perf_counter() - started
                allowed = stock if target == "gemmini" else most
                if metric == "acc":
                    # Counts of images, so that no rounding decides.
                    lost = round((exact[metric] - found[metric]) * found["n"])
                    reached = lost <= round(allowed * found["n"])
                else:
                    reached = found[metric] >= allowed
                rows.append(
                    (
                        name,
                        target,
                        metric,
                        found["n"],
                        exact[metric] if metric == "acc" else None,
                        found[metric],
                        allowed,
                        reached,
                        seconds,
                    )
                )
                print(rows[-1], file=sys.stderr)
    table = Table(
        "accuracy",
        "Accuracy of int8 artifacts",
        "python benchmarks/accuracy.py",
        ("model", "target", "metric", "n", "float", "int8", "allowed", "reached", "seconds"),
        list(rows),
        [
            "Scored by the zoo's own script on its whole labelled sets, through mcc.Session: the "
            "simulator for accelerators, the compiled library for cpu.",
            "allowed: the accuracy that may be lost; for decibels of signal to quantization "
            "noise against the float model, the floor.",
            "Calibrated with the zoo's calibration inputs, at most 256, defaults otherwise.",
        ],
    )
    finish([table], options)
    if not all(row[7] for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
