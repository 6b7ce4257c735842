"""The statements of a kernel, collected in order."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from tvm import ir as _ir
from tvm import tirx as _tirx

from .buffer import Buffer, Index, index_node
from .expr import Expr, constant

ir: Any = _ir
tirx: Any = _tirx

_LINE_BYTES = 64


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

    def __init__(self, *, estimates: bool = False) -> None:
        """`estimates` as in `Machine`."""
        self.estimates = estimates
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
            begin, end = self.share(extent)
            count = end - begin
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

    def share(self, extent: int) -> tuple[Expr, Expr]:
        """The first of a parallel loop's iterations that are this task's, and the end of them."""
        return self._begin(extent, self._task), self._begin(extent, self._task + 1)

    def _begin(self, extent: int, task: Expr) -> Expr:
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
        node = index_node(index)
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

    def lines(self, dtype: str, size: int) -> Buffer:
        """Scratch memory that begins where a line of the cache does."""
        buffer = Buffer(self._fresh("s"), dtype, size)
        # LLVM aligns what is made of vectors as a vector.
        lanes = _LINE_BYTES * 8 // int("".join(letter for letter in dtype if letter.isdigit()))
        vectors = tirx.decl_buffer(
            (-(-size // lanes),), f"{dtype}x{lanes}", name=self._fresh("v"), layout=None
        )
        self._blocks[-1].append(tirx.AllocBuffer(vectors))
        self._blocks[-1].append(tirx.DeclBuffer(buffer.node, data=vectors.data))
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
