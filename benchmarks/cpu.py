"""Latency of mcc's CPU code beside onnxruntime and, where it is installed, OpenVINO.

    python benchmarks/cpu.py [--only NAME ...] [--threads 1 2] [--seconds 2] [--json] [--write]

All engines take turns (A B A B) in one process, on the same inputs, and their outputs are compared.
One thread is measured in CPU time, so that other work on the machine counts little; two threads
in wall time. A ratio is a peer's time by mcc's, the median over the turns of the best of each turn.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import cpu_models as built
import numpy as np
import onnx
from recording import ZOO, Cell, Table, arguments, finish

from mcc import Session, UserError
from mcc import compile as compile_model

Run = Callable[[], list[np.ndarray]]
Feeds = dict[str, np.ndarray]
INT8 = "int8"
_QUANTIZED = ("Conv", "MatMul", "Gemm", "Add", "Relu", "Clip", "MaxPool", "GlobalAveragePool")


@dataclass(frozen=True)
class Workload:
    name: str
    group: str
    make: Callable[[], onnx.ModelProto] | None = None
    """None: a file of the zoo."""
    int8: str = ""
    """`ort`: quantized here by onnxruntime; else the zoo's file of the same network."""


FLOAT, DEPTHWISE, TRANSFORMER, SMALL = "CNN", "depthwise CNN", "transformer", "under 1 ms"
WORKLOADS = (
    Workload("resnet18", FLOAT, lambda: built.resnet((2, 2, 2, 2), bottleneck=False), "ort"),
    Workload("resnet50", FLOAT, lambda: built.resnet((3, 4, 6, 3), bottleneck=True), "ort"),
    Workload("tiny_darknet", FLOAT),
    Workload("mobilenet_v2", DEPTHWISE, built.mobilenet_v2, "ort"),
    Workload("mobilenet_v1_050_160", DEPTHWISE),
    Workload("vww_mobilenet", DEPTHWISE, None, "vww_mobilenet_int8qdq"),
    Workload("yolox_nano", DEPTHWISE),
    Workload("bert_2_layers", TRANSFORMER, built.bert, "ort"),
    Workload("vit_mnist", TRANSFORMER),
    Workload("tiny_cnn", SMALL, built.tiny_cnn),
    Workload("ic_resnet8", SMALL, None, "ic_resnet8_int8qdq"),
    Workload("kws_dscnn", SMALL, None, "kws_dscnn_int8qdq"),
    Workload("ad_autoencoder", SMALL, None, "ad_autoencoder_int8qdq"),
    Workload("sww_dscnn1d", SMALL, None, "sww_dscnn1d_int8qdq"),
    Workload("resnet20_cifar10", SMALL),
    Workload("mnist_cnn", SMALL),
    Workload("wide_deep_adult", SMALL),
)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--only", nargs="*", help="workloads, by default all")
    parser.add_argument("--threads", nargs="*", type=int, default=[1, 2])
    parser.add_argument("--seconds", type=float, default=2.0, help="for each row")
    parser.add_argument("--precision", choices=("float", INT8), nargs="*", default=["float", INT8])
    options = parser.parse_args()
    table = Table(
        "cpu",
        "Latency on the CPU",
        "python benchmarks/cpu.py",
        (
            "model",
            "precision",
            "threads",
            "mcc ms",
            "spread",
            "onnxruntime",
            "OpenVINO",
            "compile s",
            "difference",
        ),
    )
    ratios: dict[tuple[str, int, str], list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="mcc-bench-") as folder:
        for work in WORKLOADS:
            if options.only and work.name not in options.only:
                continue
            for precision, path in _files(work, Path(folder), options.precision):
                try:
                    _measure(work, precision, path, options, table, ratios)
                except UserError as error:
                    table.notes.append(f"{work.name}, {precision}: refused: {error.message}")
    for (group, threads, peer), found in sorted(ratios.items()):
        mean = statistics.geometric_mean(found)
        table.notes.append(
            f"{group}, {threads} thread(s): {mean:.2f} times {peer} (mean of {len(found)})"
        )
    finish([table], options)


def _files(work: Workload, folder: Path, wanted: list[str]) -> Iterator[tuple[str, Path]]:
    path = ZOO / "models" / f"{work.name}.onnx"
    if work.make is not None:
        path = folder / f"{work.name}.onnx"
        onnx.save(work.make(), path)
    if not path.exists():
        return
    if "float" in wanted:
        yield "float", path
    if work.int8 and INT8 in wanted:
        other = ZOO / "models" / f"{work.int8}.onnx"
        if work.int8 == "ort":
            other = folder / f"{work.name}_int8.onnx"
            _quantize(path, other)
        yield INT8, other


