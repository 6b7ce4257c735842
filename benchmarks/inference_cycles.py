"""Simulated cycles of whole inferences on the accelerators, beside their bounds and their aims.

    python benchmarks/inference_cycles.py [--models NAME ...] [--targets NAME ...] [--layers]
                                          [--json] [--write]

int8 in and out, batch 1. Warm is the second inference: the cache before DRAM holds what it kept of
the first. Fences and the issue of every command, by the host or by the machine's queue, are
included; the host's own operators (padding of a first image, softmax) are not.
"""

import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cpu_models as built
import numpy as np
import onnx
from recording import ZOO, Cell, Table, arguments, finish, shown

from mcc import compile as compile_model
from mcc import runtime
from mcc.runtime import LayerRecord, Target, isa, load_target
from mcc.runtime.program import Program
from mcc.runtime.simulator import CycleModel


@dataclass(frozen=True)
class Network:
    """A network, where it comes from, and the warm cycles aimed at, by target."""

    name: str
    zoo: str = ""
    make: Callable[[], onnx.ModelProto] | None = None
    aims: dict[str, int] = field(default_factory=dict[str, int])
    over_bound: dict[str, float] = field(default_factory=dict[str, float])
    """Where the aim is a factor of the bound."""


STOCK, EXTENDED = "gemmini", "riscv-accel"
NETWORKS = (
    Network("ResNet-8", "ic_resnet8", aims={EXTENDED: 65_000, STOCK: 80_000}),
    Network("DS-CNN", "kws_dscnn", aims={EXTENDED: 48_000, STOCK: 65_000}),
    Network("VWW MobileNetV1-0.25", "vww_mobilenet", aims={EXTENDED: 100_000, STOCK: 140_000}),
    Network("autoencoder", "ad_autoencoder", aims={EXTENDED: 22_000, STOCK: 40_000}),
    Network(
        "ResNet-50",
        make=lambda: built.resnet((3, 4, 6, 3), bottleneck=True),
        aims={EXTENDED: 19_000_000, STOCK: 21_000_000},
    ),
    Network("MobileNetV2", "mobilenet_v2_100_224", over_bound={EXTENDED: 1.15, STOCK: 1.25}),
)


@dataclass(frozen=True)
class Bounds:
    """Cycles that each part of the machine needs alone for some commands."""

    array: float
    """Rows through the array, one a cycle; new weights take as many cycles as it has rows."""
    memory: float
    """Bytes, with the records of a command queue, over DRAM's rate."""
    stores: float
    """Rows moved out, over the rate of the move-out unit."""
    issue: float
    """Commands over the rate of the host; with a queue over its own, or records over the port's."""

    @property
    def largest(self) -> tuple[str, float]:
        """The part that needs most, and its cycles."""
        found = {name: float(value) for name, value in vars(self).items()}
        return max(found.items(), key=lambda item: item[1])


def bounds(commands: isa.Commands, nbytes: int, queued: int, target: Target) -> Bounds:
    """The bounds of `commands`, whose data are `nbytes` and their records `queued` bytes.

    If nothing is moved twice.
    """
    dma = target.machine.dma
    return Bounds(
        array=array_cycles(commands, target.machine.dim),
        memory=(nbytes + queued) / dma.dram_bytes_per_cycle,
        stores=store_cycles(commands, target),
        issue=max(len(commands) * target.cycles_per_command, queued / dma.beat_bytes),
    )


def queue_bytes(layer: LayerRecord) -> int:
    """Of a layer's records; 0 where the host issues its commands."""
    return layer.records[1] * isa.RECORD.itemsize if layer.records else 0


def column(commands: isa.Commands, kind: type[isa.Instruction], name: str) -> np.ndarray:
    """A field of all commands of one kind."""
    found = kind.unpack(commands[commands["funct7"] == kind.funct7])[name]
    return np.asarray(found, np.int64)


def array_cycles(commands: isa.Commands, dim: int) -> float:
    """Cycles of the array: while rows pass one tile of weights the next one moves in, a row each.

    So a tile takes as long as its rows, and no less than that.
    """
    kinds = [kind.funct7 for kind in isa.COMPUTES]
    computes = commands[np.isin(commands["funct7"], kinds)]
    rows = np.zeros(len(computes), np.int64)
    new = np.zeros(len(computes), np.bool_)
    for kind in isa.COMPUTES:
        chosen = computes["funct7"] == kind.funct7
        rows[chosen] = kind.unpack(computes[chosen])["rows"]
        new[chosen] = kind not in (isa.ComputeKept, isa.ComputeSparseKept)
    if not len(computes):
        return 0.0
    tiles = np.add.reduceat(rows, np.flatnonzero(new | (np.arange(len(new)) == 0)))
    return float(np.maximum(tiles, dim).sum())


