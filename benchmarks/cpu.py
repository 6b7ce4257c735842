"""Latency of mcc's CPU code beside onnxruntime and, where it is installed, OpenVINO.

    python benchmarks/cpu.py [--only NAME ...] [--threads 1 2] [--seconds 2] [--json] [--write]

All engines take turns (A B A B) in one process, on the same inputs, and their outputs are compared.
One thread is measured in CPU time, so that other work on the machine counts little; two threads
in wall time. A ratio is a peer's time by mcc's, the median over the turns of the best of each turn.
"""

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cpu_models as built
import cpu_peers as peers
import numpy as np
import onnx
from cpu_sessions import WITHOUT_AMX
from recording import ZOO, Cell, Table, arguments, finish

from mcc import Session, UserError
from mcc import compile as compile_model
from mcc.backends.cpu.machine import machine_of
from mcc.runtime import load_target

FLOAT, VECTOR, BF16, INT8, VNNI = "float", "float, AMX off", "bf16", "int8", "int8, AMX off"
PRECISIONS = (FLOAT, VECTOR, BF16, INT8, VNNI)
ORT, OPENVINO, TVM, BEST = "onnxruntime", "OpenVINO", "TVM default", "best"
CNN, DEPTHWISE, TRANSFORMER, SMALL, SPARSE = (
    "CNN",
    "depthwise CNN",
    "transformer",
    "under 1 ms",
    "block-sparse FFN",
)
RECURRENT = "recurrent"


@dataclass(frozen=True)
class Workload:
    name: str
    group: str
    make: Callable[[], onnx.ModelProto] | None = None
    """None: a file of the zoo."""
    int8: str = ""
    """`ort`: quantized here by onnxruntime; else the zoo's file of the same network."""
    short: bool = False
    """Whether it is measured in bfloat16 as well."""
    tvm: bool = False
    """Whether TVM's default is measured, for the record."""


WORKLOADS = (
    Workload("resnet18", CNN, lambda: built.resnet((2, 2, 2, 2), bottleneck=False), "ort", True),
    Workload("resnet50", CNN, lambda: built.resnet((3, 4, 6, 3), bottleneck=True), "ort", True),
    Workload("tiny_darknet", CNN),
    Workload("mobilenet_v2", DEPTHWISE, built.mobilenet_v2, "ort"),
    Workload("mobilenet_v1_050_160", DEPTHWISE),
    Workload("vww_mobilenet", DEPTHWISE, None, "vww_mobilenet_int8qdq"),
    Workload("yolox_nano", DEPTHWISE),
    Workload("bert_2_layers", TRANSFORMER, built.bert, "ort", True),
    Workload("vit_4_layers", TRANSFORMER, built.vit, "ort", True),
    Workload("vit_mnist", TRANSFORMER),
    Workload("tiny_cnn", SMALL, built.tiny_cnn, tvm=True),
    Workload("ic_resnet8", SMALL, None, "ic_resnet8_int8qdq"),
    Workload("kws_dscnn", SMALL, None, "kws_dscnn_int8qdq"),
    Workload("ad_autoencoder", SMALL, None, "ad_autoencoder_int8qdq"),
    Workload("sww_dscnn1d", SMALL, None, "sww_dscnn1d_int8qdq"),
    Workload("resnet20_cifar10", SMALL),
    Workload("mnist_cnn", SMALL),
    Workload("wide_deep_adult", SMALL),
    Workload("dtln_1", RECURRENT),
    Workload("lstm_2_layers", RECURRENT, lambda: built.recurrent("LSTM")),
    Workload("gru_2_layers", RECURRENT, lambda: built.recurrent("GRU")),
    Workload("sparse_ffn_80", SPARSE, lambda: built.sparse_ffn(0.8)),
)


@dataclass(frozen=True)
class Goal:
    """What one thread is to reach, as the geometric mean over the workloads of some groups."""

    what: str
    groups: tuple[str, ...]
    precision: str
    peer: str
    """`best`: the faster one for each workload."""
    reach: float
    bound: str = ""
    """Where it is not reached: what stands in the way, and what was tried."""


