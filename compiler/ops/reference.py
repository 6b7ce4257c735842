"""The page docs/ops.md, from the registry: `python -m mcc.ops.reference > docs/ops.md`."""

import enum
import inspect
import sys

from mcc.ir import OPS, Field, Kind, Op

# Sections in the order of reading; a module that is missing here goes last, under its own name.
_SECTIONS = {
    "mcc.ir.builtin": "Built into the IR",
    "mcc.ops.linear": "Convolution and matrix product",
    "mcc.ops.pool": "Pooling",
    "mcc.ops.binary": "Element-wise, two operands",
    "mcc.ops.unary": "Element-wise, one operand",
    "mcc.ops.reduce": "Reductions and normalizations",
    "mcc.ops.attention": "Attention",
    "mcc.ops.shape": "Moving elements",
    "mcc.ops.resample": "Sampling",
    "mcc.ops.recurrent": "Recurrent layers",
    "mcc.ops.quantized": "Quantized",
}

_HEAD = """\
# Ops

Written by `python -m mcc.ops.reference`; the text of each op is its docstring. An op stands in a
module's text as `%y = name(operands, attribute=value) : type`; attributes at their default are
left out. How the text works, and how to add an op: [ir.md](ir.md).
"""


def reference() -> str:
    """The whole page, as Markdown."""
    groups: dict[str, list[type[Op]]] = {module: [] for module in _SECTIONS}
    for op_class in OPS.values():
        if op_class.__module__.startswith(("mcc.ir.", "mcc.ops.")):
            groups.setdefault(op_class.__module__, []).append(op_class)
    parts = [_HEAD]
    for module, op_classes in groups.items():
        parts.append(f"## {_SECTIONS.get(module, module)}\n")
        parts.extend(_entry(op_class) for op_class in op_classes)
    return "\n".join(parts)


def _entry(op_class: type[Op]) -> str:
    signature = ", ".join(_shown(field) for field in op_class.spec_fields)
    lines = [f"### {op_class.op_name}\n", f"`{op_class.__name__}({signature})`\n"]
    lines.append(inspect.getdoc(op_class) or "")
    for what, spaces in (("Reads", op_class.reads), ("Writes", op_class.writes)):
        if spaces:
            lines.append(f"\n{what}: {', '.join(map(str, spaces))}.")
    return "\n".join(lines) + "\n"


def _shown(field: Field) -> str:
    """A field as its class declares it; operands need no type."""
    match field.kind:
        case Kind.OPERAND:
            return field.name
        case Kind.OPTIONAL:
            return f"{field.name}?"
        case Kind.VARIADIC:
            return f"*{field.name}"
        case Kind.REGION:
            return f"{field.name}: Region"
        case Kind.ATTRIBUTE:
            wanted = field.wanted.replace("mcc.ir.types.", "").replace("mcc.ir.data.", "")
            if field.required:
                return f"{field.name}: {wanted}"
            value = field.default
            return (
                f"{field.name}: {wanted} = {value if isinstance(value, enum.Enum) else repr(value)}"
            )


if __name__ == "__main__":
    sys.stdout.write(reference())
