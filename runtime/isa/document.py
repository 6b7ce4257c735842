"""The instruction table of docs/accelerator.md, from the classes."""

import inspect

from .encoding import Bits, Instruction
from .table import INSTRUCTIONS


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
