"""Compares the simulator and its cycle model with recorded runs of the hardware in RTL simulation.

    python benchmarks/cycle_model.py [FOLDER_OF_STREAMS] [NAME …] [--run warm|dcold|cold]
                                     [--json] [--write]

Each command stream runs on the functional simulator, whose output bytes must be the recorded ones,
and is timed by the cycle model in two ways. `host_recorded`: each command comes no earlier than the
hardware's queue accepted it. `host_modelled`: the host takes a cycle per recorded instruction, and
its code and operand tables come through modelled caches.

`warm` is a second run with data in the cache; `dcold` one with data in DRAM only; `cold` the first
one. The caches replace random lines, so a prediction is the mean over several seeds.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from recording import REPOSITORY, Cell, Table, arguments, finish
from rtl_streams import Stream, differing_outputs, new_machine, read_streams

from mcc.runtime import Target, isa, load_target
from mcc.runtime.simulator import CycleModel, SimulatorFault

STREAMS = REPOSITORY.parent / "shared" / "rtl" / "streams"
MODES = ("host_recorded", "host_modelled")
RUNS = ("warm", "dcold", "cold")
SEEDS = 8

_BEFORE_FIRST = 10
"""Cycles from reading the cycle counter to the first command, in the recorded programs."""

_FENCE = isa.Fence().commands()
_PAGE = 256
_PROLOGUE = 40
"""Bytes of code before the first command."""


@dataclass(frozen=True)
class Comparison:
    """One stream: measured and predicted cycles of a run, by way of modelling the host."""

    name: str
    kind: str
    measured: int
    predicted: dict[str, float]
    outputs_equal: bool

    def error(self, mode: str) -> float:
        """Relative to the measured cycles."""
        return (self.predicted[mode] - self.measured) / self.measured


def compare(
    folder: Path,
    names: list[str],
    run: str,
    seeds: int = SEEDS,
    refused: dict[str, str] | None = None,
) -> Iterator[Comparison]:
    """Every stream of `folder` (or those of `names`) that has the `run`.

    A stream that the simulator refuses is left out, with the reason in `refused`; without it the
    fault is raised.
    """
    stock = _recorded_machine()
    for stream in read_streams(folder, names or None):
        if run not in stream.runs:
            continue
        machine = new_machine(stock, stream)
        target = _with_latency(stock, stream.axi_latency)
        try:
            machine.run(stream.setup, timing=False)
            machine.run(stream.commands, timing=False)
        except SimulatorFault as fault:
            if refused is None:
                raise
            refused[stream.name] = str(fault)
            continue
        yield Comparison(
            name=stream.name,
            kind=stream.kind,
            measured=stream.runs[run].cycles,
            predicted={
                mode: float(
                    np.mean([predict(target, stream, run, mode, seed) for seed in range(seeds)])
                )
                for mode in MODES
            },
            outputs_equal=not differing_outputs(machine, stream),
        )


def predict(target: Target, stream: Stream, run: str, mode: str, seed: int) -> int:
    """The cycles that the model gives the stream's timed region."""
    model = CycleModel(target, seed=seed)
    region = np.concatenate([stream.commands, _FENCE])
    gaps = np.append(host_gaps(stream), 1.0)
    code = np.concatenate([host_code(stream), [[-1, -1, -1]]])
    if len(stream.setup):
        model.run(stream.setup)
    model.run(_FENCE)
    if run != "cold":
        model.run(region, gaps, code=code)  # fills the caches
    if run == "dcold":
        model.forget_cache(0, stream.dram_bytes)
    model.run(_FENCE)
    if mode == "host_modelled":
        gaps[0] = max(gaps[0], 1.0)
        return model.run(region, gaps, code=code).total + _BEFORE_FIRST
    earliest = np.append(accepted(stream, run), 0)
    earliest[earliest > 0] += model.now
    return model.run(region, np.ones(len(region)), earliest=earliest).total


def accepted(stream: Stream, run: str) -> npt.NDArray[np.int64]:
    """When the accelerator accepted each command; 0 for the host's fences, not recorded."""
    is_fence = stream.commands["funct7"] == isa.Fence.funct7
    when = np.zeros(len(stream.commands), np.int64)
    when[~is_fence] = stream.runs[run].host
    return when


def host_gaps(stream: Stream) -> npt.NDArray[np.float64]:
    """Cycles of the host before each command.

    One per retired instruction, as recorded in the warm run.
    """
    is_fence = stream.commands["funct7"] == isa.Fence.funct7
    gaps = np.ones(len(stream.commands))
    retired = stream.runs["warm"].retired
    if not retired.size:
        return gaps
    since = np.diff(retired, prepend=retired[0] - 1).astype(np.float64)
    # A fence is an instruction of its own between two commands, and was not recorded.
    fences = np.diff(np.cumsum(is_fence)[~is_fence], prepend=0)
    gaps[~is_fence] = np.maximum(since - fences, 1.0)
    return gaps


