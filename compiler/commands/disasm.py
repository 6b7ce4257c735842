"""`mcc disasm`: the accelerator program of an artifact as assembly."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .output import json_option, print_json

if TYPE_CHECKING:
    from mcc.runtime import LayerRecord, Program


@click.command("disasm")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option(
    "--layer", metavar="NAME", help="Only this layer, by its name in `mcc info`.  [default: all]"
)
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(1),
    help="Print at most this many commands.  [default: all]",
)
@click.option(
    "--counted-out", is_flag=True, help="What a command queue makes of its records, loops and all."
)
@json_option
def command(
    artifact: Path, layer: str | None, limit: int | None, counted_out: bool, as_json: bool
) -> None:
    """Print the commands of ARTIFACT, one a line, layer by layer.

    Lines starting with `#` name the layer and its ONNX nodes; the text without them assembles to
    the same commands. Of a machine that fetches its commands itself the records of its queue are
    shown: loops are indented, and behind a command stands what a turn adds to its fields.
    """
    from mcc.runtime import Program, load

    program = Program.from_artifact(load(artifact))
    layers = program.layers_named(layer)
    record: list[dict[str, object]] = []
    left = limit
    for item in layers:
        if left == 0:
            break
        lines = _lines(program, item, counted_out)
        if left is not None:
            lines = lines[:left]
            left -= len(lines)
        if as_json:
            record.append({"layer": item.tensor, "nodes": list(item.nodes), "commands": lines})
            continue
        click.echo(f"# {item.tensor}: {_where(item)}")
        click.echo("".join(f"{line}\n" for line in lines), nl=False)
    if as_json:
        print_json(record)


def _where(layer: "LayerRecord") -> str:
    if layer.start == layer.stop:
        where = "no command of its own"
    else:
        where = f"commands {layer.start}..{layer.stop - 1}"
        if layer.records:
            where += f", {layer.records[1]} records at {layer.records[0]:#x}"
    return f"{where}, from {', '.join(layer.nodes)}" if layer.nodes else where


def _lines(program: "Program", layer: "LayerRecord", counted_out: bool) -> list[str]:
    from mcc.runtime.isa import disassemble, list_records

    if layer.records and not counted_out:
        return list_records(program.records_of(layer))
    return disassemble(program.commands[layer.start : layer.stop]).splitlines()
