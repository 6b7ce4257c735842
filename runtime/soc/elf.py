"""Reading a RISC-V ELF executable: what to load where, its symbols, and the machine it is for.

The structures are those of the System V ABI, «Object files», for 64-bit little-endian files.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from mcc.ir import UserError

_RISCV = 243
_LOAD, _SYMBOLS, _NOTE, _CODE_FLAG = 1, 2, 7, 1
_FLOAT_ABI = 0x6
NOTE_OWNER = "mcc"
"""Owner of the note (`.note.mcc`) whose text is the name of the target."""
NOTE_TARGET = 1
"""The type of that note."""


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
        sections = self._sections
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

    @cached_property
    def target(self) -> str | None:
        """The name of the target that mcc built the program for, from its note."""
        for section in self._sections:
            if section[1] != _NOTE or section[5] < 12:
                continue
            owner, length, kind = struct.unpack_from("<III", self.content, section[4])
            start = section[4] + 12
            name = self.content[start : start + owner].rstrip(b"\0")
            if name == NOTE_OWNER.encode() and kind == NOTE_TARGET:
                text = start + -(-owner // 4) * 4
                return self.content[text : text + length].rstrip(b"\0").decode(errors="replace")
        return None

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

    @cached_property
    def _sections(self) -> list[tuple[int, ...]]:
        start, size, count = self._table(40, 58)
        return [
            struct.unpack_from("<IIQQQQIIQQ", self.content, start + index * size)
            for index in range(count)
        ]

    def _table(self, offset_at: int, size_at: int) -> tuple[int, int, int]:
        """Offset, entry size and count of the program or section headers."""
        (start,) = struct.unpack_from("<Q", self.content, offset_at)
        size, count = struct.unpack_from("<HH", self.content, size_at)
        if start + size * count > len(self.content):
            raise UserError("a damaged ELF file: its tables lie outside it")
        return start, size, count
