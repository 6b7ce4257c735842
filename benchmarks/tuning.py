"""What tuning gains, and the database that ships: models before and after, in turns.

    python benchmarks/tuning.py --make [--effort full]   measure, and write the shipped database
    python benchmarks/tuning.py [--seconds 2] [--write]  compare, with the databases that there are

Both for floats and bytes, with tile registers (AMX) and without; `--precision` and `--only` choose.
A ratio is the time without any database by the time with it, one thread, CPU time, the median over
turns of the best of each turn.
"""

import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest.mock import patch

import cpu_models as built
import cpu_peers as peers
import numpy as np
import onnx
from cpu_sessions import WITHOUT_AMX, best, run_of
from recording import REPOSITORY, ZOO, Cell, Table, arguments, finish

from mcc import compile as compile_model
from mcc.backends.cpu.tuning import Database
from mcc.runtime import Artifact

SHIPPED = REPOSITORY / "backends" / "cpu" / "tuning" / "shipped.json"
READER = "mcc.backends.cpu.tuning.read_databases"
MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    "resnet18": lambda: built.resnet((2, 2, 2, 2), bottleneck=False),
    "resnet50": lambda: built.resnet((3, 4, 6, 3), bottleneck=True),
    "mobilenet_v2": built.mobilenet_v2,
    "bert_2_layers": built.bert,
    "tiny_cnn": built.tiny_cnn,
    "vit_4_layers": built.vit,
}
ZOO_MODELS = (
    "vit_mnist",
    "mobilenet_v1_050_160",
    "vww_mobilenet",
    "tiny_darknet",
    "ic_resnet8",
    "kws_dscnn",
    "ad_autoencoder",
    "resnet20_cifar10",
)
WITHOUT = ", AMX off"
PRECISIONS = ("float", "float" + WITHOUT, "int8", "int8" + WITHOUT)


@dataclass(frozen=True)
class Source:
    """A model in one precision, and what it is compiled for."""

    name: str
    precision: str
    path: Path
    target: str

    def compiled(self, effort: str = "0", database: Path | None = None) -> Artifact:
        return compile_model(self.path, target=self.target, tune=effort, tuning_database=database)

    def untuned(self) -> Artifact:
        """As it would be without any database."""
        with patch(READER, return_value=Database()):
            return self.compiled()


def sources(folder: Path, precisions: Sequence[str], only: Sequence[str]) -> Iterator[Source]:
    """Models built here, in bytes quantized by onnxruntime; and the zoo's where it is."""
    without = folder / "without_amx.toml"
    without.write_text(WITHOUT_AMX)
    for name in (*MODELS, *ZOO_MODELS):
        if only and name not in only:
            continue
        for precision in precisions:
            path = _file(name, folder, floats=precision.startswith("float"))
            if path is not None:
                target = str(without) if precision.endswith(WITHOUT) else "cpu"
                yield Source(name, precision, path, target)


def _file(name: str, folder: Path, *, floats: bool) -> Path | None:
    if name not in MODELS:
        path = ZOO / "models" / (f"{name}.onnx" if floats else f"{name}_int8qdq.onnx")
        return path if path.exists() else None
    path = folder / f"{name}.onnx"
    if not path.exists():
        onnx.save(MODELS[name](), path)
    if floats:
        return path
    quantized = folder / f"{name}_int8.onnx"
    if not quantized.exists():
        peers.quantize(path, quantized, [_sample(path, seed) for seed in range(2)])
    return quantized


def _sample(path: Path, seed: int) -> dict[str, np.ndarray]:
    """Random numbers for the one input of a model that is built here."""
    (value,) = onnx.load(path).graph.input
    shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    return {value.name: np.random.default_rng(seed).standard_normal(shape).astype(np.float32)}


def make_database(effort: str, found: Iterator[Source]) -> None:
    """Measure every problem of the models into the shipped file; what it has stays."""
    for source in found:
        started = time.perf_counter()
        source.compiled(effort, SHIPPED)
        taken = time.perf_counter() - started
        print(f"{source.name}, {source.precision}: {taken:.0f} s", file=sys.stderr)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--make", action="store_true", help="measure, and write the database")
    parser.add_argument("--effort", choices=("quick", "full"), default="full")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each model")
    parser.add_argument("--precision", choices=PRECISIONS, nargs="*", default=PRECISIONS)
    parser.add_argument("--only", nargs="*", default=(), help="models, by default all")
    options = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)  # onnxruntime's quantizer warns of every model
    chosen = partial(sources, precisions=options.precision, only=options.only)
    if options.make:
        with tempfile.TemporaryDirectory() as folder:
            make_database(options.effort, chosen(Path(folder)))
        return
    rows: list[Sequence[Cell]] = []
    share = options.seconds / 16
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "none.json"  # the user's own stays out of it
        for source in chosen(Path(folder)):
            plain = run_of(source.untuned(), 1)
            tuned = run_of(source.compiled(database=database), 1)
            turns = [
                (best(plain, share, time.process_time), best(tuned, share, time.process_time))
                for _ in range(8)
            ]
            before, after = (1e3 * min(turn[side] for turn in turns) for side in (0, 1))
            ratio = statistics.median(a / b for a, b in turns)
            rows.append((source.name, source.precision, before, after, ratio))
            print(rows[-1], file=sys.stderr)
    for precision in options.precision:
        gains = [float(row[4] or 1) for row in rows if row[1] == precision]
        if gains:
            mean = statistics.geometric_mean(gains)
            rows.append(("geometric mean", precision, None, None, mean))
    table = Table(
        "tuning",
        "Tuned blocks against those chosen without measuring",
        "python benchmarks/tuning.py",
        ("model", "precision", "untuned ms", "tuned ms", "gain"),
        rows,
        ["One thread, CPU time; aimed at: gains below 1.10, for little to be lost untuned."],
        timed=True,
    )
    finish([table], options)


if __name__ == "__main__":
    main()
