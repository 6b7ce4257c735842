"""Compilers for bare-metal RV64: zig's from PyPI, or a riscv64-unknown-elf-gcc on the path."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from mcc.ir import UserError
from mcc.runtime import Target

_COMMON = (
    "-std=c11",
    "-O2",
    "-g0",
    "-ffreestanding",
    "-fno-builtin",
    "-ffp-contract=off",
    "-fno-asynchronous-unwind-tables",
    "-ffunction-sections",
    "-mcmodel=medany",
    "-Wall",
    "-Wno-unused-function",
)
_GCC = "riscv64-unknown-elf-gcc"


@dataclass(frozen=True)
class Toolchain:
    """A compiler driver with the options that choose the target."""

    name: str
    command: tuple[str, ...]
    link: tuple[str, ...]

    def run(self, folder: Path, arguments: Sequence[str]) -> None:
        """Run in `folder`; the compiler's complaint as an error of ours."""
        environment = {**os.environ, "ZIG_LOCAL_CACHE_DIR": str(folder / "cache")}
        done = subprocess.run(
            [*self.command, *_COMMON, *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise UserError(
                f"{self.name} refuses the generated code:\n{done.stderr.strip()}",
                remedy="this is a fault of mcc or of the compiler's installation; please report it",
            )


def toolchain_for(target: Target) -> Toolchain:
    """The compiler for a target's host core.

    Raises:
        UserError: Where there is none, or the isa string is not understood.
    """
    letters = _extensions(target.host.isa)
    double, single = "d" in letters, "f" in letters
    abi = "lp64d" if double else "lp64f" if single else "lp64"
    if find_spec("ziglang") is not None:
        cpu = "generic_rv64+" + "+".join(letters)
        chosen = ["-target", "riscv64-freestanding-none", f"-mcpu={cpu}", f"-mabi={abi}"]
        if not double:
            # Zig's software floating point reaches data at 0x80000000 only when built like this.
            chosen.append("-fPIC")
        return Toolchain("zig cc", (sys.executable, "-m", "ziglang", "cc", *chosen), ())
    if (gcc := shutil.which(_GCC)) is not None:
        return Toolchain(
            _GCC,
            (gcc, f"-march={target.host.isa}", f"-mabi={abi}"),
            ("-nostartfiles", "-nostdlib", "-lgcc"),
        )
    raise UserError(
        "no RISC-V compiler is installed",
        remedy=f"pip install 'mcc-compiler[riscv]' brings one; {_GCC} on the path will do as well",
    )


def build_elf(target: Target, files: Mapping[str, str | bytes]) -> bytes:
    """Compile and link the `.c` and `.S` files among `files` into a bare-metal ELF."""
    chain = toolchain_for(target)
    with tempfile.TemporaryDirectory(prefix="mcc-elf-") as name:
        folder = Path(name)
        _write(folder, files)
        units = [file for file in files if file.endswith((".c", ".S"))]
        script = ("-static", "-Wl,--gc-sections", "-Wl,-T,link.ld", "-Wl,--build-id=none")
        chain.run(folder, [*units, *script, *chain.link, "-o", "out.elf"])
        return (folder / "out.elf").read_bytes()


def build_assembly(target: Target, files: Mapping[str, str | bytes], unit: str) -> str:
    """The assembly of one `.c` file among `files`."""
    chain = toolchain_for(target)
    with tempfile.TemporaryDirectory(prefix="mcc-asm-") as name:
        folder = Path(name)
        _write(folder, files)
        chain.run(folder, ["-S", unit, "-o", "out.s"])
        return (folder / "out.s").read_text(encoding="utf-8")


def _write(folder: Path, files: Mapping[str, str | bytes]) -> None:
    for name, content in files.items():
        raw = content.encode() if isinstance(content, str) else content
        (folder / name).write_bytes(raw)


def _extensions(isa: str) -> list[str]:
    """Single-letter extensions of `rv64gc`, `rv64imac_zicsr`, without the base."""
    match = re.fullmatch(r"rv64([a-z]+)((_[a-z0-9]+)*)", isa)
    letters = match[1].replace("g", "imafd") if match else ""
    if not letters.startswith("i") or set(letters) - set("imafdc"):
        raise UserError(
            f"the host's isa {isa!r} is not one this mcc can build for",
            remedy="give rv64 and letters of imafdc, such as rv64gc, in the target file",
        )
    return [letter for letter in letters if letter != "i"]
