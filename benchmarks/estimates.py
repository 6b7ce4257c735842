"""The cycles by which tilings are searched beside those of the event model, layer by layer.

    python benchmarks/estimates.py [--models NAME ...] [--targets NAME ...] [--layers]
                                   [--json] [--write]

A layer is taken as the program has it: operands that stay in the scratchpad, weights loaded during
the layer before, chained products in strips. Its cycles are those of a warm inference from the end
of the last product before it, or of the kernel before it, to the end of its own last one; so the
layers' cycles add up to the inference's, but for what follows a kernel's last product. A move has
no products: its cycles are counted with the layer behind it.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cpu_models import resnet
from onnx import ModelProto
from recording import ZOO, Table, arguments, finish, shown

from mcc.backends.riscv_accel import link
from mcc.backends.riscv_accel.course import Course, kept
from mcc.backends.riscv_accel.estimate import estimated
from mcc.backends.riscv_accel.layers import Product
from mcc.backends.riscv_accel.lower import planned_run
from mcc.backends.riscv_accel.order import runs
from mcc.backends.riscv_accel.planning import Planned
from mcc.backends.riscv_accel.rolling import lengths
from mcc.backends.riscv_accel.strips import Chained
from mcc.backends.riscv_accel.trial import SEEDS
from mcc.driver import Compilation
from mcc.ir import Module, UserError
from mcc.options import Options
from mcc.runtime import Launch, Target, isa, load_target
from mcc.runtime.simulator import CycleModel

SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "dncnn_s25": {"noisy": (1, 1, 64, 64)},
}
"""Of inputs that a model leaves open."""
LONG = 1000
"""Cycles from which on a layer is more than its beginning and its end."""


@dataclass(frozen=True)
class Compared:
    """A layer in its network. Cycles."""

    name: str
    products: int
    """How often the array multiplies a tile of pixels."""
    formula: float
    """What `estimate.py` says of the tiling that was chosen."""
    searched: float
    """What a trial of its first steps behind the layer before says, by which it was chosen."""
    cycles: float
    """The event model's, in a warm inference."""

    @property
    def error(self) -> float:
        """Of the formula, as a fraction of the cycles."""
        return self.formula / self.cycles - 1

    @property
    def searched_error(self) -> float:
        """Of the trial, as a fraction of the cycles."""
        return self.searched / self.cycles - 1


def compared(model: Path | ModelProto, target: Target) -> list[Compared]:
    """Every layer of a network that has products, in the order in which they run.

    Raises:
        ValueError: where the plans are not those of the program.
    """
    shapes = SHAPES.get(model.stem, {}) if isinstance(model, Path) else {}
    options = Options(target=target.name, io="int8", shapes=shapes)
    stages = dict(Compilation(options).walk(model))
    found = _sequenced(stages["partitioned"], target)
    counts = [products for _, products, _ in found]
    cycles = _cycles(stages["configured"], target, counts)
    return [
        Compared(plan.layer.result.name, count, _formula(plan), expected, taken)
        for (plan, count, expected), taken in zip(found, cycles, strict=True)
    ]


Sequenced = tuple[Planned, int, float]
"""A layer, how many products it has, and the cycles that the search expects."""


def _sequenced(partitioned: Module, target: Target) -> list[Sequenced]:
    """Every layer with products, in order."""
    found: list[Sequenced] = []
    every = [planned_run(run, target) for run in runs(partitioned)]
    part = kept([plan for run in every for plan in run.plans], target)
    for run in every:
        course = Course(run.plans, run.shared, part)
        last: tuple[Planned, int, Course] | None = None
        for plan, _ in course.layers():
            if last is not None:
                found.append(_expected(*last, plan))
            before = course.fork()
            products = sum(lengths(step.products) for step in course.follow(plan))
            last = plan, products, before
        if last is not None:
            found.append(_expected(*last, None))
    return [one for one in found if isinstance(one[0].found, Product | Chained)]


def _expected(plan: Planned, products: int, course: Course, following: Planned | None) -> Sequenced:
    """What the search expects of a layer before the one that was chosen to follow it."""
    multiplies = isinstance(plan.found, Product | Chained)
    return plan, products, course.expected(plan, following).own if multiplies else 0.0


def _formula(plan: Planned) -> float:
    """Cycles by the formula."""
    times = [1.0] * len(plan.choices)
    if isinstance(plan.found, Chained):
        if plan.found.rounds:
            return plan.cost
        # The formula is for one band of rows; others are shorter.
        rows = [sum(map(len, bands)) for bands in zip(*plan.found.strips.bands, strict=True)]
        times = [n / pieces.band for n, (pieces, _) in zip(rows, plan.choices, strict=True)]
    return sum(n * estimated(*choice) for n, choice in zip(times, plan.choices, strict=True))


