"""Reading a RISC-V ELF executable: what to load where, and its symbols.

The structures are those of the System V ABI, «Object files», for 64-bit little-endian files.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from mcc.ir import UserError

_RISCV = 243
_LOAD, _SYMBOLS, _CODE_FLAG = 1, 2, 1
_FLOAT_ABI = 0x6


@dataclass(frozen=True)
class Segment:
    """Bytes that are loaded at an address, zeros behind them up to `size`."""

    address: int
    content: bytes
    size: int
    executable: bool


@dataclass(frozen=True)
class Elf:
    """One executable file."""

    content: bytes
    entry: int
    flags: int

    @classmethod
    def read(cls, content: bytes, where: str = "") -> "Elf":
        """Check the header. `UserError` for anything but a 64-bit RISC-V executable."""
        if len(content) < 64 or content[:4] != b"\x7fELF":
            raise UserError("not an ELF file", where=where)
        machine = struct.unpack_from("<H", content, 18)[0]
        if content[4:6] != b"\x02\x01" or machine != _RISCV:
            raise UserError("not a 64-bit RISC-V ELF file", where=where)
        entry, flags = (
            struct.unpack_from("<Q", content, 24)[0],
            struct.unpack_from("<I", content, 48)[0],
        )
        return cls(content, entry, flags)

    @property
    def float_abi(self) -> bool:
        """Whether floats are passed in floating-point registers."""
        return bool(self.flags & _FLOAT_ABI)

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The loadable segments."""
        start, size, count = self._table(32, 54)
        found: list[Segment] = []
        for index in range(count):
            kind, flags, offset, _, address, filed, sized, _ = struct.unpack_from(
                "<IIQQQQQQ", self.content, start + index * size
            )
            if kind == _LOAD and sized:
                content = self.content[offset : offset + filed]
                found.append(Segment(address, content, sized, bool(flags & _CODE_FLAG)))
        return tuple(found)

    @cached_property
    def symbols(self) -> dict[str, int]:
        """Addresses by name."""
        start, size, count = self._table(40, 58)
        sections = [
            struct.unpack_from("<IIQQQQIIQQ", self.content, start + index * size)
            for index in range(count)
        ]
        found: dict[str, int] = {}
        for section in sections:
            if section[1] != _SYMBOLS:
                continue
            names = sections[section[6]][4]
            for offset in range(section[4], section[4] + section[5], 24):
                name, _, _, _, value, _ = struct.unpack_from("<IBBHQQ", self.content, offset)
                text = self.content[names + name : self.content.index(b"\0", names + name)]
                if text and not text.startswith(b"."):  # the assembler's own
                    found[text.decode(errors="replace")] = value
        return found

    def near(self, address: int) -> str:
        """`function+0x12` for an address of code, or the address."""
        before = [(value, name) for name, value in self.symbols.items() if value <= address]
        if not before:
            return f"{address:#x}"
        value, name = max(before)
        return f"{address:#x} ({name}+{address - value:#x})"

    def instructions(self) -> Iterator[tuple[int, int]]:
        """Address and 32 bits at every possible start of an uncompressed instruction."""
        for segment in self.segments:
            if not segment.executable:
                continue
            content = segment.content
            for offset in range(0, len(content) - 3, 2):
                word = int.from_bytes(content[offset : offset + 4], "little")
                if word & 3 == 3:
                    yield segment.address + offset, word

    def _table(self, offset_at: int, size_at: int) -> tuple[int, int, int]:
        """Offset, entry size and count of the program or section headers."""
        (start,) = struct.unpack_from("<Q", self.content, offset_at)
        size, count = struct.unpack_from("<HH", self.content, size_at)
        if start + size * count > len(self.content):
            raise UserError("a damaged ELF file: its tables lie outside it")
        return start, size, count
