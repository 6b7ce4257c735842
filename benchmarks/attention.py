"""A layer of self-attention at growing lengths: time and memory beside onnxruntime and OpenVINO.

    python benchmarks/attention.py [--tokens 128 512 2048] [--seconds 6] [--json] [--write]

BERT-base's width (768, 12 heads), its four projections included, float32. Time: one thread, in CPU
time, the engines taking turns; a ratio is a peer's time by mcc's. Memory: what a process of its own
grows by while it loads the model and runs it twice, weights included.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import cpu_models as built
import cpu_peers as peers
import numpy as np
import onnx
from recording import Cell, Table, arguments, finish

from mcc import Session
from mcc import compile as compile_model

SIZE, HEADS = 768, 12
_GROWTH = """
import re
import numpy as np
{imports}
def kilobytes(name):
    return int(re.search(name + r":\\s*(\\d+) kB", open("/proc/self/status").read())[1])
x = np.random.default_rng(0).standard_normal((1, {tokens}, {size})).astype(np.float32)
before = kilobytes("VmRSS")
open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
{run}
print((kilobytes("VmHWM") - before) / 1024)
"""
_MCC = (
    "from mcc import Session",
    "s = Session({path!r}, threads=1)\nfor _ in range(2): s.run(None, {{'x': x}})",
)
_ORT = (
    "import onnxruntime as ort",
    "o = ort.SessionOptions()\no.intra_op_num_threads = 1\n"
    "s = ort.InferenceSession({path!r}, o, providers=['CPUExecutionProvider'])\n"
    "for _ in range(2): s.run(None, {{'x': x}})",
)


def layer(tokens: int) -> onnx.ModelProto:
    """One layer's attention, with its projections."""
    b = built.Builder()
    return b.model((1, tokens, SIZE), b.attention("x", tokens, SIZE, HEADS), (1, tokens, SIZE))


def growth(engine: tuple[str, str], path: Path, tokens: int) -> float:
    """Megabytes that a process grows by."""
    imports, run = engine
    code = _GROWTH.format(imports=imports, run=run.format(path=str(path)), tokens=tokens, size=SIZE)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def measured(tokens: int, folder: Path, options: argparse.Namespace) -> list[Cell]:
    path, artifact = folder / f"{tokens}.onnx", folder / f"{tokens}.mcc"
    onnx.save(layer(tokens), path)
    compile_model(path).save(artifact)
    x = np.random.default_rng(0).standard_normal((1, tokens, SIZE)).astype(np.float32)
    feeds = {"x": x}
    engines: dict[str, peers.Run] = {
        "mcc": partial(Session(artifact, threads=1).run, None, feeds),
        "onnxruntime": peers.onnxruntime(path, feeds, 1),
    }
    openvino = peers.openvino(path, feeds, 1, "f32")
    if openvino is not None:
        engines["OpenVINO"] = openvino
    mine, theirs = engines["mcc"]()[0], engines["onnxruntime"]()[0]
    difference = float(np.abs(mine - theirs).max() / np.abs(theirs).max())
    times: dict[str, list[float]] = {name: [] for name in engines}
    end = time.perf_counter() + options.seconds
    while time.perf_counter() < end or len(times["mcc"]) < 5:
        for name, run in engines.items():
            best = float("inf")
            for _ in range(3):
                start = time.process_time()
                run()
                best = min(best, time.process_time() - start)
            times[name].append(best)
    ratios = {
        name: statistics.median(b / a for a, b in zip(times["mcc"], taken, strict=True))
        for name, taken in times.items()
    }
    return [
        tokens,
        1000 * statistics.median(times["mcc"]),
        ratios["onnxruntime"],
        ratios.get("OpenVINO"),
        growth(_MCC, artifact, tokens),
        growth(_ORT, path, tokens),
        4 * HEADS * tokens * tokens / 2**20,
        difference,
    ]


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--tokens", nargs="*", type=int, default=[128, 512, 2048])
    parser.add_argument("--seconds", type=float, default=6.0, help="for each length")
    options = parser.parse_args()
    table = Table(
        "attention",
        "A layer of attention",
        "python benchmarks/attention.py",
        (
            "tokens",
            "mcc ms",
            "onnxruntime",
            "OpenVINO",
            "mcc MB",
            "onnxruntime MB",
            "all scores MB",
            "difference",
        ),
        notes=[
            "onnxruntime, OpenVINO: how many times as long as mcc they take; MB: what a process "
            "grows by; all scores: what no kernel of mcc stores"
        ],
        timed=True,
    )
    with tempfile.TemporaryDirectory(prefix="mcc-bench-") as folder:
        for tokens in options.tokens:
            table.rows.append(measured(tokens, Path(folder), options))
    finish([table], options)


if __name__ == "__main__":
    main()
