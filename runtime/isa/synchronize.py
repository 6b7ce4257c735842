"""Flush, the event counters, and the host's fence."""

from typing import TYPE_CHECKING

from .encoding import Instruction, integer

if TYPE_CHECKING:
    from .state import State


class Flush(Instruction, mnemonic="flush", funct7=7):
    """Flushes the address translation buffer. Without effect on data."""

    skip: int = integer("rs1", 0, 0, default=0)

    def execute(self, state: "State") -> None:
        pass


class Counter(Instruction, mnemonic="counter", funct7=126):
    """Configures or reads a counter of events. Without effect on data; the model counts nothing."""

    reset: int = integer("rs1", 0, 0, default=0)
    reset_snapshot: int = integer("rs1", 1, 1, default=0)
    take_snapshot: int = integer("rs1", 2, 2, default=0)
    configure: int = integer("rs1", 3, 3, default=0)
    index: int = integer("rs1", 6, 4, default=0)
    event: int = integer("rs1", 17, 12, default=0)
    external: int = integer("rs1", 31, 31, default=0)

    def execute(self, state: "State") -> None:
        pass


class Fence(Instruction, mnemonic="fence", funct7=127):
    """The host waits until the accelerator is idle and its stores are in DRAM.

    A pseudo command: code for a host holds the RISC-V instruction `fence` in its place. It must
    stand between a move-out and a move-in of the same DRAM bytes.
    """

    def execute(self, state: "State") -> None:
        pass  # here every command takes effect before the next
