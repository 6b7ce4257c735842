"""What a program costs and holds: the numbers that a compilation prints."""

import json
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from mcc.ir import Op, Value
from mcc.runtime import Target
from mcc.runtime.profiling import profile_program

from . import tiles
from .expand import in_accumulator
from .linking import Linked
from .structure import For


def report(linked: Linked, target: Target) -> bytes:
    """`report.json`: a row for each layer, the host's ops with the reason, and totals."""
    program, machine = linked.program, target.machine
    profile = profile_program(program, target)
    layers = [
        {
            "name": layer.tensor,
            "kind": "product" if layer.macs else "move",
            "nodes": list(layer.nodes),
            "macs": layer.macs,
            "commands": layer.commands,
            "cycles": layer.cycles,
            "utilisation": layer.utilisation,
            "bytes_in": layer.bytes_in,
            "bytes_out": layer.bytes_out,
            "bound": layer.bound,
        }
        for layer in profile.layers
    ]
    totals = {
        "macs": profile.macs,
        "weight_bytes": linked.constant_bytes,
        "queue_bytes": linked.queue.nbytes,
        "commands": len(profile.run.times),
        "cycles": profile.cycles,
        "utilisation": profile.utilisation,
        "scratchpad_peak": _peak(linked, on_scratchpad=True) * machine.scratchpad.row_bytes,
        "accumulator_peak": _peak(linked, on_scratchpad=False) * machine.accumulator.row_bytes,
        "dram_peak": linked.activations.peak,
        "dram_bound": linked.activations.lower_bound,
    }
    host = [
        {"op": op.op, "name": op.tensor, "nodes": list(op.nodes), "reason": op.reason}
        for op in program.host
    ]
    return json.dumps({"layers": layers, "host": host, "totals": totals}, indent=1).encode()


def _peak(linked: Linked, *, on_scratchpad: bool) -> int:
    """The most rows of one memory that a layer writes."""
    return max((len(_rows(s.ops, on_scratchpad)) for s in linked.sections), default=0)


def _rows(ops: Iterable[Op], on_scratchpad: bool) -> set[int]:
    rows: set[int] = set()
    for op, counts in _nested(ops, {}):
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
    ops: Iterable[Op], counts: Mapping[Value, int]
) -> Iterator[tuple[Op, Mapping[Value, int]]]:
    """Every op with the trip counts of the loops around it."""
    for op in ops:
        if isinstance(op, For):
            inner = {**counts, op.body.args[0]: op.count}
            yield from _nested(op.body, inner)
        else:
            yield op, counts
