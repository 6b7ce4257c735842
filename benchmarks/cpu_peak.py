"""What the vector units allow: float networks beside as many multiply-adds in registers.

    python benchmarks/cpu_peak.py [--only NAME ...] [--seconds 2] [--json] [--write]

One thread. A loop of fused multiply-adds that touches no memory does as many as the network has, in
turns with mcc, onnxruntime and OpenVINO. So a program that only multiplies, at the peak and by the
direct algorithm, would be ahead of the best of the others by what the last column says; Winograd's
algorithm needs fewer multiplications, matrix units (AMX) have a higher peak.
"""

import ctypes
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cpu_peers as peers
import numpy as np
import onnx
from cpu import CNN, DEPTHWISE, WORKLOADS, Workload, feeds_of, path_of, turns
from recording import Table, arguments, finish

from mcc import Session
from mcc import compile as compile_model
from mcc.backends.cpu.link import toolchain
from mcc.backends.cpu.machine import machine_of
from mcc.runtime import load_target

Peak = Callable[[int], list[np.ndarray]]
"""Does so many multiply-adds."""

_ACCUMULATORS = 12
"""Of 16 numbers: more than the latency of a multiply-add times two units."""
_SOURCE = f"""
typedef float vector __attribute__((vector_size(64)));
float run(long times, float by) {{
  vector a[{_ACCUMULATORS}], x;
  for (int i = 0; i < 16; i++) x[i] = by;
  for (int k = 0; k < {_ACCUMULATORS}; k++) a[k] = x * (float)k;
  for (long t = 0; t < times; t++) {{
#pragma GCC unroll {_ACCUMULATORS}
    for (int k = 0; k < {_ACCUMULATORS}; k++) a[k] = a[k] * x + x;
  }}
  float sum = 0;
  for (int k = 0; k < {_ACCUMULATORS}; k++) for (int i = 0; i < 16; i++) sum += a[k][i];
  return sum;
}}
"""


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--only", nargs="*", help="workloads, by default all CNNs")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each row")
    options = parser.parse_args()
    table = Table(
        "cpu-peak",
        "Float CNNs beside the peak of the vector units, one thread",
        "python benchmarks/cpu_peak.py",
        (
            "model", "class", "M MAC", "mcc ms", "at the peak ms", "part of the peak",
            "best peer / mcc", "best peer / peak",
        ),
        timed=True,
        notes=[
            "The peak: as many fused multiply-adds of 32-bit floats as the network has, in vector "
            "registers only. Winograd's algorithm needs fewer, AMX has another peak: parts above 1."
        ],
    )  # fmt: skip
    bounds: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="mcc-peak-") as folder:
        peak = _peak(Path(folder))
        for work in WORKLOADS:
            if work.group in (CNN, DEPTHWISE) and work.name in (options.only or [work.name]):
                ratios = _measure(work, peak, Path(folder), options.seconds, table)
                bounds.setdefault(work.group, []).append(ratios)
    for group, found in bounds.items():
        mean, most = (statistics.geometric_mean(values) for values in zip(*found, strict=True))
        table.notes.append(f"{group}, geometric mean: {mean:.3g} found, {most:.3g} at the peak.")
    finish([table], options)


def _measure(
    work: Workload,
    peak: Callable[[int], list[np.ndarray]],
    folder: Path,
    seconds: float,
    table: Table,
) -> tuple[float, float]:
    """Adds a row; the best peer's time by mcc's, and by the time at the peak."""
    path = path_of(work, folder)
    feeds = feeds_of(onnx.load(path))
    artifact = compile_model(path, target="cpu")
    macs = int(json.loads(artifact.members["report.json"])["totals"]["macs"])
    engines: dict[str, peers.Run] = {
        "mcc": partial(Session(artifact, threads=1).run, None, feeds),
        "peak": partial(peak, macs),
        "onnxruntime": peers.onnxruntime(path, feeds, 1),
    }
    openvino = peers.openvino(path, feeds, 1, "f32")
    if openvino is not None:
        engines["OpenVINO"] = openvino
    times = turns(engines, time.process_time, seconds)
    others = [times[name] for name in engines if name not in ("mcc", "peak")]
    mine, least = np.array(times["mcc"]), np.array(times["peak"])
    best = np.min([np.median(np.array(other) / mine) for other in others])
    allowed = np.min([np.median(np.array(other) / least) for other in others])
    table.rows.append([
        work.name, work.group, macs / 1e6, 1e3 * float(np.median(mine)),
        1e3 * float(np.median(least)), float(np.median(least / mine)), float(best), float(allowed),
    ])  # fmt: skip
    return float(best), float(allowed)


def _peak(folder: Path) -> Peak:
    """Compiled for this machine."""
    (folder / "peak.c").write_text(_SOURCE)
    flags = ["-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC"]
    compiler = toolchain(machine_of(load_target("cpu")))
    compiler.run(folder, [*flags, "peak.c", "-o", "peak.so"])
    run = ctypes.CDLL(str(folder / "peak.so")).run
    run.restype, run.argtypes = ctypes.c_float, [ctypes.c_long, ctypes.c_float]

    def multiply(macs: int) -> list[np.ndarray]:
        return [np.array(run(macs // (16 * _ACCUMULATORS), 1e-30))]

    return multiply


if __name__ == "__main__":
    main()