_LARGE = (CNN, DEPTHWISE, TRANSFORMER)
GOALS = (
    Goal("float CNNs", (CNN,), FLOAT, ORT, 1.1),
    Goal("float CNNs, AMX off", (CNN,), VECTOR, ORT, 1.25),
    Goal(
        "float depthwise CNNs",
        (DEPTHWISE,),
        FLOAT,
        BEST,
        1.6,
        "the rate of multiply-adds; benchmarks/cpu_peak.py times as many in registers. Tried: "
        "expansion, depthwise convolution and projection by strips in one kernel (1.1 times as "
        "fast), 1 x 1 layers in AMX tiles as three bfloat16 (1.1 to 1.5 times), weights of the "
        "next block fetched ahead, borders written by producers, YOLOX's first layer as one of 6 x "
        "6.",
    ),
    Goal("float transformers", (TRANSFORMER,), FLOAT, BEST, 1.05),
    Goal(
        "models under 1 ms",
        (SMALL,),
        FLOAT,
        BEST,
        1.6,
        "kernels, which take nine tenths of a run of the tiny CNN, and half of that two "
        "convolutions in vectors; the rest is one call from Python into compiled code.",
    ),
    Goal("recurrent layers", (RECURRENT,), FLOAT, ORT, 1.0),
    Goal("int8 CNNs and transformers", _LARGE, INT8, OPENVINO, 1.0),
    Goal("int8 CNNs and transformers, AMX", _LARGE, INT8, ORT, 2.0),
    Goal("int8 CNNs and transformers, AMX off", _LARGE, VNNI, ORT, 1.3),
    Goal("80 % block-sparse FFN, dense in onnxruntime", (SPARSE,), FLOAT, ORT, 3.0),
)


@dataclass(frozen=True)
class Measured:
    """One row: a workload in one precision with so many threads."""

    work: Workload
    precision: str
    threads: int
    ratios: Mapping[str, float]
    """By peer, how many times as long it takes."""


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--only", nargs="*", help="workloads, by default all")
    parser.add_argument("--threads", nargs="*", type=int, default=[1, 2])
    parser.add_argument("--seconds", type=float, default=2.0, help="for each row")
    parser.add_argument("--precision", choices=PRECISIONS, nargs="*", default=list(PRECISIONS))
    options = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)  # onnxruntime's quantizer warns of every model
    columns = ("model", "precision", "threads", "mcc ms", "spread", ORT, OPENVINO, TVM)
    table = Table(
        "cpu",
        "Latency on the CPU",
        "python benchmarks/cpu.py",
        (*columns, "compile s", "difference"),
        timed=True,
    )
    table.notes.append(
        f"{ORT}, {OPENVINO}, {TVM}: how many times as long as mcc they take; difference: to "
        f"{ORT}'s output, by its largest element"
    )
    found: list[Measured] = []
    with tempfile.TemporaryDirectory(prefix="mcc-bench-") as folder:
        for work in WORKLOADS:
            if options.only and work.name not in options.only:
                continue
            for precision, path in _files(work, Path(folder), options.precision):
                try:
                    found += _measure(work, precision, path, options, table)
                except UserError as error:
                    table.notes.append(f"{work.name}, {precision}: refused: {error.message}")
    finish([table, _reached(found)], options)


def _reached(found: list[Measured]) -> Table:
    """The goals against the geometric means of what was measured with one thread."""
    table = Table(
        "cpu-goals",
        "What the CPU code is to reach, one thread",
        "python benchmarks/cpu.py",
        ("class", "peer", "goal", "found", "models", "reached"),
        notes=[
            "Geometric means over the models of a class. Where the time goes: cpu.md, 'Measured'."
        ],
        timed=True,
    )
    tiles = machine_of(load_target("cpu")).amx_int8
    for goal in GOALS:
        if goal.what.endswith(", AMX") and not tiles:
            continue
        rows = [
            row
            for row in found
            if row.threads == 1
            and row.work.group in goal.groups
            and row.precision == goal.precision
        ]
        ratios = [_ratio(row, goal.peer) for row in rows]
        known = [ratio for ratio in ratios if ratio is not None]
        if known:
            mean = statistics.geometric_mean(known)
            cells: list[Cell] = [goal.what, goal.peer, goal.reach, mean, len(known)]
            table.rows.append([*cells, mean >= goal.reach])
            if mean < goal.reach and goal.bound:
                table.notes.append(f"{goal.what} are bound by {goal.bound}")
    return table


