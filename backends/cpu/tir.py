"""TVM's tensor IR with types: expressions with dtype and lanes, flat buffers, a writer.

The only file that calls TVM's constructors, so that its untyped objects stay in here. All buffers
are flat; shapes and strides are arithmetic of the kernels.
"""

import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from tvm import ir as _ir
from tvm import tirx as _tirx

ir: Any = _ir
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


def _index_node(index: Index) -> Any:
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
            one = Expr(tirx.BufferLoad(self.node, [_index_node(index)]), self.dtype)
            return one.broadcast(lanes)
        ramp = tirx.Ramp(_index_node(index), stride, lanes)
        return Expr(tirx.BufferLoad(self.node, [ramp]), self.dtype, lanes)

    def address(self, index: Index) -> Expr:
        """A pointer to an element, for instructions that access memory themselves."""
        element = tirx.BufferLoad(self.node, [_index_node(index)])
        return Expr(tirx.address_of(element), "handle")


@dataclass(frozen=True)
class Function:
    """A finished kernel: a C function `(buffers..., task, tasks)` that does its share of the work.

    Whoever calls it for every task of 0 to tasks - 1, in any order or at the same time, has all of
    it done; one task alone does everything.
    """

    node: Any
    reads: int
    """Buffers before the last, which it writes."""
    most_tasks: int
    """More than so many find nothing to do."""
    may_fail: bool
    """Whether there is a last parameter, an int32 that becomes 1 where an operand is refused."""


