"""The command `mcc`: subcommands imported on demand, errors as messages, exit statuses.

0 success; 1 a check failed; 2 the input or the command line is at fault; 70 our own bug.
"""

import errno
import gc
import os
import sys
from importlib import import_module

import click

COMMANDS = {
    "compile": "Compile a model to an artifact (the default).",
    "run": "Run an artifact on inputs.",
    "verify": "Hold an artifact against the evaluator, onnxruntime and the original.",
    "profile": "Show where an artifact's time goes.",
    "opt": "Run passes on IR text.",
    "disasm": "Print an artifact's accelerator program as assembly.",
    "targets": "List the machines that can be compiled for.",
    "passes": "List the passes and their options.",
    "info": "Show what is in a model, a module or an artifact.",
}

CHECK_FAILED = 1
USER_ERROR = 2
INTERNAL_ERROR = 70


class Commands(click.Group):
    """Subcommands by name; a first argument that names none is a model to compile."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"mcc.commands.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {"--help", "-h", "--version"}
        if args and args[0] not in COMMANDS and args[0] not in own:
            self._refuse_misspelled(args[0])
            args = ["compile", *args]
        return super().parse_args(ctx, args)

    def _refuse_misspelled(self, word: str) -> None:
        """A word that looks like a command, and not like a file, is meant as one."""
        from difflib import get_close_matches
        from pathlib import Path

        path = Path(word)
        if word.startswith("-") or path.suffix or len(path.parts) > 1 or path.exists():
            return
        near = get_close_matches(word, COMMANDS, 1, 0.5)
        hint = f"Did you mean {near[0]!r}?" if near else f"Commands are {', '.join(COMMANDS)}."
        raise click.UsageError(f"no command or model {word!r}. {hint}")


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    invoke_without_command=False,
)
@click.version_option(package_name="mcc-compiler", prog_name="mcc", message="%(prog)s %(version)s")
def cli() -> None:
    """Compile a trained ONNX model for a CPU or a RISC-V accelerator.

    `mcc MODEL …` is short for `mcc compile MODEL …`; `mcc COMMAND --help` tells more.
    """


def main() -> None:
    """Run the command line and exit with its status."""
    # Ops and values refer to each other and live long: by default the collector walks all of them
    # a hundred times in a large compile, for nothing.
    gc.set_threshold(100_000, 20, 100)
    # Threads of numpy's products spin while they wait for each other: where something else runs on
    # a core, calibration took four times as long as with one. numpy reads this when it is loaded.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; returns the exit status."""
    as_json = "--json" in arguments
    try:
        outcome = cli.main(arguments, prog_name="mcc", standalone_mode=False)
        return outcome if isinstance(outcome, int) else 0
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.ClickException as error:
        error.show()
        return USER_ERROR
    except (click.Abort, KeyboardInterrupt) as error:
        if isinstance(error.__cause__, EOFError):  # click takes every one for an end of typing
            return _report(error.__cause__, as_json)
        click.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:
        return 0  # whoever read our output has seen enough
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return _report(error, as_json)
        click.echo(f"error: the output cannot be written: {error.strerror}", err=True)
        return USER_ERROR
    except Exception as error:
        return _report(error, as_json)


def _shortage(error: BaseException | None) -> str:
    """What a MemoryError among an error's causes says."""
    while error is not None and not isinstance(error, MemoryError):
        error = error.__cause__
    return "" if error is None else str(error) or "Python could not allocate any more"


def _report(error: Exception, as_json: bool) -> int:
    """Show a user's mistake as one message, and our own as a traceback."""
    from mcc.ir import UserError

    if shortage := _shortage(error):
        error = UserError(
            f"not enough memory: {shortage}",
            remedy="compile for a smaller shape (--shape), or with fewer --samples",
        )
    if isinstance(error, UserError):
        if as_json:
            import json

            record = {"message": error.message, "where": error.where, "remedy": error.remedy}
            click.echo(json.dumps({"error": record}))
        click.echo(f"error: {error}", err=True)
        return USER_ERROR
    import traceback

    traceback.print_exc()
    click.echo(
        "\nThis is a bug in mcc, not in your input. Please report it with the traceback above, "
        "`mcc --version`, the command line and, if you can, the model.",
        err=True,
    )
    return INTERNAL_ERROR
