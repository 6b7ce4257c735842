"""Compiling and linking what is C, with whatever C compiler is there."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mcc.ir import UserError

from .machine import Machine

_REMEDY = (
    "Install a C compiler (`apt install gcc`), or the wheel that brings one: `pip install ziglang`."
)
_FLAGS = ("-std=c11", "-O2", "-g0", "-fPIC", "-fno-sanitize=all", "-w")

WEIGHTS_SOURCE = """\
    .section .rodata
    .balign 64
    .globl {name}_weights
{name}_weights:
    .incbin "{file}"
    .byte 0
    .section .note.GNU-stack,"",%progbits
"""
"""Assembler for every architecture: a file's bytes as the constants of a model."""


@dataclass(frozen=True)
class Toolchain:
    """A C compiler that makes code for one kind of machine."""

    command: tuple[str, ...]
    archiver: tuple[str, ...]

    def library(self, folder: Path, files: Sequence[str]) -> Path:
        """The shared library of C, assembler and object files in `folder`."""
        # Symbols of libm stay open: the process that loads the library has it. The library's own
        # names are bound inside, whatever else the process has loaded.
        options = ("-shared", "-Wl,-Bsymbolic", "-Wl,-s", "-pthread")
        self.run(folder, [*options, *files, "-lm", "-o", "library.so"])
        return folder / "library.so"

    def object(self, folder: Path, files: Sequence[str]) -> bytes:
        """The same files as one object file."""
        self.run(folder, ["-r", "-nostdlib", *files, "-o", "whole.o"])
        return (folder / "whole.o").read_bytes()

    def archive(self, folder: Path, files: Sequence[str]) -> bytes:
        """The same files as a static library."""
        objects = [f"{number}.o" for number, _ in enumerate(files)]
        for file, name in zip(files, objects, strict=True):
            if file.endswith(".o"):
                (folder / file).rename(folder / name)
            else:
                self.run(folder, ["-c", file, "-o", name])
        self._execute(folder, [*self.archiver, "rcsD", "whole.a", *objects])
        return (folder / "whole.a").read_bytes()

    def run(self, folder: Path, arguments: Sequence[str]) -> None:
        """Run the compiler in `folder`.

        Raises:
            UserError: With the compiler's complaint, where it fails.
        """
        self._execute(folder, [*self.command, *_FLAGS, *arguments])

    def _execute(self, folder: Path, line: Sequence[str]) -> None:
        done = subprocess.run(
            line,
            cwd=folder,
            # The caches of zig's own go where the files go.
            env={**os.environ, "ZIG_LOCAL_CACHE_DIR": str(folder / "cache")},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise UserError(
                f"linking with {line[0]} failed: {done.stderr.strip()[-800:]}",
                remedy=_REMEDY,
            )


def toolchain(machine: Machine) -> Toolchain:
    """The system's compiler for machines of this kind, else the wheel `ziglang`.

    Raises:
        UserError: Where neither is installed.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    archiver = shutil.which("ar")
    if machine.native and compiler is not None and archiver is not None:
        return Toolchain((compiler,), (archiver,))
    if importlib.util.find_spec("ziglang") is not None:
        zig = (sys.executable, "-m", "ziglang")
        options = () if machine.native else ("-target", _zig_triple(machine.triple))
        return Toolchain((*zig, "cc", *options), (*zig, "ar"))
    why = "" if machine.native else f" for {machine.triple}"
    raise UserError(f"linking needs a C compiler{why}; none was found", remedy=_REMEDY)


def _zig_triple(triple: str) -> str:
    """`x86_64-conda-linux-gnu` as zig spells it: architecture, system, C library."""
    parts = triple.split("-")
    return "-".join([parts[0], *parts[-2:]])
