"""Flush and the host's fence."""

from typing import TYPE_CHECKING

from .encoding import Instruction, integer

if TYPE_CHECKING:
    from .state import State


class Flush(Instruction, mnemonic="flush", funct7=7):
    """Flushes the address translation buffer. Without effect on data."""

    skip: int = integer("rs1", 0, 0, default=0)

    def execute(self, state: "State") -> None:
        pass


class Fence(Instruction, mnemonic="fence", funct7=127):
    """The host waits until the accelerator is idle and its stores are in DRAM.

    A pseudo command: code for a host holds the RISC-V instruction `fence` in its place. It must
    stand between a move-out and a move-in of the same DRAM bytes.
    """

    def execute(self, state: "State") -> None:
        pass  # here every command takes effect before the next
