"""Ops that only tests need: with every kind of attribute, a region, an effect, two results."""

from typing import Any, Literal

from mcc.ir import (
    Array,
    Buffer,
    Data,
    DType,
    Index,
    Op,
    OpError,
    Quant,
    Region,
    Space,
    Symbol,
    Tensor,
    Type,
    Value,
    Yield,
)


class Everything(Op, name="test.everything"):
    """Every kind of operand and attribute that has a text form."""

    x: Value
    maybe: Value | None = None
    more: tuple[Value, ...] = ()
    flag: bool = False
    count: int = 0
    ratio: float = 0.0
    text: str = ""
    mode: Literal["a", "b"] = "a"
    to: DType = DType.F32
    space: Space = Space.DRAM
    data: Data | None = None
    type: Tensor | Buffer | Index = Index()
    dim: int | Symbol = 1
    note: Quant | None = None
    sizes: tuple[int, ...] = (1,)
    pair: tuple[int, str] = (0, "")
    nested: tuple[tuple[int, ...], ...] = ()
    ratios: tuple[float, ...] = ()
    tables: tuple[Data, ...] = ()
    spaces: tuple[Space | None, ...] = ()

    def infer(self) -> Type:
        return self.x.type

    def evaluate(self, x: Any, maybe: Any, more: tuple[Any, ...]) -> Any:
        return x


class Repeat(Op, name="test.repeat"):
    """Runs its body `count` times on its operands: a loop, with what it carries."""

    start: tuple[Value, ...]
    count: int
    body: Region

    def infer(self) -> tuple[Type, ...]:
        carried = tuple(value.type for value in self.start)
        if self.count < 0:
            raise OpError(f"count is {self.count}", "count")
        if tuple(value.type for value in self.body.args) != carried:
            raise OpError("the body must take what the loop carries", "body")
        if not isinstance(self.body.last, Yield):
            raise OpError("the body must end in a yield", "body")
        if tuple(value.type for value in self.body.yielded) != carried:
            raise OpError("the body must yield what the loop carries", "body")
        return carried

    def evaluate(self, start: tuple[Array, ...], body: Any) -> tuple[Array, ...]:
        for _ in range(min(self.count, 8)):
            start = body(*start)
        return start


class Store(Op, name="test.store", writes=(Space.DRAM,)):
    """An effect without a result."""

    x: Value

    def infer(self) -> tuple[()]:
        return ()

    def evaluate(self, x: Array) -> None:
        del x


class Split(Op, name="test.split"):
    """Two results of one operand."""

    x: Value

    def infer(self) -> tuple[Type, Type]:
        return self.x.type, self.x.type

    def evaluate(self, x: Array) -> tuple[Array, Array]:
        return x, x