def _cycles(configured: Module, target: Target, counts: Sequence[int]) -> list[float]:
    """What a warm inference takes for so many products, and the next, and so on.

    The cache replaces lines at random: the mean of some draws.
    """
    linked = link(configured, target)
    stream = linked.program.stream(target)
    launches = [op for op in linked.module.body if isinstance(op, Launch)]
    taken: list[list[float]] = []
    for seed in range(SEEDS):
        model = CycleModel(target, seed=seed)
        model.run_stream(stream)
        begin = float(model.now)
        run = model.run_stream(stream)
        computes = np.isin(stream.commands["funct7"], [kind.funct7 for kind in isa.COMPUTES])
        times: list[float] = []
        number = 0
        for launch in launches:
            inside = slice(launch.start, launch.stop)
            done = run.times[inside, 3]
            ends = np.append(begin, done[computes[inside]])
            last = 0
            while last < len(ends) - 1:
                first, last = last, last + counts[number]
                times.append(float(ends[last] - ends[first]))
                number += 1
            begin = float(done.max())
        if number != len(counts):
            raise ValueError(f"the program has products of {number} layers, not {len(counts)}")
        taken.append(times)
    return [float(cycles) for cycles in np.mean(taken, 0)]


COLUMNS = (
    "network", "target", "layers", "long layers",
    "formula: mean error %", "worst error %", "long within 5 %",
    "trial: mean error %", "worst error %", "long within 5 %",
    "sum of trials / sum of cycles",
)  # fmt: skip
LAYER_COLUMNS = (
    "network", "target", "layer", "products", "cycles", "formula", "error %", "searched by",
    "error % of that",
)  # fmt: skip
NOTES = (
    "A layer's cycles: in a warm inference, from the end of the last product before it to the end "
    "of its own last one. The formula (estimate.py) makes the search's short list; the trial "
    "(course.py) is a layer's first steps on the event model behind the last of the layers before.",
    f"Errors are those of long layers, of {LONG:,} cycles and more.",
)


def row_of(network: str, target: str, layers: Sequence[Compared]) -> list[str | int | float | None]:
    long = [layer for layer in layers if layer.cycles >= LONG]
    found: list[str | int | float | None] = [network, target, len(layers), len(long)]
    for errors in ([abs(x.error) for x in long], [abs(x.searched_error) for x in long]):
        spread = [100 * sum(errors) / len(errors), 100 * max(errors)] if errors else [None, None]
        found += [x if x is None else round(x, 1) for x in spread]
        found.append(sum(error <= 0.05 for error in errors))
    total = sum(layer.cycles for layer in layers)
    return [*found, sum(layer.searched for layer in layers) / total]


def main() -> None:
    parser = arguments((__doc__ or "").partition("\n")[0])
    names = sorted(path.stem for path in (ZOO / "models").glob("*.onnx"))
    parser.add_argument("--models", nargs="*", default=[*names, "ResNet-50"], metavar="NAME")
    parser.add_argument("--targets", nargs="*", default=["riscv-accel", "gemmini"])
    parser.add_argument("--layers", action="store_true", help="a table of all layers too")
    options = parser.parse_args()
    if not ZOO.exists():
        sys.exit(f"needs the model zoo at {ZOO}")
    script = "python benchmarks/estimates.py"
    table = Table("estimates", "Estimated cycles of layers", script, COLUMNS, notes=[*NOTES])
    by_layer = Table("estimates_layers", "The same by layer", f"{script} --layers", LAYER_COLUMNS)
    for name in options.models:
        model = ZOO / "models" / f"{name}.onnx"
        source = resnet((3, 4, 6, 3), bottleneck=True) if name == "ResNet-50" else model
        for target in options.targets:
            try:
                layers = compared(source, load_target(target))
            except UserError as error:
                print(f"{name} is left out: {error}", file=sys.stderr)
                continue
            if not layers:
                continue  # all of it runs on the host
            table.rows.append(row_of(name, target, layers))
            print(*map(shown, table.rows[-1]), sep="  ", file=sys.stderr)
            by_layer.rows += [
                (
                    name, target, layer.name, layer.products, round(layer.cycles),
                    round(layer.formula), round(100 * layer.error, 1), round(layer.searched),
                    round(100 * layer.searched_error, 1),
                )
                for layer in layers
            ]  # fmt: skip
    finish([table, by_layer] if options.layers else [table], options)


if __name__ == "__main__":
    main()
