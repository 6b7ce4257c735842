"""`mcc passes`: the passes and their options."""

import click

from .output import json_option, load_option, print_json


@click.command("passes")
@click.argument("name", required=False)
@load_option
@json_option
def command(name: str | None, plugins: tuple[str, ...], as_json: bool) -> None:
    """List the passes, or show NAME with its options."""
    from mcc.backends import register_ops
    from mcc.passes import discover, load_plugin

    from .. import report

    register_ops()
    discover()
    for plugin in plugins:
        load_plugin(plugin)
    rows = report.pass_catalogue(name)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        click.echo(f"{row['name']}")
        click.echo(f"    {row['summary']}")
        for option, text in row["options"].items():
            click.echo(f"    {option} = {text}")
