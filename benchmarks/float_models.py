"""The zoo's float models, by the evaluator and by the CPU library, against onnxruntime."""

import sys
import time

import numpy as np
from recording import ZOO, Cell, Table, arguments, finish

from mcc import Session
from mcc import compile as compile_model
from mcc.frontend import load
from mcc.ir import Array, evaluate
from mcc.judge import onnxruntime_session
from mcc.passes import pipeline, run_passes

MODELS = (
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
)
RTOL, ATOL = 1e-3, 1e-4
"""Allowed: RTOL of the element plus ATOL of the largest output."""


def excess(expected: np.ndarray, actual: np.ndarray) -> float:
    """The largest error as a share of what is allowed; 1 and less is good."""
    wide = expected.astype(np.float64)
    allowed = RTOL * np.abs(wide) + ATOL * np.abs(wide).max(initial=1e-30)
    return float((np.abs(wide - actual) / allowed).max(initial=0.0))


def main() -> None:
    options = arguments(__doc__ or "").parse_args()
    if not ZOO.exists():
        sys.exit(f"needs the model zoo at {ZOO}")
    generator = np.random.default_rng(0)
    rows: list[tuple[Cell, ...]] = []
    for name in MODELS:
        path = ZOO / "models" / f"{name}.onnx"
        imported = load(path)
        with np.load(ZOO / "io" / f"{name}.npz") as file:
            recorded = {key: file[key] for key in file.files}
        feeds: dict[str, Array] = {}
        for value in imported.inputs:
            shape, dtype = value.tensor.dims, value.tensor.dtype
            stored = recorded.get(value.name)
            if stored is not None and stored.size >= value.tensor.size:
                feeds[value.name] = stored.reshape(-1)[: value.tensor.size].reshape(shape)
            elif dtype.is_float:
                feeds[value.name] = generator.random(shape)
            else:
                feeds[value.name] = generator.integers(0, 2, shape)
            feeds[value.name] = feeds[value.name].astype(dtype.numpy)
        judge = onnxruntime_session(path, "ORT_ENABLE_ALL")
        names = list(imported.output_names)
        expected = judge.run(names, feeds)
        optimized = run_passes(imported, pipeline(2))
        evaluated = evaluate(optimized, feeds)
        started = time.perf_counter()
        session = Session(compile_model(path, target="cpu"))
        seconds = time.perf_counter() - started
        found = session.run(names, feeds)
        by_evaluator = max(excess(e, evaluated[n]) for n, e in zip(names, expected, strict=True))
        by_library = max(excess(e, f) for e, f in zip(expected, found, strict=True))
        rows.append((name, by_evaluator, by_library, max(by_evaluator, by_library) <= 1, seconds))
        print(rows[-1], file=sys.stderr)
    table = Table(
        "float_models",
        "Float models against onnxruntime",
        "python benchmarks/float_models.py",
        ("model", "evaluator", "cpu library", "within", "compile s"),
        list(rows),
        [
            f"Largest error as a share of the allowed one, rtol {RTOL} plus atol {ATOL} of the "
            "largest output: 1 and less is within."
        ],
    )
    finish([table], options)
    if not all(row[3] for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
