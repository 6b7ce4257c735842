"""Tables of 256 entries: any function of one 8-bit integer."""

from mcc.ir import DType
from mcc.ops import Lookup

from ..plan import Planner
from ..registry import lower
from ..storage import stored
from ..tail import Leaf, Tail, apply
from ..tir import Buffer, Expr, Writer, intrinsic, select
from .elementwise import finish_with
from .loops import Loop
from .map import Map

_PERMUTED = 64
"""Bytes that one instruction looks up (AVX-512 VBMI), in a table of 128."""


@lower(Lookup, fuses=True)
def lookup(op: Lookup, planner: Planner, tail: Tail) -> None:
    signed = op.x.tensor.dtype is DType.I8
    dtype, size = stored(op.table.tensor.dtype), op.x.tensor.size
    permuted = planner.machine.permutes_bytes and dtype in ("int8", "uint8")

    def entry(writer: Writer, x: Expr, table: Buffer) -> Expr:
        if x.lanes == 1:
            return table.load(writer.bind(x.cast("int32") + (128 if signed else 0)))
        number = writer.bind(x.bits("uint8") ^ (128 if signed else 0))
        halves = [_permuted(table, half, number) for half in (0, 128)]
        return select(number < 128, *(writer.bind(half) for half in halves))

    root = apply(entry, Leaf(0), Leaf(1, whole=True))
    lanes = _PERMUTED if permuted else 1
    kernel = Map((Loop(size, (1, 1, 0)),), (0, 0, 0), root, lanes)

    def write(writer: Writer, inputs: tuple[Buffer, ...], out: Buffer) -> None:
        if size:
            kernel.write(writer, inputs, out)

    inputs = (planner.slot(op.x), planner.slot(op.table))
    slot = planner.call("lookup", write, inputs, dtype, size)
    finish_with(planner, tail, slot)


def _permuted(table: Buffer, first: int, number: Expr) -> Expr:
    """The entries of 128 that the low seven bits of each lane number."""
    low, high = (table.load(first + half, _PERMUTED) for half in (0, _PERMUTED))
    name = f"llvm.x86.avx512.vpermi2var.qi.{8 * _PERMUTED}"
    return intrinsic(name, low, number, high)
