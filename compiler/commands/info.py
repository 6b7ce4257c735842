"""`mcc info`: what is in a model, a module or an artifact."""

from pathlib import Path

import click

from .output import (
    json_option,
    print_facts,
    print_json,
    print_table,
    shape_option,
    size,
    verbose_option,
)


@click.command("info")
@click.argument("source", type=click.Path(path_type=Path))
@shape_option
@json_option
@verbose_option
def command(source: Path, shapes: tuple[str, ...], as_json: bool, verbose: int) -> None:
    """Show what SOURCE holds: an .onnx model, a .mir module or an .mcc artifact."""
    if source.suffix == ".mcc":
        _artifact(source, as_json, verbose)
        return
    from mcc.backends import register_ops
    from mcc.ir import load_module

    from .. import report
    from .compile import parse_shapes

    register_ops()
    if source.suffix == ".mir":
        module = load_module(source)
    else:
        from mcc.frontend import load

        module = load(source, shapes=parse_shapes(shapes))
    record = report.module_record(module)
    if as_json:
        print_json(record)
        return
    click.echo(str(source))
    print_facts(record["facts"])
    for port in record["inputs"]:
        click.echo(f"  input {port['name']}: {port['type']}")
    for port in record["outputs"]:
        click.echo(f"  output {port['name']}: {port['type']}")
    print_table("", ("op", "count"), list(record["ops"].items()))


def _artifact(source: Path, as_json: bool, verbose: int) -> None:
    from mcc.runtime import load

    from .. import report

    artifact = load(source)
    record = report.artifact_record(artifact, source)
    if as_json:
        print_json(record)
        return
    report.print_summary(record, verbose + 1, verb="")
    click.echo("members")
    print_facts({name: size(len(data)) for name, data in sorted(artifact.members.items())})
    click.echo("made with")
    print_facts(artifact.manifest.versions)
