"""`mcc opt`: IR text in, passes, IR text out."""

import sys
from pathlib import Path

import click

from .output import explain_option, load_option


@click.command("opt")
@click.argument("module", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--passes",
    metavar="PIPELINE",
    default="",
    help='The passes, such as "canonicalize,dce".  [default: none]',
)
@load_option
@click.option(
    "-o",
    "--output",
    metavar="FILE.mir",
    type=click.Path(path_type=Path),
    help="Where to write the result.  [default: standard output]",
)
@explain_option
def command(
    module: Path, passes: str, plugins: tuple[str, ...], output: Path | None, explain: str | None
) -> None:
    """Run passes on MODULE, a .mir file (`-` reads standard input), and print the result."""
    from mcc import backends
    from mcc.ir import load_module, parse_verified, print_module, save_module
    from mcc.passes import PassRun, load_plugin, pass_named, pipeline_for, run_passes

    from .. import report

    backends.register_ops()
    if explain:
        pass_named(explain)
    for plugin in plugins:
        load_plugin(plugin)
    if str(module) == "-":
        source = parse_verified(sys.stdin.read(), source="<stdin>")
    else:
        source = load_module(module)
    runs: list[PassRun] = []
    result = run_passes(source, pipeline_for(passes, 0), record=runs.append)
    if output is not None:
        save_module(result, output)
    else:
        click.echo(print_module(result).text, nl=False)
    if explain:
        report.print_explanation(runs, explain, err=True)
