"""What tuning gains, and the database that ships: models before and after, in turns.

    python benchmarks/tuning.py --make [--effort full]   measure, and write the shipped database
    python benchmarks/tuning.py [--seconds 2] [--write]  compare, with the databases that there are

A ratio is the time without any database by the time with it, one thread, CPU time, the median over
turns of the best of each turn.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest.mock import patch

import cpu_models as built
import onnx
from cpu_sessions import best, run_of
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


def sources() -> dict[str, onnx.ModelProto | Path]:
    """Models by name: those built here, and the zoo's where it is."""
    found: dict[str, onnx.ModelProto | Path] = {name: make() for name, make in MODELS.items()}
    for name in ZOO_MODELS:
        path = ZOO / "models" / f"{name}.onnx"
        if path.exists():
            found[name] = path
    return found


def make_database(effort: str) -> None:
    """Measure every problem of the models into the shipped file."""
    for name, source in sources().items():
        started = time.perf_counter()
        compile_model(source, tune=effort, tuning_database=SHIPPED)
        print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr)


def untuned(source: onnx.ModelProto | Path) -> Artifact:
    """The model as it would be without any database."""
    with patch(READER, return_value=Database()):
        return compile_model(source)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--make", action="store_true", help="measure, and write the database")
    parser.add_argument("--effort", choices=("quick", "full"), default="full")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each model")
    options = parser.parse_args()
    if options.make:
        make_database(options.effort)
        return
    rows: list[Sequence[Cell]] = []
    share = options.seconds / 16
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "none.json"  # the user's own stays out of it
        for name, source in sources().items():
            plain = run_of(untuned(source), 1)
            tuned = run_of(compile_model(source, tuning_database=database), 1)
            turns = [
                (best(plain, share, time.process_time), best(tuned, share, time.process_time))
                for _ in range(8)
            ]
            before, after = (1e3 * min(turn[side] for turn in turns) for side in (0, 1))
            ratio = statistics.median(a / b for a, b in turns)
            rows.append((name, before, after, ratio))
            print(rows[-1], file=sys.stderr)
    gains = [float(row[3] or 1) for row in rows]
    rows.append(("geometric mean", None, None, statistics.geometric_mean(gains)))
    table = Table(
        "tuning",
        "Tuned blocks against those chosen without measuring",
        "python benchmarks/tuning.py",
        ("model", "untuned ms", "tuned ms", "gain"),
        rows,
        ["Float models, one thread, CPU time; aimed at: gains below 1.10, so that little is lost."],
    )
    finish([table], options)


if __name__ == "__main__":
    main()
