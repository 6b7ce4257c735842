"""Host ops as calls of the C kernels in `kernels/`.

What an op's attributes and shapes say becomes a constant struct; values are pointers.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import singledispatch

import mcc.ops as ops
from mcc.backends import C_TYPES
from mcc.ir import Array, DType, Op, UserError, Value

from .literals import array_literal, struct_literal

BYTES = (DType.I8, DType.U8)
EXACT = (
    ops.Quantize,
    ops.Dequantize,
    ops.Requantize,
    ops.QAdd,
    ops.Lookup,
    ops.MaxPool,
    ops.SumPool,
    ops.Reshape,
    ops.Transpose,
    ops.Concat,
    ops.Slice,
    ops.Expand,
    ops.Pad,
    ops.Gather,
    ops.Relu,
    ops.Clip,
    ops.Neg,
    ops.Abs,
    ops.Floor,
    ops.Round,
    ops.Add,
    ops.Sub,
    ops.Mul,
    ops.Div,
    ops.Minimum,
    ops.Maximum,
    ops.Reciprocal,
)
"""Ops whose kernel gives the bits of the definition; others are within 1e-5."""


@dataclass
class HostCode:
    """Collects the calls of a host part: statements, constant data, and which kernels they need."""

    place: Callable[[Value], str]
    data: list[str] = field(default_factory=list[str])
    files: set[str] = field(default_factory=set[str])
    shifts: bool = False
    """Requantize by shifts where the multiplier is a power of two: for a host without FPU."""

    def call(self, op: Op) -> list[str]:
        """The statements that compute an op's results; `UserError` where there is no kernel."""
        return lower(op, self)

    def refused(self, op: Op, why: str) -> UserError:
        return UserError(
            f"{op.op_name} ({', '.join(str(value.type) for value in op.operands)}) cannot run on "
            f"the RISC-V host: {why}",
            where=", ".join(op.nodes) or op.results[0].name,
            remedy="docs/riscv.md lists the host's kernels; other ops must be folded away or moved "
            "off the model's ends",
        )

    def kernel(self, file: str, name: str, *arguments: object) -> list[str]:
        """A call of a kernel of `kernels/FILE.c`."""
        self.files.add(file)
        return [f"{name}({', '.join(map(str, arguments))});"]

    def struct(self, type: str, **fields: object) -> str:
        """The address of a constant struct."""
        name = f"p{len(self.data)}"
        self.data.append(f"static const struct {type} {name} = {struct_literal(fields)};")
        return f"&{name}"

    def array(self, array: Array, type: str) -> str:
        """The name of a constant array."""
        name = f"k{len(self.data)}"
        self.data.append(array_literal(f"static const {type} {name}", array))
        return name

    def room(self, type: str, count: int) -> str:
        """The name of memory for a kernel's own use."""
        name = f"m{len(self.data)}"
        self.data.append(f"static {type} {name}[{max(1, count)}];")
        return name

    def typed(self, value: Value) -> str:
        """A pointer to a value's elements."""
        return f"({C_TYPES[value.tensor.dtype]} *){self.place(value)}"

    def maybe(self, value: Value | None) -> str:
        return "0" if value is None else self.typed(value)

    def only(self, op: Op, *dtypes: DType) -> None:
        """Refuse operands and results of other types."""
        for value in (*op.operands, *op.results):
            if value.tensor.dtype not in dtypes:
                raise self.refused(op, f"its kernel has no version for {value.tensor.dtype}")


@singledispatch
def lower(op: Op, code: HostCode) -> list[str]:
    """What `HostCode.call` does, by the op's class; the files `host_*.py` register theirs."""
    raise code.refused(op, "no kernel for this op")
