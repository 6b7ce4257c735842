"""docs/passes.md and docs/writing_passes.md say what the code does."""

import inspect
from dataclasses import fields
from pathlib import Path

from mcc.passes import PASSES, Pass, format_passes, option_types, pipeline, type_text

START, END = "<!-- passes: from their docstrings -->", "<!-- end -->"


def section(pass_class: type[Pass]) -> str:
    """What the page says of one pass: its docstring, and its options with their defaults."""
    summary, _, rest = (inspect.getdoc(pass_class) or "").partition("\n\n")
    lines = [f"### {pass_class.name}", "", f"    {summary}"]
    body, _, _ = rest.partition("\n\nRaises:")
    if body:
        lines += ["", body]
    kinds = option_types(pass_class)
    if kinds:
        lines += ["", "Options:", ""]
        lines += [
            f"* `{field.name}`: {type_text(kinds[field.name])}; {default(field.default)}"
            for field in fields(pass_class)
        ]
    return "\n".join(lines)


def default(value: object) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}` by default"
    return f"`{value}` by default" if value not in ("", None) else "none by default"


def page() -> str:
    """The generated part of docs/passes.md: the passes of mcc by name."""
    ours = [
        item
        for item in PASSES.values()
        # Quantization has a page of its own.
        if item.__module__.startswith("mcc.passes.") and "quantization" not in item.__module__
    ]
    return "\n\n".join(section(item) for item in sorted(ours, key=lambda item: item.name))


def test_the_page_describes_every_pass(repository: Path) -> None:
    text = (repository / "docs" / "passes.md").read_text()
    written = text.partition(START)[2].partition(END)[0].strip()
    assert written == page(), f"put this between the marks of docs/passes.md:\n\n{page()}"


def test_the_page_lists_the_levels(repository: Path) -> None:
    text = (repository / "docs" / "passes.md").read_text()
    for level in (1, 2, 3):
        assert f"    {format_passes(pipeline(level))}\n" in text.replace("\\\n    ", ""), level


def test_the_example_is_the_one_that_ships(repository: Path) -> None:
    text = (repository / "docs" / "writing_passes.md").read_text()
    assert (repository / "examples" / "my_pass.py").read_text() in text
