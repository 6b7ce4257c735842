"""What the commands print: tables and progress for people, JSON for programs."""

import json
import re
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mcc.ir import Progress

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
verbose_option = click.option("-v", "--verbose", count=True, help="Say more; -vv for everything.")
shape_option = click.option(
    "--shape",
    "shapes",
    metavar="NAME=1x3x32x32",
    multiple=True,
    help="The shape of an input with symbolic dimensions; once an input.",
)
load_option = click.option(
    "--load",
    "plugins",
    metavar="FILE.py",
    multiple=True,
    help="A Python file that defines passes; may be repeated.",
)
explain_option = click.option(
    "--explain", metavar="PASS", help="Show what this pass did, and why it did not do more."
)
input_option = click.option(
    "-i",
    "--input",
    "source",
    metavar="FILE|FOLDER",
    help="Inputs: an .npz, or a folder of .npy files.",
)
threads_option = click.option(
    "--threads", metavar="N", type=int, help="Threads of compiled CPU code.  [default: all cores]"
)


GAP = 2
"""Characters between two columns of a table."""
FOLDED = 20
"""What a column that may fold keeps at least."""


def print_json(record: object) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(record, indent=1, default=str))


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    wide: Sequence[str] = (),
) -> None:
    """A table on standard output; numbers stand right. `wide` names the columns that may fold.

    On a terminal too narrow for it, lines are longer than the terminal: no number is cut.
    """
    from rich.console import Console
    from rich.table import Table

    cells = [list(columns), *([shown(cell) for cell in row] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    least = [
        min(width, FOLDED) if column in wide else width
        for column, width in zip(columns, widths, strict=True)
    ]
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        numeric = all(_is_amount(row[index]) for row in rows) and bool(rows)
        table.add_column(
            column,
            justify="right" if numeric else "left",
            overflow="fold",
            no_wrap=column not in wide,
        )
    for line in cells[1:]:
        table.add_row(*line)
    console = Console(highlight=False)
    # Whoever reads from a pipe wants every word, not a terminal of 80 columns.
    room = console.width if sys.stdout.isatty() else sum(widths) + GAP * len(widths)
    console.width = max(room, sum(least) + GAP * len(least))
    with console.capture() as printed:
        console.print(table)
    for text in printed.get().splitlines():
        click.echo(text.rstrip())


def _is_amount(cell: object) -> bool:
    """A number, as such or written out, or one with its unit."""
    if isinstance(cell, str):
        number = re.sub(" ([KMG]i)?B$| %$", "", cell)
        return bool(re.fullmatch(r"[\d,]+(\.\d+)?", number))
    return isinstance(cell, int | float)


def print_facts(facts: Mapping[str, object]) -> None:
    """Name and value, one a line."""
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        click.echo(f"  {name:<{width}}  {shown(value)}")


def counted(count: int, thing: str) -> str:
    """`1 sample`, `2 samples`."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def shown(value: object) -> str:
    """A cell: integers with separators, floats with four digits."""
    if isinstance(value, bool) or value is None:
        return "" if value is None else str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)


def size(count: int) -> str:
    """Bytes in a unit that people read."""
    for unit, step in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= step:
            return f"{count / step:.1f} {unit}"
    return f"{count} B"


def duration(milliseconds: float) -> str:
    """Three digits, in the unit that people read."""
    if milliseconds < 1:
        return f"{1e3 * milliseconds:.3g} µs"
    return f"{milliseconds:.3g} ms" if milliseconds < 1e3 else f"{milliseconds / 1e3:.3g} s"


@contextmanager
def progress_bar(*, quiet: bool = False) -> Generator["Progress"]:
    """A bar on standard error for each long step; nothing where no one watches.

    Steps of unknown length (a total of 0) share one that moves and names the step.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    with Bar(console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def advance(what: str, done: int, total: int) -> None:
            line = what if total else "…"
            if line not in tasks:
                tasks[line] = bar.add_task(what, total=total or None)
            bar.update(tasks[line], description=what, completed=done, total=total or None)

        yield advance
