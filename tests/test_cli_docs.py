"""docs/cli.md has every option of every command, as --help shows it."""

import re
from pathlib import Path

import click
import pytest

from mcc.cli import COMMANDS, cli

COMMON = {"--json", "--verbose", "--help"}
"""Options that stand in the page's first table, once for all commands."""


def options_of(name: str) -> dict[str, click.Option]:
    """A command's options by their long names (the short one where there is no other)."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    options = [item for item in command.params if isinstance(item, click.Option)]
    return {max(item.opts, key=len): item for item in options}


def section(repository: Path, name: str) -> str:
    """What the page says of a command: the text below the heading that names it."""
    for part in (repository / "docs" / "cli.md").read_text().split("\n## ")[1:]:
        heading, _, text = part.partition("\n")
        if name in heading.split(", "):
            return text
    pytest.fail(f"docs/cli.md has no section for {name}")


def rows(text: str) -> dict[str, str]:
    """Options by their long names, and their rows of a section's table."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        first = re.match(r"\| ((?:`-[^`]*`(?:, )?)+) \|", line)
        if first:
            found[re.findall(r"(--?[\w-]+)", first[1])[-1]] = line
    return found


def placeholder(option: click.Option) -> str:
    """What stands behind an option's name in --help."""
    if option.is_flag or option.count:
        return ""
    return option.make_metavar(click.Context(click.Command("none"))).strip("[]")


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("targets", "passes")])
def test_the_page_has_every_option(repository: Path, name: str) -> None:
    shown = {key: item for key, item in options_of(name).items() if key not in COMMON}
    written = rows(section(repository, name))
    assert sorted(written) == sorted(shown)
    for key, option in shown.items():
        short = "".join(f"`{other}`, " for other in option.opts if other != key)
        taken = placeholder(option).replace("|", "\\|")
        assert f"| {short}`{key}{' ' if taken else ''}{taken}` |" in written[key]
        if isinstance(option.default, str | int) and option.show_default:
            assert re.search(rf"[Dd]efault:? `?{option.default}\b|`?\(default\)", written[key]), key


def test_every_option_says_what_it_takes() -> None:
    for name in COMMANDS:
        for key, option in options_of(name).items():
            assert not re.fullmatch("TEXT|PATH|INTEGER.*", placeholder(option)), (name, key)
            assert option.help, (name, key)


def test_the_page_says_which_commands_have_the_common_options(repository: Path) -> None:
    text = (repository / "docs" / "cli.md").read_text()
    for option in ("--json", "--verbose"):
        having = [name for name in COMMANDS if option in options_of(name)]
        row = next(line for line in text.splitlines() if f"`{option}` |" in line)
        named = re.findall(r"`(\w+)`", row.split("|")[1])
        expected = [name for name in COMMANDS if name not in named] if "but" in row else named
        assert having == expected


def test_passes_are_loaded_as_the_page_says(repository: Path) -> None:
    assert set(options_of("targets")) == {"--json"}
    assert set(options_of("passes")) == {"--json", "--load"}
    assert "`--load FILE.py`" in section(repository, "passes")
