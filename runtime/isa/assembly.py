"""Programs as text, one command a line, and back: `mvin dram=0x40 local=sp[0] cols=16 rows=16`.

A field that has its default is left out. A command that no class encodes exactly is written `raw
funct7=… rs1=… rs2=…`, so that every program survives the trip. `#` starts a comment.
"""

import struct

import numpy as np

from mcc.ir import UserError

from .encoding import COMMAND, Bits, Commands, Instruction
from .locals import format_local, parse_local
from .table import INSTRUCTIONS, decode

_BY_MNEMONIC = {instruction.mnemonic: instruction for instruction in INSTRUCTIONS}
_RAW = ("funct7", "rs1", "rs2")


def disassemble(commands: Commands) -> str:
    """The text of a program, a line a command."""
    lines: list[str] = []
    for instruction, command in zip(decode(commands), commands, strict=True):
        lines.append(_raw(command) if instruction is None else format_instruction(instruction))
    return "".join(f"{line}\n" for line in lines)


def format_instruction(instruction: Instruction) -> str:
    """One instruction as a line of assembly."""
    default = type(instruction)().fields()
    parts = [instruction.mnemonic]
    for name, value in instruction.fields().items():
        if _same(value, default[name]):
            continue
        parts.append(f"{name}={_format(instruction.bits[name], value)}")
    return " ".join(parts)


def _raw(command: np.void) -> str:
    return f"raw funct7={command['funct7']} rs1={command['rs1']:#x} rs2={command['rs2']:#x}"


def _same(value: float, default: float) -> bool:
    # By bits: -0.0 is not 0.0, and a NaN is itself.
    if isinstance(value, int):
        return value == default
    return struct.pack("<d", value) == struct.pack("<d", default)


def _format(bits: Bits, value: float) -> str:
    match bits.kind:
        case "address":
            return f"{int(value):#x}"
        case "local":
            return format_local(int(value))
        case "real":
            # The shortest decimal that reads back as the same float32; NaNs show their bits.
            return str(np.float32(value)) if value == value else _nan_bits(value)
        case _:
            return str(value)


def _nan_bits(value: float) -> str:
    return f"{int(np.asarray(value, np.float32).view(np.uint32)):#x}"


def assemble(text: str, *, where: str = "assembly") -> Commands:
    """The program that `text` says. A `UserError` names the line and what is known."""
    rows: list[tuple[int, int, int]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].replace(",", " ").split()
        if not words:
            continue
        try:
            rows.append(_assemble_line(words))
        except ValueError as error:
            raise UserError(str(error), where=f"{where}:{number}") from None
    return np.array(rows, COMMAND)


def _assemble_line(words: list[str]) -> tuple[int, int, int]:
    mnemonic, *assignments = words
    texts: dict[str, str] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not value:
            raise ValueError(f"{assignment!r} is not FIELD=VALUE")
        if name in texts:
            raise ValueError(f"{name} is given twice")
        texts[name] = value
    if mnemonic == "raw":
        if set(texts) != set(_RAW):
            raise ValueError(f"raw needs {', '.join(_RAW)}")
        funct7, rs1, rs2 = (int(texts[name], 0) for name in _RAW)
        if not (0 <= funct7 < 128 and 0 <= rs1 < 1 << 64 and 0 <= rs2 < 1 << 64):
            raise ValueError("funct7 has 7 bits, rs1 and rs2 have 64")
        return funct7, rs1, rs2
    instruction = _BY_MNEMONIC.get(mnemonic)
    if instruction is None:
        raise ValueError(f"unknown instruction {mnemonic!r}; known: {', '.join(_BY_MNEMONIC)}, raw")
    fields: dict[str, int | float] = {}
    for name, value in texts.items():
        if name not in instruction.bits:
            raise ValueError(
                f"{mnemonic} has no field {name!r}; it has {', '.join(instruction.bits)}"
            )
        try:
            fields[name] = _parse(instruction.bits[name], value)
        except ValueError:
            raise ValueError(
                f"{mnemonic} {name}={value}: not a {instruction.bits[name].kind}"
            ) from None
    return instruction.from_fields(fields).encode()


def _parse(bits: Bits, text: str) -> int | float:
    match bits.kind:
        case "local":
            return parse_local(text)
        case "real":
            if text.startswith("0x"):
                return float(np.asarray(int(text, 16), np.uint32).view(np.float32))
            return float(text)
        case _:
            return int(text, 0)
