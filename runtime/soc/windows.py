"""Devices behind mapped registers: the accelerator without RoCC, a UART, a test device."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .accelerator import Attached
    from .core import Core

RS1, RS2, COMMAND, STATUS = 0x00, 0x08, 0x10, 0x18
"""Offsets of the accelerator's registers, 64 bits each (docs/riscv.md)."""


class Registers:
    """The accelerator's window: operands, command, status."""

    def __init__(
        self,
        accelerator: "Attached",
        retired: Callable[[], int],
        pc: Callable[[], int],
        guard: Callable[[Callable[[], None]], None],
    ) -> None:
        self._accelerator = accelerator
        self._retired = retired
        self._pc = pc
        self._guard = guard
        # Accesses may come in halves, the lower one first.
        self._bytes = bytearray(STATUS + 8)

    def attach(self, core: "Core", base: int) -> None:
        """Map the window at `base`."""
        core.map_registers(base, self._read, self._write)

    def _read(self, offset: int, size: int) -> int:
        if offset == STATUS:
            # Not busy: the core's poll takes the time that the accelerator still needs.
            self._guard(lambda: self._accelerator.fence(self._retired(), self._pc()))
            return 0
        return int.from_bytes(self._bytes[offset : offset + size], "little")

    def _write(self, offset: int, size: int, value: int) -> None:
        if offset + size > len(self._bytes):
            return
        value &= (1 << 8 * size) - 1
        self._bytes[offset : offset + size] = value.to_bytes(size, "little")
        if offset == COMMAND:
            rs1 = int.from_bytes(self._bytes[RS1 : RS1 + 8], "little")
            rs2 = int.from_bytes(self._bytes[RS2 : RS2 + 8], "little")
            now = self._retired(), self._pc()
            self._guard(lambda: self._accelerator.issue(value & 127, rs1, rs2, *now))


class Uart:
    """A 16550's transmitter that is always ready, and SiFive's test device."""

    def __init__(self, write: Callable[[str], None], finish: Callable[[int], None]) -> None:
        self._print = write
        self._finish = finish

    def attach(self, core: "Core", uart: int, exit: int) -> None:
        """Map both, a page each."""
        core.map_registers(uart, self._status, self._send)
        core.map_registers(exit, self._nothing, self._end)

    def _status(self, offset: int, size: int) -> int:
        del size
        return 0x60 if offset == 5 else 0

    def _send(self, offset: int, size: int, value: int) -> None:
        del size
        if offset == 0:
            self._print(chr(value & 255))

    def _nothing(self, offset: int, size: int) -> int:
        del offset, size
        return 0

    def _end(self, offset: int, size: int, value: int) -> None:
        del size
        if offset == 0 and value & 0xFFFF == 0x5555:
            self._finish(0)
        elif offset == 0 and value & 0xFFFF == 0x3333:
            self._finish(value >> 16)
