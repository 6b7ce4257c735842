"""The system on a chip in software: a core, the accelerator and a console run an ELF program."""

from .elf import NOTE_OWNER, NOTE_TARGET, Elf, Segment
from .machine import SocResult, run_elf

__all__ = ["NOTE_OWNER", "NOTE_TARGET", "Elf", "Segment", "SocResult", "run_elf"]