class Writer:
    """Collects the statements of one kernel; loops and branches are context managers.

    Parallel loops are divided among the tasks that share the kernel. All other statements are run
    by every task, unless they stand in `once`.
    """

    def __init__(self) -> None:
        self._blocks: list[list[Any]] = [[]]
        self._names = 0
        self._task = Expr(tirx.Var("task", "int32"), "int32")
        self._tasks = Expr(tirx.Var("tasks", "int32"), "int32")
        self._failed = Buffer("failed", "int32", 1)
        self._may_fail = False
        self._most_tasks = 1

    def _fresh(self, stem: str) -> str:
        self._names += 1
        return f"{stem}{self._names}"

    def _close(self) -> Any:
        statements = self._blocks.pop()
        if not statements:
            return tirx.Evaluate(tirx.const(0, "int32"))
        return statements[0] if len(statements) == 1 else tirx.SeqStmt(statements)

    @contextmanager
    def loop(self, extent: int, *, parallel: bool = False) -> Generator[Index]:
        """Run the body `extent` times; a single iteration needs no loop.

        A parallel loop's iterations may run at the same time, and beside all other parallel loops
        of the kernel.
        """
        if extent == 1:
            with self.once() if parallel else nullcontext():
                yield 0
            return
        begin, count = constant(0, "int32"), constant(extent, "int32")
        if parallel:
            self._most_tasks = max(self._most_tasks, extent)
            begin = self._share(extent, self._task)
            count = self._share(extent, self._task + 1) - begin
        variable = tirx.Var(self._fresh("i"), "int32")
        self._blocks.append([])
        yield Expr(variable, "int32")
        body = self._close()
        kind = tirx.ForKind.SERIAL
        self._blocks[-1].append(tirx.For(variable, begin.node, count.node, kind, body))

    @contextmanager
    def span(self, begin: Expr, end: Expr) -> Generator[Expr]:
        """Run the body for every int32 from `begin` to before `end`."""
        variable = tirx.Var(self._fresh("i"), "int32")
        self._blocks.append([])
        yield Expr(variable, "int32")
        body = self._close()
        kind, count = tirx.ForKind.SERIAL, end - begin
        self._blocks[-1].append(tirx.For(variable, begin.node, count.node, kind, body))

    def _share(self, extent: int, task: Expr) -> Expr:
        """The first iteration of a task."""
        done = task.cast("int64") * extent / self._tasks.cast("int64")
        held = self.bind_index(done.cast("int32"))
        assert isinstance(held, Expr)
        return held

    @contextmanager
    def once(self) -> Generator[None]:
        """Run the body in one of the tasks only: what it stores is not for the others to read."""
        with self.branch(self._task.equals(0)):
            yield

    @contextmanager
    def branch(self, condition: Expr) -> Generator[None]:
        self._blocks.append([])
        yield
        body = self._close()
        self._blocks[-1].append(tirx.IfThenElse(condition.node, body, None))

    def store(self, buffer: Buffer, index: Index, value: Expr, stride: int = 1) -> None:
        """Write the lanes of `value`, `stride` elements apart."""
        if value.dtype != buffer.dtype:
            raise TypeError(f"a {value.dtype} goes into a buffer of {buffer.dtype}")
        node = _index_node(index)
        place = node if value.lanes == 1 else tirx.Ramp(node, stride, value.lanes)
        self._blocks[-1].append(tirx.BufferStore(buffer.node, value.node, [place]))

    def effect(self, name: str, *arguments: Expr) -> None:
        """Call an LLVM intrinsic for what it does rather than for a result."""
        nodes = [argument.node for argument in arguments]
        call = tirx.call_llvm_intrin("void", name, *nodes)
        self._blocks[-1].append(tirx.Evaluate(call))

    def prefetch(self, buffer: Buffer, index: Index) -> None:
        """Begin to read into the second-level cache; any address will do."""
        read, second_level, data = (constant(n, "int32") for n in (0, 2, 1))
        self.effect("llvm.prefetch", buffer.address(index), read, second_level, data)

    def bind(self, value: Expr) -> Expr:
        """Compute once, and hold for every use.

        The value goes through memory that LLVM makes a register. A bound variable of TVM would be
        looked through by its integer analysis, in exponential time where one builds on another.
        """
        if isinstance(value.node, tirx.Var | tirx.IntImm | tirx.FloatImm):
            return value
        if value.dtype == "bool":
            raise TypeError("conditions are not held")
        held = self.scratch(value.dtype, value.lanes)
        self.store(held, 0, value)
        return held.load(0, value.lanes)

    def bind_index(self, index: Index) -> Index:
        """The same for the index of an element, as a variable."""
        if isinstance(index, int) or isinstance(index.node, tirx.Var | tirx.IntImm):
            return index
        variable = tirx.Var(self._fresh("t"), index.dtype)
        self._blocks[-1].append(tirx.Bind(variable, index.node))
        return Expr(variable, index.dtype)

    def scratch(self, dtype: str, size: int) -> Buffer:
        """Memory of this scope, on the stack; what is small becomes registers."""
        buffer = Buffer(self._fresh("s"), dtype, size)
        self._blocks[-1].append(tirx.AllocBuffer(buffer.node))
        return buffer

    def refuse(self, condition: Expr) -> None:
        """Let the call fail where the condition holds; the kernel itself goes on."""
        self._may_fail = True
        with self.branch(condition):
            self.store(self._failed, 0, constant(1, "int32"))

    def function(self, parameters: Sequence[Buffer]) -> Function:
        """The finished kernel. No two parameters may overlap in memory."""
        body = self._close()
        buffers = [*parameters, *([self._failed] if self._may_fail else [])]
        pointers = [_pointer(f"p{number}", buffer) for number, buffer in enumerate(buffers)]
        views = [
            tirx.DeclBuffer(buffer.node, data=pointer)
            for buffer, pointer in zip(buffers, pointers, strict=True)
        ]
        count = len(parameters)
        order = [*pointers[:count], self._task.node, self._tasks.node, *pointers[count:]]
        made = tirx.PrimFunc(order, tirx.SeqStmt([*views, body]))
        node = made.with_attr("tirx.noalias", True)
        return Function(node, count - 1, self._most_tasks, self._may_fail)


def _pointer(name: str, buffer: Buffer) -> Any:
    return tirx.Var(name, ir.PointerType(ir.PrimType(buffer.dtype)))
