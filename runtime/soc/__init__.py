"""The system on a chip in software: a core, the accelerator and a console run an ELF program."""

from .elf import Elf, Segment
from .machine import SocResult, run_elf

__all__ = ["Elf", "Segment", "SocResult", "run_elf"]
