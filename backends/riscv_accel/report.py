"""What a program costs and holds: the numbers that a compilation prints."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from mcc.ir import Op, Region, Value
from mcc.runtime import LayerRecord, Target, isa
from mcc.runtime.simulator import CycleModel

from . import tiles
from .expand import in_accumulator
from .linking import Linked
from .structure import For, Kernel


def report(linked: Linked, target: Target) -> bytes:
    """`report.json`: a row for each layer, the host's ops with the reason, and totals."""
    program = linked.program
    cycles = warm_cycles(program.commands, program.layers, target)
    array = target.machine.dim**2
    layers = [
        {
            "name": layer.tensor,
            "kind": kind(kernel),
            "nodes": list(layer.nodes),
            "macs": layer.macs,
            "commands": layer.stop - layer.start,
            "cycles": spent,
            "utilisation": layer.macs / (array * spent) if spent else 0.0,
            **traffic(program.commands[layer.start : layer.stop], target),
        }
        for layer, kernel, spent in zip(program.layers, linked.kernels, cycles, strict=True)
    ]
    total = sum(cycles)
    macs = sum(layer.macs for layer in program.layers)
    machine = target.machine
    totals = {
        "macs": macs,
        "weight_bytes": linked.constant_bytes,
        "commands": len(program.commands),
        "cycles": total,
        "utilisation": macs / (array * total) if total else 0.0,
        "scratchpad_peak": _peak(linked.kernels, on_scratchpad=True) * machine.scratchpad.row_bytes,
        "accumulator_peak": _peak(linked.kernels, on_scratchpad=False)
        * machine.accumulator.row_bytes,
        "dram_peak": linked.activations.peak,
        "dram_bound": linked.activations.lower_bound,
    }
    host = [
        {"op": op.op, "name": op.tensor, "nodes": list(op.nodes), "reason": op.reason}
        for op in program.host
    ]
    return json.dumps({"layers": layers, "host": host, "totals": totals}, indent=1).encode()


def warm_cycles(commands: isa.Commands, layers: Sequence[LayerRecord], target: Target) -> list[int]:
    """The cycles of each layer in a second inference, when the cache holds what fits of the first.

    A layer's cycles end with its last command; the layers' sum is the whole program's.
    """
    if not layers:
        return []
    model = CycleModel(target)
    model.run(commands)
    start = model.now
    done = model.run(commands).times[:, 3] - start
    ends = [float(done[layer.start : layer.stop].max(initial=0.0)) for layer in layers]
    ends[-1] = float(done.max(initial=0.0))
    edges = np.maximum.accumulate([0.0, *ends])
    return [round(float(edge)) for edge in np.diff(np.rint(edges))]


def traffic(commands: isa.Commands, target: Target) -> dict[str, int]:
    """Bytes that a layer moves from and to DRAM."""
    moves = {"bytes_in": 0, "bytes_out": 0}
    for key, classes in (
        ("bytes_in", (isa.MoveIn, isa.MoveIn2, isa.MoveIn3)),
        ("bytes_out", (isa.MoveOut,)),
    ):
        for cls in classes:
            chosen = commands[commands["funct7"] == cls.funct7]
            if not len(chosen):
                continue
            fields = cls.unpack(chosen)
            wide = (fields["local"].astype(np.int64) >> 31) & 1 if key == "bytes_in" else 0
            size = fields["rows"].astype(np.int64) * fields["cols"] * np.where(wide, 4, 1)
            moves[key] += int(size[fields["dram"] != 0].sum())
    return moves


def kind(kernel: Kernel) -> str:
    """What a layer mostly is: products, or moves."""
    return "product" if kernel.macs else "move"


def _peak(kernels: Iterable[Kernel], *, on_scratchpad: bool) -> int:
    """The most rows of one memory that a layer writes."""
    return max((len(_rows(kernel, on_scratchpad)) for kernel in kernels), default=0)


def _rows(kernel: Kernel, on_scratchpad: bool) -> set[int]:
    rows: set[int] = set()
    for op, counts in _nested(kernel.body, {}):
        match op:
            case tiles.MoveIn() if in_accumulator(op.local) != on_scratchpad:
                steps = [
                    np.arange(counts[index]) * scale
                    for index, scale in zip(op.at, op.row[1:], strict=True)
                ]
                starts = np.asarray([op.row[0]])
                for step in steps:
                    starts = (starts[:, None] + step).reshape(-1)
                blocks = -(-op.cols // 16)
                for block in range(blocks):
                    shifted = starts + block * op.block
                    touched = shifted[:, None] + np.arange(op.rows)
                    rows.update(np.unique(touched).tolist())
            case _:
                pass
    return rows


def _nested(
    region: Region, counts: Mapping[Value, int]
) -> Iterator[tuple[Op, Mapping[Value, int]]]:
    """Every op of a region with the trip counts of the loops around it."""
    for op in region:
        if isinstance(op, For):
            inner = {**counts, op.body.args[0]: op.count}
            yield from _nested(op.body, inner)
        else:
            yield op, counts
