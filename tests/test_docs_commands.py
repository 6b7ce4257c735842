"""The commands that the pages show run, and print what the pages say they print.

Numbers are left out of the comparison: they are measured, and change with the compiler.
"""

import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest

from mcc.cli import run
from mcc.passes import PASSES

PAGES = ("README.md", *(f"docs/{name}.md" for name in ("cli", "profiling", "riscv", "cpu")))
NEEDS = {"--roofline": "matplotlib", "asm": "ziglang", "elf": "ziglang", "--elf": "unicorn"}
"""Packages of extras, by what on a command line needs them."""


@dataclass(frozen=True)
class Shown:
    """A command of a page, and the lines below it that it prints (`…` stands for any)."""

    command: str
    lines: tuple[str, ...]


def blocks_of(page: Path) -> list[list[str]]:
    """The lines of a page's blocks that are in no language: fenced, or indented by four."""
    pattern = r"^```(\w*)\n(.*?)^```$|((?:^    [^\n]+\n)+)"
    found = re.finditer(pattern, page.read_text(), re.MULTILINE | re.DOTALL)
    return [
        (block[2] or re.sub("^    ", "", block[3], flags=re.MULTILINE)).splitlines()
        for block in found
        if not block[1]
    ]


def shown_in(page: Path) -> list[Shown]:
    """The commands of a page; behind one that begins with `$` stands what it prints."""
    found: list[Shown] = []
    for lines in blocks_of(page):
        starts = [i for i, line in enumerate(lines) if re.match(r"(\$ )?mcc (?!self-test)", line)]
        for start, stop in pairwise([*starts, len(lines)]):
            command = lines[start].removeprefix("$ ")
            output = lines[start + 1 : stop] if command != lines[start] else []
            found.append(Shown(command, tuple(output)))
    return found


def plain(line: str) -> str:
    """A line without what changes from one version to the next: numbers, and how wide they are."""
    return re.sub(r"\s+", " ", re.sub(r"\d[\d,.]*", "#", line)).strip()


@pytest.fixture
def folder(examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a reader stands: beside the examples, with files called as on the pages."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(examples, tmp_path / "examples")
    for name in ("model", "resnet8", "digits"):
        shutil.copy(examples / "digits.onnx", f"{name}.onnx")
    shutil.copy(examples / "digits_samples.npz", "samples.npz")
    shutil.copy(examples / "my_pass.py", "my_pass.py")
    for name in ("model", "module"):
        assert run(["model.onnx", "--emit", "optimized", "-o", f"{name}.mir"]) == 0
    for name in ("model.mcc", "resnet8.mcc"):
        assert run(["model.onnx", "--target", "riscv-accel", "-o", name]) == 0
    yield tmp_path
    PASSES.pop("fuse-relu", None)  # of my_pass.py


@pytest.mark.parametrize("page", [*PAGES, "docs/writing_passes.md"])
def test_what_a_page_shows_is_so(
    repository: Path, folder: Path, page: str, capsys: pytest.CaptureFixture[str]
) -> None:
    items = shown_in(repository / page)
    assert items
    for item in items:
        words = shlex.split(item.command, comments=True)[1:]
        missing = [NEEDS[word] for word in words if word in NEEDS and not find_spec(NEEDS[word])]
        if missing:
            continue
        if "resnet8.elf" in words:
            assert run(["model.onnx", "--target=gemmini", "--emit=elf", "-o", "resnet8.elf"]) == 0
        capsys.readouterr()
        assert run(words) == 0, (item.command, capsys.readouterr().err)
        printed = iter([plain(line) for line in capsys.readouterr().out.splitlines()])
        for line in filter(None, map(plain, item.lines)):
            assert line == "…" or line in printed, f"{item.command} does not print: {line}"


def test_pages_show_commands_with_their_output(repository: Path) -> None:
    shown = [item for page in PAGES for item in shown_in(repository / page)]
    assert sum(len(item.lines) for item in shown) > 20
