"""How a bare-metal program reaches its host: Berkeley's HTIF, and RISC-V semihosting."""

import struct
from collections.abc import Callable
from dataclasses import dataclass

from .core import Core

_WRITE, _EXIT, _NOT_IMPLEMENTED = 64, 93, -38
_A0, _A1 = 10, 11
_MARKS = (0x01F01013, 0x40705013)
"""The instructions before and behind the ebreak of a semihosting call."""


@dataclass(frozen=True)
class _Interface:
    core: Core
    write: Callable[[str], None]
    """Takes the program's text."""
    finish: Callable[[int], None]
    """Ends the run with an exit code."""
    guard: Callable[[Callable[[], None]], None]


@dataclass(frozen=True)
class Htif(_Interface):
    """Spike's side of `tohost` and `fromhost`: exit, characters, and the system call `write`."""

    def attach(self, tohost: int, fromhost: int) -> None:
        """Watch the two words."""

        def called(value: int) -> None:
            device, command, payload = value >> 56, value >> 48 & 255, value & ((1 << 48) - 1)
            if device == 1 and command == 1:
                self.write(chr(payload & 255))
            elif device == 0 and payload & 1:
                self.finish(payload >> 1)
            elif device == 0 and payload:
                self.guard(lambda: self._system_call(payload, fromhost))

        self.core.on_store(tohost, called)
        # By the time the program looks, the host has taken what it wrote.
        self.core.on_load(tohost, lambda: self.core.store(tohost, bytes(8)))

    def _system_call(self, place: int, fromhost: int) -> None:
        number, first, address, size = struct.unpack("<4Q", self.core.load(place, 32))
        result = _NOT_IMPLEMENTED
        if number == _WRITE:
            self.write(self.core.load(address, size).decode(errors="replace"))
            result = size
        elif number == _EXIT:
            self.finish(first & 255)
        self.core.store(place, struct.pack("<q", result))
        self.core.store(fromhost, struct.pack("<Q", 1))


@dataclass(frozen=True)
class Semihosting(_Interface):
    """RISC-V semihosting: a0 is the operation, a1 its argument."""

    def on_break(self, address: int, size: int) -> None:
        """An ebreak is about to run; one between the marks is a call."""
        del size
        around = struct.unpack("<3I", self.core.load(address - 4, 12))
        if (around[0], around[2]) == _MARKS:
            self.guard(lambda: self._call(address + 4))

    def _call(self, back: int) -> None:
        operation, argument = self.core.register(_A0), self.core.register(_A1)
        result = 0
        if operation == 3:
            self.write(self.core.load(argument, 1).decode(errors="replace"))
        elif operation == 4:
            while (letter := self.core.load(argument, 1)) != b"\0":
                self.write(letter.decode(errors="replace"))
                argument += 1
        elif operation == 0x20:
            _, code = struct.unpack("<2Q", self.core.load(argument, 16))
            self.finish(code)
        else:
            result = (1 << 64) - 1
        self.core.set_register(_A0, result)
        self.core.jump(back)
