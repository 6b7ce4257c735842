"""`mcc run --elf`: a bare-metal RISC-V program in the bundled system on a chip."""

from dataclasses import asdict
from pathlib import Path

import click

from .output import print_json


def run_program(path: Path, target_name: str | None, *, as_json: bool) -> None:
    """Run an ELF file and show what it prints and takes; status 1 where it reports a failure.

    Without `target_name` it runs on the target that the file names.
    """
    from mcc.ir import UserError
    from mcc.runtime import load_target
    from mcc.runtime.soc import Elf, run_elf

    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=str(path)) from None
    name = target_name or Elf.read(content, str(path)).target
    if name is None:
        raise UserError(
            "does not say for which machine it was built",
            where=str(path),
            remedy="give --target, one of `mcc targets` or a target file",
        )
    target = load_target(name)

    def show(text: str) -> None:
        click.echo(text, nl=False)

    result = run_elf(content, target, output=None if as_json else show, where=str(path))
    if as_json:
        print_json({"program": str(path), "target": target.name, **asdict(result)})
    else:
        click.echo(
            f"exit {result.exit_code}: {result.instructions:,} instructions retired, "
            f"{result.cycles:,} cycles on {target.name}"
        )
        click.echo(
            f"accelerator: {result.commands:,} commands, {result.macs:,} MACs; busy "
            f"{result.load_busy:,} cycles loading, {result.array_busy:,} multiplying, "
            f"{result.store_busy:,} storing"
        )
    if result.exit_code:
        raise click.exceptions.Exit(1)
