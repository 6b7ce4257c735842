"""Tables of measurements: printed, and kept in docs/results.md with machine, versions and date."""

import argparse
import json
import os
import platform
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "docs" / "results.md"
ZOO = REPOSITORY.parent / "shared" / "zoo"
PACKAGES = ("numpy", "onnx", "onnxruntime", "apache-tvm", "numba")

Cell = str | int | float | bool | None


@dataclass
class Table:
    """One section of docs/results.md."""

    key: str
    """The marker in the file; the script's name, and a part where it makes several tables."""
    title: str
    script: str
    """The command that makes it."""
    columns: Sequence[str]
    rows: list[Sequence[Cell]] = field(default_factory=list[Sequence[Cell]])
    notes: list[str] = field(default_factory=list[str])
    timed: bool = False
    """Whether the numbers are those of one machine: each kind of processor has its own section."""

    @property
    def marker(self) -> str:
        return f"{self.key} {processor()}" if self.timed else self.key

    def markdown(self) -> str:
        lines = [
            f"<!-- {self.marker} -->",
            f"## {self.title}{f', {processor()}' if self.timed else ''}",
            "",
            f"`{self.script}`, {datetime.now(UTC):%Y-%m-%d}, {machine()}, {versions()}",
            "",
            f"| {' | '.join(self.columns)} |",
            f"|{' --- |' * len(self.columns)}",
            *(f"| {' | '.join(shown(cell) for cell in row)} |" for row in self.rows),
            "",
            *(f"* {note}" for note in self.notes),
        ]
        return "\n".join(lines).rstrip() + f"\n<!-- end {self.marker} -->\n"

    def record(self) -> dict[str, object]:
        named = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return {"key": self.key, "rows": named, "notes": self.notes}


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that every script has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/results.md")
    return parser


def finish(tables: Sequence[Table], options: argparse.Namespace) -> None:
    """Print the tables, and write them where asked."""
    if options.json:
        print(json.dumps([table.record() for table in tables], indent=1))
    else:
        for table in tables:
            print(table.markdown())
    if options.write:
        for table in tables:
            write(table)


def write(table: Table) -> None:
    """Put a section into docs/results.md, in the place of its older self, or behind its like."""
    text = RESULTS.read_text() if RESULTS.exists() else "# Measured\n"
    start, end = f"<!-- {table.marker} -->", f"<!-- end {table.marker} -->\n"
    alike = list(re.finditer(rf"<!-- end {table.key} \S+ -->\n", text)) if table.timed else []
    if start in text:
        head, _, rest = text.partition(start)
        text = head + table.markdown() + rest.partition(end)[2]
    elif alike:
        behind = alike[-1].end()
        text = f"{text[:behind]}\n{table.markdown()}{text[behind:]}"
    else:
        text = text.rstrip() + "\n\n" + table.markdown()
    RESULTS.write_text(text)


@cache
def processor() -> str:
    """LLVM's name for this machine's kind of processor."""
    import tvm

    codegen: Any = tvm.target.codegen
    return str(codegen.llvm_get_system_cpu())


def machine() -> str:
    """The processor and the number of cores that the process may use."""
    name = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return f"{name}, {len(os.sched_getaffinity(0))} cores"


def versions() -> str:
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def shown(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:.4g}" if isinstance(cell, float) else cell


def zoo_evaluator() -> Any:
    """The zoo's own scorer as a module; exits where the zoo is absent."""
    if not ZOO.exists():
        sys.exit(f"needs the model zoo at {ZOO}")
    sys.path.insert(0, str(ZOO))
    import importlib

    return importlib.import_module("eval")


def zoo_calibration(name: str, folder: str) -> str:
    """The zoo's calibration inputs of a model, none of which is scored, as an .npz in `folder`."""
    import numpy as np

    feeds = zoo_evaluator().calib_feeds(name)
    path = f"{folder}/{name}.npz"
    save: Callable[..., None] = np.savez
    save(path, **{key: np.concatenate([feed[key] for feed in feeds]) for key in feeds[0]})
    return path
