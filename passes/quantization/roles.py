"""Which ops of a float module are done on integers, and why the others are not."""

import enum
import math

import numpy as np

from mcc.ir import DType, Module, Op, Tensor, Value, Yield, constant_of
from mcc.ops import (
    Add,
    AvgPool,
    Concat,
    Conv,
    Gather,
    Matmul,
    MaxPool,
    Pad,
    ReduceMean,
    Reshape,
    Slice,
    Transpose,
)

from .elementwise import roots_of
from .scheme import Scheme


class Role(enum.Enum):
    """How an op is done on integers."""

    PRODUCT = "a sum of products in the accumulator"
    MOVE = "moves or picks integers; one scale on all sides"
    AVERAGE = "a sum and one multiplication"
    ADD = "the sum of two activations"
    TABLE = "a table of 256 entries"
    INSIDE = "a step inside a table's function"


MOVES = (Concat, Gather, MaxPool, Pad, Reshape, Slice, Transpose)


class Roles:
    """The role of every op that works on integers; `declined` says why others do not."""

    def __init__(self, module: Module, scheme: Scheme) -> None:
        self.scheme = scheme
        self.roots = roots_of(module)
        self.of: dict[Op, Role] = {}
        self.declined: list[tuple[Op, str]] = []
        self._ops = [op for op in module.body if not isinstance(op, Yield)]
        self._outputs = set(module.outputs)
        banned: set[Op] = set()
        while True:
            self._assign(banned)
            idle = {
                op for op, role in self.of.items() if role is Role.TABLE and not self._serves(op)
            }
            if not idle:
                break
            banned |= idle
        self._explain(banned)

    def is_integer(self, value: Value) -> bool:
        """Whether the op that defines a value leaves it as integers."""
        return value.op is not None and self.of.get(value.op, Role.INSIDE) is not Role.INSIDE

    def _assign(self, banned: set[Op]) -> None:
        self.of = {op: Role.PRODUCT for op in self._ops if self._is_product(op)}
        before = -1
        while len(self.of) != before:
            before = len(self.of)
            for op in self._ops:
                if op not in self.of and op not in banned:
                    role = self._forward(op)
                    if role is not None:
                        self.of[op] = role
            for op in reversed(self._ops):
                # A move at a model's edge: integers are cheaper to move, so quantize before it.
                if op not in self.of and _is_move(op) and not isinstance(op, Concat):
                    roles = {self.of.get(reader) for reader in op.result.uses}
                    if roles & {Role.PRODUCT, Role.MOVE}:
                        self.of[op] = Role.MOVE

    def _is_product(self, op: Op) -> bool:
        if not isinstance(op, Conv | Matmul) or op.result.tensor.dtype is not DType.F32:
            return False
        if op.b is not None and constant_of(op.b) is None:
            return False
        if constant_of(op.w) is not None and constant_of(op.x) is None:
            return isinstance(op, Conv) or op.w.tensor.rank == 2
        return isinstance(op, Matmul) and self.scheme.products

    def _forward(self, op: Op) -> Role | None:
        if len(op.results) != 1 or not _is_f32(op.result):
            return None
        if _is_move(op):
            return Role.MOVE if any(self.is_integer(v) for v in op.operands) else None
        if isinstance(op, AvgPool | ReduceMean):
            return Role.AVERAGE if _uniform_mean(op) and self.is_integer(op.x) else None
        root = self.roots.get(op.result)
        if root is not None and self.is_integer(root):
            return Role.TABLE if self._leaves(op, root) else Role.INSIDE
        if isinstance(op, Add):
            live = [v for v in (op.a, op.b) if constant_of(v) is None]
            if any(self.is_integer(v) for v in live) and all(self._available(v) for v in live):
                return Role.ADD
        return None

    def _available(self, value: Value) -> bool:
        """Whether a value's integers exist anyway; those of an input do, if a product reads it."""
        if value.op is not None:
            return self.is_integer(value)
        return any(self.of.get(reader) is Role.PRODUCT for reader in value.uses)

    def _leaves(self, op: Op, root: Value) -> bool:
        """Whether someone beyond the element-wise function reads the op's result."""
        readers = op.result.uses
        inside = [r for r in readers if r.results and self.roots.get(r.results[0]) is root]
        return len(inside) < len(readers) or op.result in self._outputs

    def _serves(self, op: Op) -> bool:
        """Whether an integer op that is no move reads the result, perhaps through moves."""
        pending, seen = [op], {op}
        while pending:
            for reader in pending.pop().result.uses:
                role = self.of.get(reader)
                if role is Role.MOVE and reader not in seen:
                    seen.add(reader)
                    pending.append(reader)
                elif role not in (None, Role.MOVE, Role.INSIDE):
                    return True
        return False

    def _explain(self, banned: set[Op]) -> None:
        for op in self._ops:
            if op in self.of or not op.results or not _is_f32(op.results[0]) or not op.operands:
                continue
            self.declined.append((op, self._reason(op, banned)))

    def _reason(self, op: Op, banned: set[Op]) -> str:
        if op in banned:
            return "only float ops read its result, so float keeps its precision"
        if isinstance(op, Conv | Matmul):
            if constant_of(op.w) is None and not self.scheme.products:
                return "a product of two activations is not quantized here"
            return "its weights or its bias are not constant, or its weights are no matrix"
        if isinstance(op, AvgPool | ReduceMean) and not _uniform_mean(op):
            return "its windows are of different sizes, or not over the spatial axes"
        if not any(self.is_integer(value) for value in op.operands):
            return "none of its operands is an integer, so nothing is saved"
        return f"{op.op_name} has no integer form"


def averaged_count(op: AvgPool | ReduceMean) -> int | None:
    """How many elements each mean is over; None where that differs, or is not over spatial axes."""
    if isinstance(op, ReduceMean):
        rank = op.x.tensor.rank
        if rank < 3 or op.axes != tuple(range(2, rank)):
            return None
        return math.prod(op.x.tensor.dims[axis] for axis in op.axes)
    counts = op.window_counts(np.dtype(np.int64), include_pad=op.include_pad)
    return int(counts.flat[0]) if (counts == counts.flat[0]).all() else None


def _uniform_mean(op: AvgPool | ReduceMean) -> bool:
    return averaged_count(op) is not None


def _is_move(op: Op) -> bool:
    if isinstance(op, Pad):
        return op.mode != "constant" or op.value == 0
    if isinstance(op, Gather):  # one whose indices only are known moves nothing of ours
        return constant_of(op.indices) is not None and constant_of(op.x) is None
    return isinstance(op, MOVES)


def _is_f32(value: Value) -> bool:
    return isinstance(value.type, Tensor) and value.type.dtype is DType.F32