def _quantize(path: Path, result: Path) -> None:
    """U8 activations, s8 weights, QDQ nodes, by onnxruntime's own static quantization."""
    q: Any = import_module("onnxruntime.quantization")  # partly typed
    model = onnx.load(path)
    left = [_feeds(model, seed) for seed in range(3)]

    def get_next(reader: object) -> Feeds | None:
        return left.pop() if left else None

    # The base class gives the reader its iteration.
    reader = type("Reader", (q.CalibrationDataReader,), {"get_next": get_next})
    q.quantize_static(
        str(path),
        str(result),
        reader(),
        quant_format=q.QuantFormat.QDQ,
        activation_type=q.QuantType.QUInt8,
        weight_type=q.QuantType.QInt8,
        per_channel=True,
        op_types_to_quantize=list(_QUANTIZED),
        extra_options={"QDQKeepRemovableActivations": False},
    )


def _feeds(model: onnx.ModelProto, seed: int = 0) -> Feeds:
    rng = np.random.default_rng(seed)
    feeds: Feeds = {}
    stored = {item.name for item in model.graph.initializer}
    for value in model.graph.input:
        if value.name in stored:
            continue
        tensor = value.type.tensor_type
        shape = [dim.dim_value or 1 for dim in tensor.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        if np.issubdtype(dtype, np.floating):
            feeds[value.name] = rng.standard_normal(shape).astype(dtype)
        else:
            feeds[value.name] = rng.integers(0, 2, shape).astype(dtype)
    return feeds


def _measure(
    work: Workload,
    precision: str,
    path: Path,
    options: argparse.Namespace,
    table: Table,
    ratios: dict[tuple[str, int, str], list[float]],
) -> None:
    feeds = _feeds(onnx.load(path))
    start = time.process_time()
    artifact = compile_model(path, target="cpu")
    taken = time.process_time() - start
    for threads in options.threads:
        session = Session(artifact, threads=threads)
        engines: dict[str, Run] = {"mcc": partial(session.run, None, feeds)}
        engines["onnxruntime"] = _onnxruntime(path, feeds, threads)
        openvino = _openvino(path, feeds, threads)
        if openvino is not None:
            engines["OpenVINO"] = openvino
        expected = engines["onnxruntime"]()
        difference = max(
            float(np.abs(a.astype(np.float64) - b).max(initial=0) / (np.abs(b).max(initial=0) or 1))
            for a, b in zip(engines["mcc"](), expected, strict=True)
        )
        clock = time.process_time if threads == 1 else time.perf_counter
        times = _turns(engines, clock, options.seconds)
        mine = times["mcc"]
        row: list[Cell] = [work.name, precision, threads, 1000 * statistics.median(mine)]
        row.append(f"{1000 * min(mine):.3g} to {1000 * max(mine):.3g}")
        group = work.group if precision == "float" else INT8
        for peer in ("onnxruntime", "OpenVINO"):
            if peer not in times:
                row.append(None)
                continue
            ratio = statistics.median(b / a for a, b in zip(mine, times[peer], strict=True))
            ratios.setdefault((group, threads, peer), []).append(ratio)
            row.append(ratio)
        table.rows.append([*row, taken, difference])
        if not options.json:
            print(*[f"{c:.3g}" if isinstance(c, float) else c for c in table.rows[-1]], flush=True)


def _turns(
    engines: dict[str, Run], clock: Callable[[], float], seconds: float
) -> dict[str, list[float]]:
    """For each engine, the best time of each of its turns."""
    counts: dict[str, int] = {}
    for name, run in engines.items():
        run()
        start = time.perf_counter()
        run()
        once = max(time.perf_counter() - start, 1e-6)
        counts[name] = max(2, min(200, int(seconds / len(engines) / 9 / once)))
    times: dict[str, list[float]] = {name: [] for name in engines}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times["mcc"]) < 5:
        for name, run in engines.items():
            best = float("inf")
            for _ in range(counts[name]):
                start = clock()
                run()
                best = min(best, clock() - start)
            times[name].append(best)
    return times


def _onnxruntime(path: Path, feeds: Feeds, threads: int) -> Run:
    onnxruntime: Any = import_module("onnxruntime")  # partly typed
    options: Any = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session: Any = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )
    return partial(session.run, None, feeds)


def _openvino(path: Path, feeds: Feeds, threads: int) -> Run | None:
    try:
        openvino: Any = import_module("openvino")
    except ImportError:
        return None
    core: Any = openvino.Core()
    model: Any = core.read_model(str(path))
    model.reshape({name: array.shape for name, array in feeds.items()})
    settings: dict[str, int | str] = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    settings |= {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request: Any = core.compile_model(model, "CPU", settings).create_infer_request()

    def run() -> list[np.ndarray]:
        request.infer(feeds, share_inputs=True)
        return []

    return run


if __name__ == "__main__":
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    main()
