"""What compiled code needs of the processor, and whether this one has it."""

import ctypes
import os
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from mcc.ir import UserError

_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA = 158, 0x1023, 18
"""Linux on x86-64: the system call, ARCH_REQ_XCOMP_PERM, and the state component."""


class Processor(BaseModel):
    """What the code was compiled for."""

    model_config = ConfigDict(frozen=True)

    triple: str
    cpu: str
    flags: tuple[str, ...]
    """Flags that /proc/cpuinfo must show."""

    @property
    def uses_tiles(self) -> bool:
        """Whether the code multiplies in tile registers (AMX)."""
        return "amx_tile" in self.flags


def check_processor(wanted: Processor) -> None:
    """Raise a `UserError` unless this processor has what the code would crash without."""
    architecture = wanted.triple.split("-")[0]
    if os.uname().machine not in (architecture, {"x86_64": "amd64"}.get(architecture)):
        raise UserError(
            f"the model was compiled for {architecture}, this machine is {os.uname().machine}",
            remedy="compile it for this machine: mcc MODEL --target cpu",
        )
    missing = sorted(set(wanted.flags) - processor_flags())
    if missing:
        raise UserError(
            f"the model was compiled for {wanted.cpu or wanted.triple}; this processor lacks "
            + ", ".join(missing),
            remedy="compile it on this machine, or for a target file whose [host] cpu is older",
        )


def permit_tiles() -> None:
    """Ask Linux for the tile registers, which a process may not touch unasked.

    Raises:
        UserError: Where it refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA):
        raise UserError(
            f"Linux does not let this process use AMX ({os.strerror(ctypes.get_errno())})",
            remedy='compile for a target file with [host] features = ["-amx-tile"]',
        )


@cache
def processor_flags() -> frozenset[str]:
    """The instruction sets that Linux reports of this processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
        if name.strip() == "isa":  # RISC-V: rv64imafdcv_zicsr_...
            letters, *others = value.strip().split("_")
            return frozenset([*letters.removeprefix("rv64"), *others])
    return frozenset()