def store_cycles(commands: isa.Commands, target: Target) -> float:
    """Cycles of the move-out unit; what pooling takes beyond the rows is left out."""
    timing, dim = target.machine.timing, target.machine.dim
    rates = np.array(timing.store_row)
    blocks = -(-column(commands, isa.MoveOut, "cols") // dim)
    cycles = float((rates[blocks - 1] * column(commands, isa.MoveOut, "rows")).sum())
    blocks = -(-column(commands, isa.MoveOutScratchpad, "cols") // dim)
    kept = column(commands, isa.MoveOutScratchpad, "rows") * blocks
    return cycles + float(kept.sum()) * timing.store_scratchpad_row


@dataclass(frozen=True)
class Timed:
    """A compiled network and its cycles."""

    network: Network
    target: Target
    program: Program
    totals: dict[str, int]
    layers: list[dict[str, Any]]
    """From the compiler's report, cycles of a warm inference among it."""
    cold: int
    warm: int

    @property
    def bounds(self) -> Bounds:
        """Of the whole inference: constants once, the network's input and output."""
        names = {layer.tensor for layer in self.program.layers}
        shapes = [
            record.shape
            for name, record in self.program.tensors.items()
            if name not in names or name == self.program.layers[-1].tensor
        ]
        nbytes = self.totals["weight_bytes"] + sum(math.prod(shape) for shape in shapes)
        queued = sum(queue_bytes(layer) for layer in self.program.layers)
        return bounds(self.program.commands, nbytes, queued, self.target)

    @property
    def aim(self) -> int | None:
        if self.target.name in self.network.aims:
            return self.network.aims[self.target.name]
        if self.target.name in self.network.over_bound:
            return round(self.network.over_bound[self.target.name] * self.bounds.largest[1])
        return None


def timed(
    network: Network, target: Target, *, where: Path | None = None, weight_bits: int = 8
) -> Timed:
    """A network compiled and timed; `where` is the target's file, if it does not ship with mcc."""
    source = network.make() if network.make else ZOO / "models" / f"{network.zoo}.onnx"
    machine = str(where or target.name)
    artifact = compile_model(source, target=machine, io="int8", weight_bits=weight_bits)
    program = Program.from_artifact(artifact)
    report = json.loads(artifact.members["report.json"])
    model = CycleModel(target)
    cold, warm = (model.run_stream(program.stream(target)).total for _ in range(2))
    return Timed(network, target, program, report["totals"], report["layers"], cold, warm)


COLUMNS = (
    "network", "target", "MAC", "bound by", "bound", "warm", "cold", "over bound", "array used",
    "aim", "met", "scratchpad KiB", "DRAM KiB", "DRAM bound KiB",
)  # fmt: skip
LAYER_COLUMNS = (
    "layer", "MAC", "commands", "cycles", "array used", "bound by", "bound", "array", "memory",
    "stores", "issue",
)  # fmt: skip


def row_of(found: Timed) -> tuple[Cell, ...]:
    totals, (name, bound) = found.totals, found.bounds.largest
    macs, array = totals["macs"], found.target.machine.dim**2
    aim = found.aim
    return (
        found.network.name, found.target.name, macs, name, round(bound), found.warm, found.cold,
        found.warm / bound, macs / found.warm / array, aim, None if aim is None else
        found.warm <= aim, *(totals[key] / 1024 for key in ("scratchpad_peak", "dram_peak",
        "dram_bound")),
    )  # fmt: skip


def layer_rows(found: Timed) -> list[tuple[Cell, ...]]:
    rows: list[tuple[Cell, ...]] = []
    for layer, record in zip(found.layers, found.program.layers, strict=True):
        commands = found.program.commands[record.start : record.stop]
        nbytes = layer["bytes_in"] + layer["bytes_out"]
        each = bounds(commands, nbytes, queue_bytes(record), found.target)
        name, bound = each.largest
        rows.append((
            layer["name"], layer["macs"], layer["commands"], layer["cycles"], layer["utilisation"],
            name, round(bound), *(round(value) for value in vars(each).values()),
        ))  # fmt: skip
    return rows


FOUR_BITS = ("autoencoder", "DS-CNN", "ResNet-8")
FOUR_BITS_COLUMNS = (
    "network", "DRAM bytes a cycle", "weight bits", "weights KiB", "commands", "warm", "cold",
)  # fmt: skip
FOUR_BITS_NOTES = (
    "riscv-accel, whose DRAM brings 16 bytes a cycle, and the same machine with 8. Moves of packed "
    "weights fill the scratchpad a row a cycle, as int8 from a DRAM of 16 bytes does: there only "
    "commands and cold lines are saved.",
    "Products whose results are added to a residual keep 8 bits.",
)


def four_bits(names: list[str]) -> Iterator[tuple[Cell, ...]]:
    """Networks with weights of 8 and of 4 bits, on a fast and on a slow DRAM."""
    shipped = Path(runtime.__file__).parent / "targets" / f"{EXTENDED}.toml"
    for rate in (16.0, 8.0):
        with TemporaryDirectory() as folder:
            where = Path(folder) / f"{EXTENDED}.toml"
            text = shipped.read_text(encoding="utf-8")
            field = "dram_bytes_per_cycle ="
            where.write_text(text.replace(f"{field} 16.0", f"{field} {rate}"), encoding="utf-8")
            target = load_target(where)
            for network in NETWORKS:
                if network.name not in FOUR_BITS or network.name not in names:
                    continue
                for bits in (8, 4):
                    found = timed(network, target, where=where, weight_bits=bits)
                    yield (
                        network.name, target.machine.dma.dram_bytes_per_cycle, bits,
                        found.totals["weight_bytes"] / 1024, len(found.program.commands),
                        found.warm, found.cold,
                    )  # fmt: skip


NOTES = (
    "int8 in and out, batch 1. Warm: the second inference, the cache before DRAM holding what it "
    "kept of the first. Fences and the issue of every command are included, by the host at 7 "
    "cycles a command, by the queue of riscv-accel at one; operators that run on the host "
    "(softmax, padding of a first image) are not.",
    "Bounds, of which the largest stands here: rows through the array, one a cycle, and as many "
    "cycles as it has rows for each tile of weights, which moves in while rows pass the last one; "
    "constants once with input, output and the records of a queue, over DRAM's bytes a cycle; rows "
    "moved out over the rate of that unit; commands over the rate of who issues them. What the "
    "cache keeps of constants from one inference to the next can bring a network that DRAM bounds "
    "below.",
    "Aims are fixed ones, and for MobileNetV2 1.15 times (riscv-accel) and 1.25 times (gemmini) "
    "the bound. What it loses, and where, stands in accelerator_compiler.md, 'Bounds'.",
    "DRAM: activations; the bound is the largest sum of what lives at once.",
)


def main() -> None:
    parser = arguments((__doc__ or "").partition("\n")[0])
    names = [network.name for network in NETWORKS]
    parser.add_argument("--models", nargs="*", default=names, choices=names, metavar="NAME")
    parser.add_argument("--targets", nargs="*", default=[EXTENDED, STOCK])
    parser.add_argument("--layers", action="store_true", help="a table of layers for each too")
    options = parser.parse_args()
    if not ZOO.exists():
        sys.exit(f"needs the model zoo at {ZOO}")
    script = "python benchmarks/inference_cycles.py"
    main_table = Table(
        "inference_cycles", "Cycles of whole inferences", script, COLUMNS, notes=[*NOTES]
    )
    tables = [main_table]
    for network in NETWORKS:
        if network.name not in options.models:
            continue
        for target in options.targets:
            found = timed(network, load_target(target))
            main_table.rows.append(row_of(found))
            print(*map(shown, main_table.rows[-1]), sep="  ", file=sys.stderr)
            if options.layers:
                key = f"inference_cycles {network.name} {target}"
                title = f"Layers of {network.name} on {target}"
                command = f"{script} --layers"
                tables.append(Table(key, title, command, LAYER_COLUMNS, [*layer_rows(found)]))
    if EXTENDED in options.targets:
        title, notes = "Cycles with 4-bit weights", [*FOUR_BITS_NOTES]
        table = Table("four_bits", title, script, FOUR_BITS_COLUMNS, notes=notes)
        table.rows.extend(four_bits(options.models))
        tables.append(table)
    finish(tables, options)


if __name__ == "__main__":
    main()
