"""What people read after a command: summaries, tables, explanations."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TypedDict, cast

import click

from mcc.ir import Constant, Module, Tensor, UserError
from mcc.ops import Conv, Matmul
from mcc.passes import PASSES, PassRun, pass_named
from mcc.runtime import Artifact

from .commands.output import counted, print_facts, print_table, size

Record = dict[str, object]


class PassRow(TypedDict):
    """A pass in the catalogue."""

    name: str
    summary: str
    options: dict[str, str]


class PortRow(TypedDict):
    """An input or output of a module."""

    name: str
    type: str


class ModuleRecord(TypedDict):
    """What `mcc info` shows of a module."""

    facts: dict[str, str | int]
    inputs: list[PortRow]
    outputs: list[PortRow]
    ops: dict[str, int]


def artifact_record(artifact: Artifact, path: Path) -> Record:
    """An artifact as data: what `mcc compile --json` and `mcc info --json` print."""
    manifest = artifact.manifest
    report: Record = {}
    if "report.json" in artifact.members:
        try:
            report = json.loads(artifact.members["report.json"])
        except ValueError as error:
            raise UserError(
                f"is damaged: {error}", where="report.json", remedy="compile the model again"
            ) from None
    return {
        "artifact": str(path),
        "bytes": sum(len(data) for data in artifact.members.values()),
        "model": manifest.model,
        "target": artifact.target.name,
        "options": manifest.options,
        "inputs": [port.model_dump(exclude_none=True) for port in manifest.inputs],
        "outputs": [port.model_dump(exclude_none=True) for port in manifest.outputs],
        **report,
    }


def print_summary(record: Mapping[str, object], verbose: int = 0, *, verb: str = "wrote ") -> None:
    """The page that ends a compilation, and (with another verb) that shows an artifact."""
    click.echo(f"{record['model']} for {record['target']}: {verb}{record['artifact']}")
    layers = cast("list[Record]", record.get("layers", []))
    if layers and verbose:
        columns = [key for key in LAYER_COLUMNS if any(key in layer for layer in layers)]
        if len({layer.get("kind") for layer in layers}) == 1 and "kind" in columns:
            columns.remove("kind")
        rows = [[_cell(key, layer.get(key)) for key in columns] for layer in layers]
        print_table("", [LAYER_COLUMNS[key] for key in columns], rows, wide=("name",))
    totals = cast("Record", record.get("totals", {}))
    facts: Record = {}
    if layers:
        facts["layers"] = len(layers)
    for key, value in totals.items():
        facts[LABELS.get(key, key.replace("_", " "))] = _cell(key, value)
    print_facts(facts)
    host = cast("list[Record]", record.get("host", []))
    if host:
        click.echo("  on the host:")
        for (op, reason), items in _grouped_host(host).items():
            click.echo(f"    {op} ({_joined(items)}): {reason}")


LAYER_COLUMNS = {
    "name": "name",
    "kind": "kind",
    "macs": "MACs",
    "commands": "commands",
    "cycles": "cycles",
    "utilisation": "array",
    "bytes_in": "in",
    "bytes_out": "out",
    "bound": "bound by",
}
"""What is shown of a layer, and the column's head: short, for 80 columns of terminal."""
LABELS = {
    "macs": "MACs",
    "weight_bytes": "weights",
    "queue_bytes": "command queue",
    "cycles": "estimated cycles",
    "utilisation": "array utilisation",
    "scratchpad_peak": "scratchpad peak",
    "accumulator_peak": "accumulator peak",
    "dram_peak": "DRAM peak",
    "dram_bound": "DRAM lower bound",
    "memory_peak": "memory peak",
    "memory_bound": "memory lower bound",
}
BYTES = {
    "bytes_in",
    "bytes_out",
    "weight_bytes",
    "queue_bytes",
    "scratchpad_peak",
    "accumulator_peak",
    "dram_peak",
    "dram_bound",
    "memory_peak",
    "memory_bound",
    "library_bytes",
}


def _cell(key: str, value: object) -> object:
    if key == "utilisation" and isinstance(value, float | int):
        return f"{100 * value:.1f} %"
    if key in BYTES and isinstance(value, int):
        return size(value)
    return value


