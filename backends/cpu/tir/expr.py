"""Expressions of TVM's tensor IR with their dtype and lanes."""

import math
from collections.abc import Sequence
from typing import Any

from tvm import tirx as _tirx

tirx: Any = _tirx

Number = int | float


def _type(dtype: str, lanes: int) -> str:
    return dtype if lanes == 1 else f"{dtype}x{lanes}"


class Expr:
    """A scalar or vector expression."""

    __slots__ = ("dtype", "lanes", "node")

    def __init__(self, node: Any, dtype: str, lanes: int = 1) -> None:
        self.node = node
        self.dtype = dtype
        self.lanes = lanes

    @property
    def is_float(self) -> bool:
        return self.dtype.startswith("float")

    def __add__(self, other: "Expr | Number") -> "Expr":
        return _binary(tirx.Add, self, other)

    def __radd__(self, other: Number) -> "Expr":
        return constant(other, self.dtype) + self

    def __sub__(self, other: "Expr | Number") -> "Expr":
        return _binary(tirx.Sub, self, other)

    def __rsub__(self, other: Number) -> "Expr":
        return constant(other, self.dtype) - self

    def __mul__(self, other: "Expr | Number") -> "Expr":
        return _binary(tirx.Mul, self, other)

    def __rmul__(self, other: Number) -> "Expr":
        return constant(other, self.dtype) * self

    def __truediv__(self, other: "Expr | Number") -> "Expr":
        """Division; integers truncate towards zero."""
        return _binary(tirx.Div, self, other)

    def __rtruediv__(self, other: Number) -> "Expr":
        return constant(other, self.dtype) / self

    def __floordiv__(self, other: "Expr | int") -> "Expr":
        return _binary(tirx.FloorDiv, self, other)

    def __mod__(self, other: "Expr | int") -> "Expr":
        return _binary(tirx.FloorMod, self, other)

    def __neg__(self) -> "Expr":
        # 0 - x would turn -0 into +0.
        return self * -1.0 if self.is_float else 0 - self

    def __lt__(self, other: "Expr | Number") -> "Expr":
        return _binary(tirx.LT, self, other, "bool")

    def __le__(self, other: "Expr | Number") -> "Expr":
        return _binary(tirx.LE, self, other, "bool")

    def __gt__(self, other: "Expr | Number") -> "Expr":
        return _binary(tirx.GT, self, other, "bool")

    def __ge__(self, other: "Expr | Number") -> "Expr":
        return _binary(tirx.GE, self, other, "bool")

    def equals(self, other: "Expr | Number") -> "Expr":
        return _binary(tirx.EQ, self, other, "bool")

    def differs(self, other: "Expr | Number") -> "Expr":
        return _binary(tirx.NE, self, other, "bool")

    def __and__(self, other: "Expr | int") -> "Expr":
        return _binary(tirx.bitwise_and, self, other)

    def __or__(self, other: "Expr | int") -> "Expr":
        return _binary(tirx.bitwise_or, self, other)

    def __xor__(self, other: "Expr | int") -> "Expr":
        return _binary(tirx.bitwise_xor, self, other)

    def __lshift__(self, other: "Expr | int") -> "Expr":
        return _binary(tirx.shift_left, self, other)

    def __rshift__(self, other: "Expr | int") -> "Expr":
        return _binary(tirx.shift_right, self, other)

    def cast(self, dtype: str) -> "Expr":
        """Convert the value; floats truncate towards zero."""
        if dtype == self.dtype:
            return self
        return Expr(tirx.Cast(_type(dtype, self.lanes), self.node), dtype, self.lanes)

    def bits(self, dtype: str, lanes: int | None = None) -> "Expr":
        """The same bits as another type of the same total size."""
        count = self.lanes if lanes is None else lanes
        return Expr(tirx.reinterpret(_type(dtype, count), self.node), dtype, count)

    def broadcast(self, lanes: int) -> "Expr":
        if self.lanes == lanes:
            return self
        return Expr(tirx.Broadcast(self.node, lanes), self.dtype, lanes)


def constant(value: Number, dtype: str, lanes: int = 1) -> Expr:
    return Expr(tirx.const(value, dtype), dtype).broadcast(lanes)


def lowest(dtype: str) -> Number:
    """What every other value of the type exceeds or equals."""
    if dtype.startswith("float"):
        return -math.inf
    if dtype.startswith("uint"):
        return 0
    return -(1 << (int(dtype.removeprefix("int")) - 1))


def _binary(make: Any, left: Expr, right: Expr | Number, dtype: str | None = None) -> Expr:
    other = right if isinstance(right, Expr) else constant(right, left.dtype)
    if other.dtype != left.dtype:
        raise TypeError(f"operands are {left.dtype} and {other.dtype}")
    lanes = max(left.lanes, other.lanes)
    node = make(left.broadcast(lanes).node, other.broadcast(lanes).node)
    return Expr(node, dtype or left.dtype, lanes)


def select(condition: Expr, yes: Expr | Number, no: Expr | Number) -> Expr:
    """`yes` where the condition holds, else `no`; both are computed."""
    like = yes if isinstance(yes, Expr) else no
    if not isinstance(like, Expr):
        raise TypeError("one of both needs a type")
    first = yes if isinstance(yes, Expr) else constant(yes, like.dtype)
    second = no if isinstance(no, Expr) else constant(no, like.dtype)
    lanes = max(condition.lanes, first.lanes, second.lanes)
    node = tirx.Select(
        condition.broadcast(lanes).node, first.broadcast(lanes).node, second.broadcast(lanes).node
    )
    return Expr(node, like.dtype, lanes)


def shuffle(first: Expr, second: Expr, lanes: Sequence[int]) -> Expr:
    """The lanes of both vectors, numbered through, in another order."""
    numbers = [tirx.const(lane, "int32") for lane in lanes]
    return Expr(tirx.Shuffle([first.node, second.node], numbers), first.dtype, len(lanes))


def intrinsic(name: str, *arguments: Expr, dtype: str = "", lanes: int = 0) -> Expr:
    """A pure LLVM intrinsic; its result has the type of its first argument unless told."""
    first = arguments[0]
    dtype, lanes = dtype or first.dtype, lanes or first.lanes
    nodes = [argument.node for argument in arguments]
    return Expr(tirx.call_llvm_pure_intrin(_type(dtype, lanes), name, *nodes), dtype, lanes)


def libm(name: str, *arguments: Expr) -> Expr:
    """A function of the C mathematics library on scalars."""
    first = arguments[0]
    suffixed = name + ("f" if first.dtype == "float32" else "")
    nodes = [argument.node for argument in arguments]
    return Expr(tirx.call_pure_extern(first.dtype, suffixed, *nodes), first.dtype)
