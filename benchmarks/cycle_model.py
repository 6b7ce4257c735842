"""Compares the simulator and its cycle model with recorded runs of the hardware in RTL simulation.

    python benchmarks/cycle_model.py FOLDER_OF_STREAMS [NAME …] [--run warm|dcold] [--json]

Each explicit command stream is run on the functional simulator, whose output bytes must be the
recorded ones, and timed by the cycle model, with the host's retired instructions between commands
as the host's cycles. `warm` is a second run with data in the cache; `dcold` one with data in DRAM
only.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rtl_streams import Stream, differing_outputs, new_machine, read_streams

from mcc.runtime import isa
from mcc.runtime.simulator import CycleModel
from mcc.runtime.target import Target, load_target

_BEFORE_FIRST = 10
"""Cycles from reading the cycle counter to the first command, in the recorded programs."""

_FENCE = isa.Fence().commands()


@dataclass(frozen=True)
class Comparison:
    """One stream: measured and predicted cycles of a run."""

    name: str
    kind: str
    measured: int
    predicted: int
    outputs_equal: bool

    @property
    def error(self) -> float:
        """Relative to the measured cycles."""
        return (self.predicted - self.measured) / self.measured


def compare(folder: Path, names: list[str], run: str) -> Iterator[Comparison]:
    """Every explicit stream of `folder` (or those of `names`) that has the `run`."""
    stock = load_target("gemmini")
    for stream in read_streams(folder, names or None):
        if stream.form != "explicit" or run not in stream.runs:
            continue
        machine = new_machine(stock, stream)
        machine.run(stream.setup, timing=False)
        machine.run(stream.commands, timing=False)
        yield Comparison(
            name=stream.name,
            kind=stream.kind,
            measured=stream.runs[run].cycles,
            predicted=predict(_with_latency(stock, stream.axi_latency), stream, run),
            outputs_equal=not differing_outputs(machine, stream),
        )


def predict(target: Target, stream: Stream, run: str) -> int:
    """The cycles that the model gives the stream's timed region."""
    model = CycleModel(target)
    region = np.concatenate([stream.commands, _FENCE])
    gaps = np.append(host_gaps(stream), 1.0)
    if len(stream.setup):
        model.run(stream.setup)
    if run == "warm":
        model.run(region, gaps)  # fills the cache
    else:
        model.forget_cache()
    model.run(_FENCE)
    return model.run(region, gaps).total + _BEFORE_FIRST


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


def _with_latency(target: Target, latency: int) -> Target:
    dma = target.machine.dma.model_copy(update={"dram_latency": latency})
    machine = target.machine.model_copy(update={"dma": dma})
    return target.model_copy(update={"accelerator": machine})


def _report(comparisons: list[Comparison]) -> str:
    lines = [f"{'stream':28} {'kind':12} {'measured':>9} {'predicted':>9} {'error':>7}  outputs"]
    for c in comparisons:
        outputs = "equal" if c.outputs_equal else "DIFFER"
        lines.append(
            f"{c.name:28} {c.kind:12} {c.measured:9} {c.predicted:9} {c.error:7.1%}  {outputs}"
        )
    lines.append("")
    lines.append(f"{'kind':12} {'streams':>7} {'mean |error|':>12} {'bias':>7}")
    for kind in sorted({c.kind for c in comparisons}):
        errors = np.array([c.error for c in comparisons if c.kind == kind])
        lines.append(
            f"{kind:12} {errors.size:7} {np.abs(errors).mean():12.1%} {errors.mean():7.1%}"
        )
    size = np.abs([c.error for c in comparisons])
    lines.append(
        f"{'all':12} {size.size:7} mean {size.mean():.1%}, median {np.median(size):.1%}, "
        f"90th percentile {np.quantile(size, 0.9):.1%}, largest {size.max():.1%}"
    )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="the folder of recorded streams")
    parser.add_argument("names", nargs="*", help="only these streams")
    parser.add_argument("--run", choices=["warm", "dcold"], default="warm")
    parser.add_argument("--json", action="store_true", help="print a list of records")
    options = parser.parse_args()
    comparisons = list(compare(options.folder, options.names, options.run))
    if not comparisons:
        print(f"no stream in {options.folder} has this name and run", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps([{**asdict(c), "error": c.error} for c in comparisons], indent=1))
    else:
        print(_report(comparisons))
    return 0 if all(c.outputs_equal for c in comparisons) else 1


if __name__ == "__main__":
    sys.exit(main())
