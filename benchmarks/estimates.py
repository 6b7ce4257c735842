"""The cycles by which tilings are searched beside those of the event model, layer by layer.

    python benchmarks/estimates.py [--models NAME ...] [--targets NAME ...] [--layers]
                                   [--json] [--write]

A layer is taken as the program has it: operands that stay in the scratchpad, weights loaded during
the layer before, chained products in strips. Its cycles are those of a warm inference from the end
of the last product before it to the end of its own last one; so the layers' cycles add up to the
inference's, but for what follows the last product. A move has no products: its cycles are counted
with the layer behind it.
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
from mcc.backends.riscv_accel.choices import plan_product
from mcc.backends.riscv_accel.emitting import Shared
from mcc.backends.riscv_accel.estimate import estimated
from mcc.backends.riscv_accel.layers import Product
from mcc.backends.riscv_accel.order import runs
from mcc.backends.riscv_accel.planning import Planned, planned
from mcc.backends.riscv_accel.rolling import lengths
from mcc.backends.riscv_accel.strips import Chained, plan_strips
from mcc.backends.riscv_accel.structure import Layer
from mcc.backends.riscv_accel.trial import product_ends
from mcc.driver import Compilation
from mcc.ir import Module, UserError
from mcc.options import Options
from mcc.runtime import Target, load_target
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
    """By what it was chosen: the formula, or a trial of the layer alone."""
    cycles: float
    """The event model's, in a warm inference."""

    @property
    def error(self) -> float:
        """Of the formula, as a fraction of the cycles."""
        return self.formula / self.cycles - 1


def compared(model: Path | ModelProto, target: Target) -> list[Compared]:
    """Every layer of a network that has products, in the order in which they run.

    Raises:
        ValueError: where the plans are not those of the program.
    """
    shapes = SHAPES.get(model.stem, {}) if isinstance(model, Path) else {}
    options = Options(target=target.name, io="int8", shapes=shapes)
    stages = dict(Compilation(options).walk(model))
    plans = [plan for plan in _plans(stages["partitioned"], target) if _multiplies(plan)]
    counts = [_products(plan) for plan in plans]
    ends = _product_ends(stages["configured"], target)
    if len(ends) != sum(counts) + 1:
        raise ValueError(f"the program has {len(ends) - 1} products, the plans {sum(counts)}")
    cycles = np.diff(ends[np.cumsum([0, *counts])]).tolist()
    return [
        Compared(plan.layer.result.name, count, *_expected(plan), taken)
        for plan, count, taken in zip(plans, counts, cycles, strict=True)
    ]


def _plans(partitioned: Module, target: Target) -> list[Planned]:
    found: list[Planned] = []
    for run in runs(partitioned):
        layers = [op for op in run if isinstance(op, Layer)]
        values = dict.fromkeys(value for op in layers for value in (*op.xs, op.result))
        names = {value: f"value{number}" for number, value in enumerate(values)}
        found += planned(layers, names, Shared(target))[0] if layers else []
    return found


def _multiplies(plan: Planned) -> bool:
    return isinstance(plan.found, Product | Chained)


def _products(plan: Planned) -> int:
    if isinstance(plan.found, Chained):
        steps = plan_strips(plan.found, plan.memories)
    else:
        steps = plan_product(plan.choices, plan.memories)
    return sum(lengths(step.products) for step in steps)


def _expected(plan: Planned) -> tuple[float, float]:
    """Cycles by the formula, and those by which the search chose."""
    times = [1.0] * len(plan.choices)
    if isinstance(plan.found, Chained):
        # The formula is for one band of rows; others are shorter.
        rows = [sum(map(len, bands)) for bands in zip(*plan.found.strips.bands, strict=True)]
        times = [n / pieces.band for n, (pieces, _) in zip(rows, plan.choices, strict=True)]
    pairs = list(zip(times, plan.choices, strict=True))
    formula = sum(n * estimated(*choice) for n, choice in pairs)
    return formula, sum(n * tiling.cost for n, (_, tiling) in pairs)


def _product_ends(configured: Module, target: Target) -> "np.ndarray":
    """When a warm inference begins, and when each of its products is done."""
    stream = link(configured, target).program.stream(target)
    model = CycleModel(target)
    model.run_stream(stream)
    start = model.now
    return np.append(float(start), product_ends(stream, model.run_stream(stream)))


COLUMNS = (
    "network", "target", "layers", "long layers", "mean error %", "p90 error %", "worst error %",
    "long within 5 %", "share of cycles within 5 %", "sum of formula / sum of cycles",
)  # fmt: skip
LAYER_COLUMNS = (
    "network", "target", "layer", "products", "cycles", "formula", "error %", "searched by",
)  # fmt: skip
NOTES = (
    "A layer's cycles: in a warm inference, from the end of the last product before it to the end "
    "of its own last one. The formula is that of the tiling search (estimate.py), for the tiling "
    "that the program has.",
    f"Errors are those of long layers, of {LONG:,} cycles and more. The formula counts a layer's "
    "beginning and end, much of which passes in a network during the layers beside it; of short "
    "layers that is most. The share of cycles counts all layers.",
)


def row_of(network: str, target: str, layers: Sequence[Compared]) -> list[str | int | float | None]:
    long = [layer for layer in layers if layer.cycles >= LONG]
    errors = [abs(layer.error) for layer in long]
    total = sum(layer.cycles for layer in layers)
    good = sum(layer.cycles for layer in layers if abs(layer.error) <= 0.05)
    spread: list[float | None] = [None, None, None]
    if errors:
        ninth = float(np.quantile(np.array(errors), 0.9))
        spread = [round(100 * x, 1) for x in (sum(errors) / len(errors), ninth, max(errors))]
    return [
        network, target, len(layers), len(long),
        *spread,
        sum(error <= 0.05 for error in errors), good / total,
        sum(layer.formula for layer in layers) / total,
    ]  # fmt: skip


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
                )
                for layer in layers
            ]  # fmt: skip
    finish([table, by_layer] if options.layers else [table], options)


if __name__ == "__main__":
    main()