def _ratio(row: Measured, peer: str) -> float | None:
    if peer == BEST:
        return min(ratio for name, ratio in row.ratios.items() if name != TVM)
    return row.ratios.get(peer)


def _files(work: Workload, folder: Path, wanted: list[str]) -> Iterator[tuple[str, Path]]:
    path = path_of(work, folder)
    if not path.exists():
        return
    if FLOAT in wanted:
        yield FLOAT, path
    # Without tile registers nothing differs where they are switched off.
    if VECTOR in wanted and work.group == CNN and machine_of(load_target("cpu")).amx_int8:
        yield VECTOR, path
    if BF16 in wanted and work.short:
        yield BF16, path
    if work.int8 and (INT8 in wanted or VNNI in wanted):
        other = ZOO / "models" / f"{work.int8}.onnx"
        if work.int8 == "ort":
            other = folder / f"{work.name}_int8.onnx"
            model = onnx.load(path)
            peers.quantize(path, other, [feeds_of(model, seed) for seed in range(3)])
        yield from ((precision, other) for precision in (INT8, VNNI) if precision in wanted)


def path_of(work: Workload, folder: Path) -> Path:
    """The zoo's file of a workload, or one made in `folder`."""
    if work.make is None:
        return ZOO / "models" / f"{work.name}.onnx"
    path = folder / f"{work.name}.onnx"
    onnx.save(work.make(), path)
    return path


def feeds_of(model: onnx.ModelProto, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    feeds: dict[str, np.ndarray] = {}
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
    work: Workload, precision: str, path: Path, options: argparse.Namespace, table: Table
) -> Iterator[Measured]:
    feeds = feeds_of(onnx.load(path))
    target = "cpu"
    if precision in (VECTOR, VNNI):
        target = str(path.with_name("without_amx.toml"))
        if path.is_relative_to(ZOO):
            target = str(Path(tempfile.gettempdir()) / "mcc-without-amx.toml")
        Path(target).write_text(WITHOUT_AMX)
    start = time.process_time()
    short = "bf16" if precision == BF16 else "float32"
    artifact = compile_model(path, target=target, precision=short)
    taken = time.process_time() - start
    for threads in options.threads:
        session = Session(artifact, threads=threads)
        engines: dict[str, peers.Run] = {
            "mcc": partial(session.run, None, feeds),
            ORT: peers.onnxruntime(path, feeds, threads),
        }
        hint = "bf16" if precision == BF16 else "f32"
        openvino = peers.openvino(path, feeds, threads, hint)
        if openvino is not None:
            engines[OPENVINO] = openvino
        if work.tvm and precision == FLOAT and threads == 1:
            engines[TVM] = peers.tvm_default(path, feeds)
        expected = engines[ORT]()
        difference = max(
            float(np.abs(a.astype(np.float64) - b).max(initial=0) / (np.abs(b).max(initial=0) or 1))
            for a, b in zip(engines["mcc"](), expected, strict=True)
        )
        clock = time.process_time if threads == 1 else time.perf_counter
        times = turns(engines, clock, options.seconds)
        mine = times["mcc"]
        ratios = {
            peer: statistics.median(b / a for a, b in zip(mine, taken_, strict=True))
            for peer, taken_ in times.items()
            if peer != "mcc"
        }
        row: list[Cell] = [work.name, precision, threads, 1000 * statistics.median(mine)]
        row.append(f"{1000 * min(mine):.3g} to {1000 * max(mine):.3g}")
        row += [ratios.get(peer) for peer in (ORT, OPENVINO, TVM)]
        table.rows.append([*row, taken, difference])
        if not options.json:
            print(*[f"{c:.3g}" if isinstance(c, float) else c for c in table.rows[-1]], flush=True)
        yield Measured(work, precision, threads, ratios)


def turns(
    engines: dict[str, peers.Run], clock: Callable[[], float], seconds: float
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


if __name__ == "__main__":
    main()
