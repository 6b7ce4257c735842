"""Seconds and memory of whole commands: each is run twice, the second run counts.

    python benchmarks/command.py [--targets cpu ...] [--only zoo cpu] [--json] [--write]

Two tables: models of the zoo for every kind of target, and compiling for the CPU.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path

import cpu_models as built
import onnx
from recording import ZOO, Cell, Table, arguments, finish, zoo_calibration

MODELS = {
    "ic_resnet8": (True, 5.0),
    "kws_dscnn": (False, 5.0),
    "vww_mobilenet": (False, 10.0),
    "ad_autoencoder": (False, 5.0),
    "mobilenet_v2_100_224": (False, 20.0),
}
"""By zoo name: whether it is calibrated with real samples, and the seconds aimed at."""
MEMORY = 2048
"""MiB aimed at."""
COMPILED: dict[str, tuple[Callable[[], onnx.ModelProto] | str, float]] = {
    "resnet50": (lambda: built.resnet((3, 4, 6, 3), bottleneck=True), 30.0),
    "mobilenet_v2": (built.mobilenet_v2, 20.0),
    "bert_2_layers": (built.bert, 30.0),
    "tiny_cnn": (built.tiny_cnn, 3.0),
    "ic_resnet8": ("ic_resnet8", 3.0),
    "ad_autoencoder": ("ad_autoencoder", 3.0),
}
"""For the CPU: a model built here or the name of a zoo's, and the seconds aimed at, without
`import tvm`."""
BASE_MEMORY, MEMORY_FACTOR = 600, 3
"""MiB aimed at, beside so many times the model's size."""


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


def beside(work: Callable[..., object], *given: object) -> None:
    """Do work in a process of its own: memory that a command inherits counts as the command's."""
    process = get_context("spawn").Process(target=work, args=given)
    process.start()
    process.join()


def save(name: str, path: Path) -> None:
    """Write a model that is built here."""
    make = COMPILED[name][0]
    assert not isinstance(make, str)
    onnx.save(make(), path)


def import_seconds() -> float:
    """What `import tvm` takes by itself, less the interpreter's start."""
    times = [measured([sys.executable, "-c", code])[0] for code in ("import tvm", "pass") * 2]
    return max(0.0, min(times[::2]) - min(times[1::2]))


def compiling() -> Table:
    """Compiling for the CPU, with the database that ships."""
    importing = import_seconds()
    rows: list[Sequence[Cell]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (source, aim) in COMPILED.items():
            path = Path(folder) / f"{name}.onnx"
            if isinstance(source, str):
                path = ZOO / "models" / f"{source}.onnx"
                if not path.exists():
                    continue
            else:
                beside(save, name, path)
            command = [sys.executable, "-m", "mcc", str(path), "-o", f"{folder}/{name}.mcc"]
            command += ["--tuning-database", f"{folder}/none.json"]
            measured(command)
            seconds, memory, _ = measured(command)
            model = path.stat().st_size / 2**20
            allowed = BASE_MEMORY + MEMORY_FACTOR * model
            rows.append((name, seconds - importing, aim, model, memory, allowed))
            print(rows[-1], file=sys.stderr)
    return Table(
        "compile",
        "Compiling for the CPU: time and memory of the whole command",
        "python benchmarks/command.py --only cpu",
        ("model", "s", "aim s", "model MiB", "MiB", "aim MiB"),
        rows,
        [
            f"Second run of each command; `import tvm` ({importing:.2f} s) is taken off the time.",
            f"Load of the machine when it ended: {os.getloadavg()[0]:.1f} runnable processes.",
        ],
        timed=True,
    )


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--targets", default="riscv-accel,gemmini,cpu")
    parser.add_argument("--only", choices=("zoo", "cpu"), nargs="*", default=["zoo", "cpu"])
    options = parser.parse_args()
    tables: list[Table] = []
    if "zoo" in options.only:
        if not ZOO.exists():
            sys.exit(f"needs the model zoo at {ZOO}")
        tables.append(zoo_commands(options.targets.split(",")))
    if "cpu" in options.only:
        tables.append(compiling())
    finish(tables, options)


def zoo_commands(targets: Sequence[str]) -> Table:
    """Compiling and running models of the zoo for each kind of target."""
    rows: list[tuple[Cell, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (calibrated, aim) in MODELS.items():
            if calibrated:
                beside(zoo_calibration, name, folder)
            for target in targets:
                artifact = Path(folder) / f"{name}-{target}.mcc"
                model = str(ZOO / "models" / f"{name}.onnx")
                mcc = [sys.executable, "-m", "mcc"]
                compiling = [*mcc, model, "--target", target, "-O2", "-o", str(artifact)]
                if calibrated and target != "cpu":
                    compiling += ["--calibrate", f"{folder}/{name}.npz"]
                running = [*mcc, "run", str(artifact), "--random"]
                measured(compiling)
                seconds, memory, _ = measured(compiling)
                measured(running)
                run_seconds, run_memory, _ = measured(running)
                rows.append((name, target, seconds, aim, memory, run_seconds, run_memory, MEMORY))
                print(rows[-1], file=sys.stderr)
    return Table(
        "command",
        "Whole commands: time and memory",
        "python benchmarks/command.py",
        ("model", "target", "compile s", "aim s", "MiB", "run once s", "run MiB", "aim MiB"),
        list(rows),
        ["Second run of each command; interpreter start, imports and loading included."],
        timed=True,
    )


if __name__ == "__main__":
    main()
