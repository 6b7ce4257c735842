"""What backends write C with: element types, identifiers, text that stays what it is."""

from collections.abc import Sequence

from mcc.ir import DType

C_TYPES = {
    DType.F32: "float",
    DType.I8: "int8_t",
    DType.U8: "uint8_t",
    DType.I1: "uint8_t",
    DType.I16: "int16_t",
    DType.U16: "uint16_t",
    DType.I32: "int32_t",
    DType.U32: "uint32_t",
    DType.I64: "int64_t",
    DType.U64: "uint64_t",
    DType.F64: "double",
}
"""Element types that C code may hold."""


def comment_text(text: str) -> str:
    """Text that cannot end a comment or start an escape."""
    return text.replace("*/", "* /").replace("/*", "/ *").replace("\\", "/").replace("\n", " ")


def string_literal(text: str) -> str:
    """A C string of printable ASCII; anything else becomes `?`."""
    safe = "".join(c if " " <= c <= "~" and c not in '"\\' else "?" for c in text)
    return f'"{safe}"'


def c_identifiers(names: Sequence[str], taken: set[str]) -> list[str]:
    """C identifiers for the model's inputs or outputs, in order; they are added to `taken`."""
    found: list[str] = []
    for name in names:
        plain = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in name)
        if not plain or plain[0].isdigit() or plain in _RESERVED:
            plain = f"t_{plain}"
        unique, number = plain, 1
        while unique in taken:
            number += 1
            unique = f"{plain}_{number}"
        taken.add(unique)
        found.append(unique)
    return found


_RESERVED = frozenset(
    """auto break case char const continue default do double else enum extern float for goto if
    inline int long register restrict return short signed sizeof static struct switch typedef
    union unsigned void volatile while asm main observer""".split()  # noqa: SIM905 -- as C's own list
)
