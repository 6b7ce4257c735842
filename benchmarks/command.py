"""Seconds and memory of whole commands: each is run twice, the second run counts."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from recording import ZOO, Cell, Table, arguments, finish

MODELS = {
    "ic_resnet8": ("cifar10_lossless.npz", 5.0),
    "kws_dscnn": ("", 5.0),
    "vww_mobilenet": ("", 10.0),
    "ad_autoencoder": ("", 5.0),
    "mobilenet_v2_100_224": ("", 20.0),
}
"""By zoo name: the calibration data that fits as it lies, and the seconds aimed at."""
MEMORY = 2048
"""MiB aimed at."""


def measured(command: list[str]) -> tuple[float, float, str]:
    """Wall seconds, peak MiB and output of a command."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"{' '.join(command)} failed:\n{output}")
    return seconds, usage.ru_maxrss / 1024, output


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--targets", default="riscv-accel,gemmini,cpu")
    options = parser.parse_args()
    if not ZOO.exists():
        sys.exit(f"needs the model zoo at {ZOO}")
    rows: list[tuple[Cell, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (data, aim) in MODELS.items():
            for target in options.targets.split(","):
                artifact = Path(folder) / f"{name}-{target}.mcc"
                model = str(ZOO / "models" / f"{name}.onnx")
                mcc = [sys.executable, "-m", "mcc"]
                compiling = [*mcc, model, "--target", target, "-O2", "-o", str(artifact)]
                if data and target != "cpu":
                    compiling += ["--calibrate", str(ZOO / "data" / data)]
                running = [*mcc, "run", str(artifact), "--random"]
                measured(compiling)
                seconds, memory, _ = measured(compiling)
                measured(running)
                run_seconds, run_memory, _ = measured(running)
                rows.append((name, target, seconds, aim, memory, run_seconds, run_memory, MEMORY))
                print(rows[-1], file=sys.stderr)
    table = Table(
        "command",
        "Whole commands: time and memory",
        "python benchmarks/command.py",
        ("model", "target", "compile s", "aim s", "MiB", "run once s", "run MiB", "aim MiB"),
        list(rows),
        ["Second run of each command; interpreter start, imports and loading included."],
    )
    finish([table], options)


if __name__ == "__main__":
    main()