def _grouped_host(host: Sequence[Record]) -> dict[tuple[str, str], list[str]]:
    groups: dict[tuple[str, str], list[str]] = {}
    for item in host:
        key = (str(item["op"]), str(item["reason"]))
        nodes = cast("list[str]", item.get("nodes") or ["unnamed"])
        groups.setdefault(key, []).append(str(item.get("name") or nodes[0]))
    return groups


def _joined(names: Sequence[str], limit: int = 4) -> str:
    text = ", ".join(names[:limit])
    return text if len(names) <= limit else f"{text} and {len(names) - limit} more"


def pass_rows(runs: Iterable[PassRun]) -> list[Record]:
    """Each pass's time and effect."""
    return [
        {
            "pass": str(run.step),
            "milliseconds": round(1e3 * run.seconds, 2),
            "ops_before": run.ops_before,
            "ops_after": run.ops_after,
            "rewrites": run.rewrites,
        }
        for run in runs
    ]


def print_timing(runs: Sequence[PassRun]) -> None:
    """The table of `--timing`."""
    rows = [list(row.values()) for row in pass_rows(runs)]
    print_table(
        "passes", ("pass", "ms", "ops before", "ops after", "rewrites"), rows, wide=("pass",)
    )
    click.echo(f"total {1e3 * sum(run.seconds for run in runs):.1f} ms")


def explanation(runs: Iterable[PassRun], name: str) -> list[Record]:
    """What the passes called `name` did and declined."""
    return [
        {
            "pass": str(run.step),
            "fired": dict(run.fired),
            "declined": [
                {
                    "rule": item.rule,
                    "op": item.op,
                    "count": item.count,
                    "reason": item.reason,
                    "nodes": list(item.nodes),
                }
                for item in run.declined
            ],
        }
        for run in runs
        if run.step.name == name
    ]


def print_explanation(runs: Iterable[PassRun], name: str, *, err: bool = False) -> None:
    """The text of `--explain`."""
    found = explanation(runs, name)
    if not found:
        click.echo(f"pass {name} did not run", err=err)
    for entry in found:
        click.echo(f"{entry['pass']}:", err=err)
        fired = cast("Mapping[str, int]", entry["fired"])
        for rule, count in fired.items():
            click.echo(f"  {rule}: {counted(count, 'time')}", err=err)
        if not fired:
            click.echo("  nothing to do", err=err)
        for item in cast("list[Record]", entry["declined"]):
            nodes = _joined(cast("list[str]", item["nodes"]))
            place = f" [{nodes}]" if nodes else ""
            click.echo(
                f"  not {item['rule']} on {item['count']} {item['op']}: {item['reason']}{place}",
                err=err,
            )


def pass_catalogue(name: str | None = None) -> list[PassRow]:
    """The passes with their one-line summaries and options."""
    classes = [pass_named(name)] if name is not None else [PASSES[key] for key in sorted(PASSES)]
    rows: list[PassRow] = []
    for cls in classes:
        lines = (cls.__doc__ or "").strip().splitlines()
        options = {
            field.name: "required" if field.default is MISSING else repr(field.default)
            for field in fields(cls)
            if field.repr
        }
        summary = lines[0] if lines else ""
        rows.append(PassRow(name=cls.name, summary=summary, options=options))
    return rows


def module_record(module: Module) -> ModuleRecord:
    """A module as data."""
    weights = [op.data.array for op in module.ops() if isinstance(op, Constant)]
    kinds = Counter(op.op_name for op in module.ops())
    macs = sum(op.macs for op in module.ops() if isinstance(op, Conv | Matmul) and _static(op))
    return ModuleRecord(
        facts={
            "module": module.name,
            **module.meta,
            "ops": sum(kinds.values()),
            "parameters": sum(array.size for array in weights),
            "MACs": macs,
        },
        inputs=[PortRow(name=value.name, type=str(value.type)) for value in module.inputs],
        outputs=[
            PortRow(name=name, type=str(value.type))
            for name, value in zip(module.output_names, module.outputs, strict=True)
        ],
        ops=dict(kinds.most_common()),
    )


def _static(op: Conv | Matmul) -> bool:
    return all(
        isinstance(dim, int)
        for value in (*op.operands, *op.results)
        if isinstance(value.type, Tensor)
        for dim in value.type.shape
    )


__all__ = [
    "artifact_record",
    "explanation",
    "module_record",
    "pass_catalogue",
    "pass_rows",
    "print_explanation",
    "print_summary",
    "print_timing",
]
