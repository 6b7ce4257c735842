"""Flat arrays of kernels, and the indices of their elements."""

from typing import Any

from tvm import tirx as _tirx

from .expr import Expr

tirx: Any = _tirx

Index = Expr | int


def index_sum(*terms: tuple[Index, int]) -> Index:
    """The sum of index times stride; what is known when compiling stays an int."""
    fixed = 0
    moving: Expr | None = None
    for index, stride in terms:
        if isinstance(index, int):
            fixed += index * stride
        elif stride:
            term = index if stride == 1 else index * stride
            moving = term if moving is None else moving + term
    if moving is None:
        return fixed
    return moving + fixed if fixed else moving


def smaller_index(index: Index, limit: int) -> Index:
    """The smaller of both."""
    if isinstance(index, int):
        return min(index, limit)
    return Expr(tirx.Min(index.node, tirx.const(limit, index.dtype)), index.dtype)


def index_node(index: Index) -> Any:
    """An index as TVM takes it."""
    return tirx.const(index, "int32") if isinstance(index, int) else index.node


class Buffer:
    """A flat array: a parameter of the kernel, or scratch memory on its stack."""

    __slots__ = ("dtype", "node", "size")

    def __init__(self, name: str, dtype: str, size: int) -> None:
        if size >= 2**31:
            raise OverflowError(f"{name} has {size} elements; kernels index with 32 bits")
        self.node: Any = tirx.decl_buffer((size,), dtype, name=name, layout=None)
        self.dtype = dtype
        self.size = size

    def load(self, index: Index, lanes: int = 1, stride: int = 1) -> Expr:
        """`lanes` elements, `stride` apart; stride 0 reads one and broadcasts it."""
        if lanes == 1 or stride == 0:
            one = Expr(tirx.BufferLoad(self.node, [index_node(index)]), self.dtype)
            return one.broadcast(lanes)
        ramp = tirx.Ramp(index_node(index), stride, lanes)
        return Expr(tirx.BufferLoad(self.node, [ramp]), self.dtype, lanes)

    def address(self, index: Index) -> Expr:
        """A pointer to an element, for instructions that access memory themselves."""
        element = tirx.BufferLoad(self.node, [index_node(index)])
        return Expr(tirx.address_of(element), "handle")