def host_code(stream: Stream) -> npt.NDArray[np.int64]:
    """Where the host's code for each command lies, its bytes, and where its operands lie.

    Unrolled code runs straight on, with 4 bytes an instruction; a table has 16 bytes a command and
    is read two commands ahead. Both are taken to follow the buffers in memory. Compiled loops are
    taken to stay in the instruction cache.
    """
    count = len(stream.commands)
    code = np.full((count, 3), -1, np.int64)
    if stream.issue == "c-loop":
        return code
    is_fence = stream.commands["funct7"] == isa.Fence.funct7
    retired = stream.runs["warm"].retired
    sizes = np.full(count, 4, np.int64)
    start = -(-stream.dram_bytes // _PAGE) * _PAGE + _PROLOGUE
    if stream.issue == "straight-line-table":
        sizes[~is_fence] = 12
        ahead = np.cumsum(~is_fence) + 1
        table = -(-(start + int(sizes.sum())) // _PAGE) * _PAGE
        code[~is_fence, 2] = table + 16 * ahead[~is_fence]
    elif retired.size:
        sizes[~is_fence] = 4 * np.maximum(np.diff(retired, prepend=retired[0] - 1), 1)
    ends = np.cumsum(sizes)
    code[:, 0] = start + ends - sizes
    code[:, 1] = sizes
    return code


def _recorded_machine() -> Target:
    """The stock target with what the recorded streams use beyond the portable subset."""
    stock = load_target("gemmini")
    machine = stock.machine.model_copy(update={"extensions": ("pixel_repeats", "loop_conv")})
    return stock.model_copy(update={"accelerator": machine})


def _with_latency(target: Target, latency: int) -> Target:
    dma = target.machine.dma.model_copy(update={"dram_latency": latency})
    machine = target.machine.model_copy(update={"dma": dma})
    return target.model_copy(update={"accelerator": machine})


def summary(comparisons: list[Comparison], mode: str) -> dict[str, float]:
    """How far off the predictions are, as fractions of the measured cycles."""
    size = np.abs([c.error(mode) for c in comparisons])
    bias = np.array([c.error(mode) for c in comparisons])
    return {
        "mean_abs_error": float(size.mean()),
        "median_abs_error": float(np.median(size)),
        "p90_abs_error": float(np.quantile(size, 0.9)),
        "worst_abs_error": float(size.max()),
        "bias": float(bias.mean()),
    }


def _record(comparisons: list[Comparison], run: str, refused: dict[str, str]) -> dict[str, object]:
    return {
        "run": run,
        "streams": len(comparisons),
        "outputs_equal": all(c.outputs_equal for c in comparisons),
        "refused": refused,
        **{mode: summary(comparisons, mode) for mode in MODES},
        "cases": [
            {
                "name": c.name,
                "kind": c.kind,
                "measured": c.measured,
                "outputs_equal": c.outputs_equal,
                **{
                    mode: {"predicted": c.predicted[mode], "error": c.error(mode)} for mode in MODES
                },
            }
            for c in comparisons
        ],
    }


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _tables(comparisons: list[Comparison], run: str) -> list[Table]:
    script = "python benchmarks/cycle_model.py"
    if run != "warm":
        script += f" --run {run}"
    kinds = [*sorted({c.kind for c in comparisons}), "all"]
    rows: list[tuple[Cell, ...]] = []
    for kind in kinds:
        chosen = [c for c in comparisons if kind in (c.kind, "all")]
        cells: list[Cell] = [kind, len(chosen)]
        for mode in MODES:
            found = summary(chosen, mode)
            names = ("mean_abs_error", "p90_abs_error", "worst_abs_error", "bias")
            cells.extend(_percent(found[name]) for name in names)
        rows.append(tuple(cells))
    wrong = [c.name for c in comparisons if not c.outputs_equal]
    parts = ("mean", "p90", "worst", "bias")
    return [
        Table(
            f"cycle_model_{run}",
            f"Cycle model against RTL, {run} runs",
            script,
            (
                "streams",
                "count",
                *(f"recorded host: {part}" for part in parts),
                *(f"modelled host: {part}" for part in parts),
            ),
            list(rows),
            [
                "Errors of the total cycle count, as fractions of the measured one.",
                f"Output bytes differ in: {', '.join(wrong) or 'none'}.",
            ],
        )
    ]


def _listing(comparisons: list[Comparison]) -> str:
    head = f"{'stream':28} {'kind':12} {'measured':>9}"
    lines = [head + "".join(f" {mode:>13} {'error':>7}" for mode in MODES) + "  outputs"]
    for c in comparisons:
        parts = [f" {c.predicted[mode]:13.0f} {c.error(mode):7.1%}" for mode in MODES]
        outputs = "equal" if c.outputs_equal else "DIFFER"
        lines.append(f"{c.name:28} {c.kind:12} {c.measured:9}{''.join(parts)}  {outputs}")
    return "\n".join(lines)


def main() -> int:
    parser = arguments((__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=STREAMS, help="recorded streams")
    parser.add_argument("names", nargs="*", help="only these streams")
    parser.add_argument("--run", choices=RUNS, default="warm")
    options = parser.parse_args()
    if not options.folder.exists():
        print(f"needs recorded streams at {options.folder}", file=sys.stderr)
        return 2
    refused: dict[str, str] = {}
    comparisons = list(compare(options.folder, options.names, options.run, refused=refused))
    for name, why in refused.items():
        print(f"{name}: {why}", file=sys.stderr)
    if not comparisons:
        print(f"no stream in {options.folder} has this name and run", file=sys.stderr)
        return 2
    right = not refused and all(c.outputs_equal for c in comparisons)
    if options.json:
        print(json.dumps(_record(comparisons, options.run, refused), indent=1))
        options.json = False
        if not options.write:
            return 0 if right else 1
    else:
        print(_listing(comparisons))
    finish(_tables(comparisons, options.run), options)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
