"""What commands print on a terminal: tables at any width, bars for long steps."""

import io
import sys

import pytest

from mcc.commands.output import duration, print_table, progress_bar, shown, size


class Terminal(io.StringIO):
    """Takes text as a terminal would."""

    def isatty(self) -> bool:
        return True


def watched(monkeypatch: pytest.MonkeyPatch, columns: int) -> Terminal:
    """A terminal of so many columns in the place of standard output and error."""
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    return screen


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_no_number_is_cut(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    terminal = watched(monkeypatch, columns)
    names = [f"/features/block{i}/a-long-name/Conv" for i in range(3)]
    heads = ["layer", *(f"column {i}" for i in range(7))]
    rows = [[name, *(f"{i * 111_111:,}" for i in range(1, 8))] for name in names]
    print_table("", heads, rows, wide=("layer",))
    text = terminal.getvalue()
    for row in rows:
        for cell in row[1:]:
            assert text.count(f" {cell}") == len(rows)
    assert "column 6" in text
    folded = "".join(line.split(" ")[0] for line in text.splitlines()[1:])
    assert folded == "".join(names)


def test_a_table_that_fits_has_its_own_width(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = watched(monkeypatch, 80)
    print_table("", ("name", "size", "count"), [("a", "1.0 KiB", 1234), ("bc", "20 B", 5)])
    assert terminal.getvalue().splitlines()[1:] == [
        "a     1.0 KiB  1,234",
        "bc       20 B      5",
    ]


def test_long_steps_have_bars_and_unknown_ones_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = watched(monkeypatch, 80)
    with progress_bar() as progress:
        progress("quantize", 0, 0)
        progress("calibrating", 1, 4)
        progress("accel-tile", 0, 0)
    text = terminal.getvalue()
    assert "calibrating" in text
    assert " 25%" in text
    assert "accel-tile" in text


def test_nobody_watches_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    with progress_bar() as progress:
        progress("calibrating", 1, 4)
    assert not file.getvalue()


def test_units_are_those_that_people_read() -> None:
    assert [duration(each) for each in (0.00731, 12.34, 4321.0)] == ["7.31 µs", "12.3 ms", "4.32 s"]
    assert [size(each) for each in (10, 2048, 3 << 20, 5 << 30)] == [
        "10 B",
        "2.0 KiB",
        "3.0 MiB",
        "5.0 GiB",
    ]
    assert [shown(each) for each in (1234567, 0.123456, True, None)] == [
        "1,234,567",
        "0.1235",
        "true",
        "",
    ]
