"""Linking the compiled objects into a shared library, with whatever linker is there."""

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence

from mcc.ir import UserError

_REMEDY = (
    "Install a C compiler (`apt install gcc`), or the wheel that brings one: `pip install ziglang`."
)


def linker(*, native: bool, triple: str) -> list[str]:
    """The command to which `-shared -o library objects` is added: `cc`, else the wheel `ziglang`.

    Raises:
        UserError: Where neither is installed.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if native and compiler is not None:
        return [compiler]
    if importlib.util.find_spec("ziglang") is not None:
        command = [sys.executable, "-m", "ziglang", "cc"]
        return command if native else [*command, "-target", _zig_triple(triple)]
    why = "" if native else f" for {triple}"
    raise UserError(f"linking needs a C compiler{why}; none was found", remedy=_REMEDY)


def link_with(command: Sequence[str]) -> Callable[..., None]:
    """A function in the form in which TVM calls a linker."""

    def link(library: str, objects: Sequence[str], **options: object) -> None:
        # Symbols of libm stay open: the process that loads the library has it.
        line = [*command, "-shared", "-fPIC", "-o", library, *objects, "-lm"]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError(
                f"linking with {command[0]} failed: {done.stderr.strip()[-800:]}", remedy=_REMEDY
            )

    return link


def _zig_triple(triple: str) -> str:
    """`x86_64-conda-linux-gnu` as zig spells it: architecture, system, C library."""
    parts = triple.split("-")
    return "-".join([parts[0], *parts[-2:]])
