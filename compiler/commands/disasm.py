"""`mcc disasm`: the accelerator program of an artifact as assembly."""

from pathlib import Path

import click

from .output import json_option, print_json


@click.command("disasm")
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--layer", help="Only the commands of this layer (a name from `mcc info`).")
@click.option("--limit", type=int, default=None, help="At most this many commands.")
@json_option
def command(artifact: Path, layer: str | None, limit: int | None, as_json: bool) -> None:
    """Print the commands of ARTIFACT, one a line, layer by layer.

    Lines starting with `#` name the layer and its ONNX nodes; the text without them assembles to
    the same commands.
    """
    from mcc.runtime import Program, load
    from mcc.runtime.isa import disassemble

    program = Program.from_artifact(load(artifact))
    layers = program.layers_named(layer)
    record: list[dict[str, object]] = []
    left = limit if limit is not None else len(program.commands)
    for item in layers:
        commands = program.commands[item.start : item.stop][: max(left, 0)]
        left -= len(commands)
        text = disassemble(commands)
        if as_json:
            record.append(
                {"layer": item.tensor, "nodes": list(item.nodes), "commands": text.splitlines()}
            )
            continue
        click.echo(f"# {item.tensor}: commands {item.start}..{item.stop - 1}")
        click.echo(text, nl=not text.endswith("\n"))
    if as_json:
        print_json(record)
