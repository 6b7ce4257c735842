"""`mcc targets`: the machines that can be compiled for."""

from collections.abc import Mapping
from typing import cast

import click

from .output import json_option, print_json, print_table


@click.command("targets")
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> None:
    """List the targets, or show the record of NAME (a shipped target, or a target file)."""
    from mcc.runtime import load_target, target_names

    if name is not None:
        record = load_target(name).to_dict()
        if as_json:
            print_json(record)
        else:
            if record["accelerator"] is None:
                _leave_out_what_commands_need(record)
            _print_record(record, "")
        return
    targets = [load_target(item) for item in target_names()]
    if as_json:
        print_json([target.to_dict() for target in targets])
        return
    print_table(
        "",
        ("target", "backend", "description", "extensions"),
        [
            (target.name, target.backend, target.description, ", ".join(sorted(target.extensions)))
            for target in targets
        ],
        wide=("description", "extensions"),
    )


def _leave_out_what_commands_need(record: dict[str, object]) -> None:
    """Of a CPU's record: where an accelerator's programs lie, and how its host issues commands."""
    del record["board"]
    host = cast("dict[str, object]", record["host"])
    record["host"] = {name: host[name] for name in ("isa", "triple", "cpu", "features")}


def _print_record(record: Mapping[str, object], indent: str) -> None:
    for key, value in record.items():
        if isinstance(value, dict):
            click.echo(f"{indent}{key}")
            _print_record(cast("Mapping[str, object]", value), indent + "  ")
        elif value not in (None, "", []):
            click.echo(f"{indent}{key} = {value}")
