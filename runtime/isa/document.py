"""The instruction table of docs/accelerator.md, from the classes."""

import inspect
from pathlib import Path

from .encoding import Bits, Instruction
from .table import INSTRUCTIONS

_START, _END = "<!-- instruction table -->\n", "<!-- end -->"


def update_document(path: str | Path) -> None:
    """Writes the table anew between the two markers of `path`."""
    file = Path(path)
    before, start, rest = file.read_text(encoding="utf-8").partition(_START)
    _, end, after = rest.partition(_END)
    if not start or not end:
        raise ValueError(f"{path} lacks the lines {_START.strip()} and {_END}")
    file.write_text(before + start + instruction_table() + end + after, encoding="utf-8")


def instruction_table() -> str:
    """A markdown table with a row an instruction, and one of each instruction's fields."""
    lines = [
        "| funct7 | mnemonic | extension | what it does |",
        "| --- | --- | --- | --- |",
    ]
    for instruction in INSTRUCTIONS:
        number = f"{instruction.funct7}"
        if instruction.selector >= 0:
            number += f", rs1[1:0]={instruction.selector}"
        summary = inspect.cleandoc(instruction.__doc__ or "").split("\n\n")[0].replace("\n", " ")
        extension = f"`{instruction.extension}`" if instruction.extension else ""
        lines.append(f"| {number} | `{instruction.mnemonic}` | {extension} | {summary} |")
    lines += ["", "| mnemonic | fields: bits (default) |", "| --- | --- |"]
    for instruction in INSTRUCTIONS:
        lines.append(f"| `{instruction.mnemonic}` | {_fields(instruction)} |")
    return "\n".join(lines) + "\n"


def _fields(instruction: type[Instruction]) -> str:
    default = instruction().fields()
    parts: list[str] = []
    for name, bits in instruction.bits.items():
        shown = f" ({default[name]})" if default[name] and bits.kind != "local" else ""
        parts.append(f"`{name}` {_place(bits)}{shown}")
    return ", ".join(parts) or "none"


def _place(bits: Bits) -> str:
    return f"{bits.word}[{bits.high}:{bits.low}]" if bits.width > 1 else f"{bits.word}[{bits.low}]"
