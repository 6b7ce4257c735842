"""A kernel's loops as commands, counted out, or as records that a command queue counts out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import singledispatchmethod

import numpy as np
import numpy.typing as npt

from mcc.ir import Buffer, Op, Region, Space, Value, Yield
from mcc.runtime import isa

from . import tiles
from .configure import SetUp
from .structure import For, Kernel, Ready

Numbers = npt.NDArray[np.int64]

_MOVES_IN = (isa.MoveIn, isa.MoveIn2, isa.MoveIn3)


def expand(kernel: Kernel, offsets: Mapping[Value, int]) -> isa.Commands:
    """The commands of a kernel. `offsets` gives each of its DRAM arguments a place."""
    commands = np.zeros(length(kernel.body), isa.COMMAND)
    _Expander(commands, _Packer(offsets)).region(kernel.body, 0, ())
    return commands


def recorded(ops: Iterable[Op], offsets: Mapping[Value, int], loops: int) -> list[isa.Row]:
    """The records of ops at a kernel's top level, with at most that many loops in each other."""
    return _Recorder(_Packer(offsets), loops).rows(ops, ())


def length(region: Region) -> int:
    """How many commands a region becomes."""
    return sum(width(op) for op in region)


def width(op: Op) -> int:
    """How many commands an op becomes, a loop with all its iterations."""
    match op:
        case For():
            return op.count * length(op.body)
        case Yield() | Ready():
            return 0
        case tiles.Multiply():
            return 2
        case _:
            return 1


@dataclass(frozen=True)
class _Loop:
    index: Value
    count: int
    pace: int = 0
    """Commands from one iteration to the next."""
    first: int = 0
    """The first iteration's number."""


@dataclass
class _Expander:
    commands: isa.Commands
    packer: "_Packer"

    def region(self, region: Region, start: int, loops: tuple[_Loop, ...]) -> int:
        """Place a region's commands from `start` on, for all iterations; returns the end."""
        position = start
        for op in region:
            if isinstance(op, For):
                pace = length(op.body)
                inner = _Loop(op.body.args[0], op.count, pace)
                self.region(op.body, position, (*loops, inner))
                position += pace * op.count
            elif width(op):
                for part in self.packer.pack(op, loops):
                    self._put(part, position, loops)
                    position += 1
        return position

    def _put(self, part: isa.Commands, position: int, loops: tuple[_Loop, ...]) -> None:
        if not loops:
            self.commands[position] = part[0]
            return
        where = np.array(position, np.int64)
        for loop in loops:
            where = where[..., None] + np.arange(loop.count) * loop.pace
        self.commands[where.reshape(-1)] = np.broadcast_to(part, where.shape or (1,)).reshape(-1)


@dataclass(frozen=True)
class _Recorder:
    packer: "_Packer"
    deepest: int

    def rows(self, ops: Iterable[Op], loops: tuple[_Loop, ...], depth: int = 0) -> list[isa.Row]:
        """The records of some ops, inside loops of which the last `depth` are repeats.

        Two iterations of each tell what it adds to the operands.
        """
        rows: list[isa.Row] = []
        for op in ops:
            if not isinstance(op, For):
                for part in self.packer.pack(op, loops) if width(op) else ():
                    rows += _stepped(part, loops)
                continue
            index = op.body.args[0]
            if op.count == 1 or depth + _height(op) > self.deepest:
                for turn in range(op.count):
                    rows += self.rows(op.body, (*loops, _Loop(index, 1, first=turn)), depth)
            elif length(op.body):
                inner = self.rows(op.body, (*loops, _Loop(index, 2)), depth + 1)
                rows += isa.repeated(inner, op.count)
        return rows


def _height(op: For) -> int:
    """How many loops there are in each other."""
    return 1 + max((_height(inner) for inner in op.body if isinstance(inner, For)), default=0)


def _stepped(part: isa.Commands, loops: tuple[_Loop, ...]) -> list[isa.Row]:
    """The records of a command, given in two iterations of each repeat and one of other loops."""
    first = part.reshape(-1)[0]
    rs1, rs2 = int(first["rs1"]), int(first["rs2"])
    steps: list[tuple[int, int]] = []
    for axis in reversed(range(len(loops))):
        if loops[axis].count == 1:
            continue
        if part.ndim < len(loops) or part.shape[axis] == 1:
            steps.append((0, 0))
            continue
        second = part[(0,) * axis + (1,) + (0,) * (len(loops) - axis - 1)]
        steps.append((int(second["rs1"]) - rs1, int(second["rs2"]) - rs2))
    return isa.stepped(int(first["funct7"]), rs1, rs2, steps)


@dataclass(frozen=True)
class _Packer:
    """Tile ops as commands in all iterations: an axis a loop, of length 1 where nothing changes."""

    offsets: Mapping[Value, int]

    def address(
        self, terms: tiles.Affine, at: tuple[Value, ...], loops: tuple[_Loop, ...]
    ) -> Numbers | int:
        """An affine address in every iteration: an axis a loop, of length 1 if it stands still."""
        if not at:
            return terms[0]
        total = np.full((1,) * len(loops), terms[0], np.int64)
        for step, index in zip(terms[1:], at, strict=True):
            axis = next(i for i, loop in enumerate(loops) if loop.index is index)
            shape = [1] * len(loops)
            shape[axis] = loops[axis].count
            turns = np.arange(loops[axis].count) + loops[axis].first
            total = total + (turns * step).reshape(shape)
        return total

    @singledispatchmethod
    def pack(self, op: Op, loops: tuple[_Loop, ...]) -> list[isa.Commands]:
        raise NotImplementedError(f"{op.op_name} has no command")

    @pack.register
    def _(self, op: tiles.MoveIn, loops: tuple[_Loop, ...]) -> list[isa.Commands]:
        dram: Numbers | int = 0
        if op.dram is not None:
            dram = self.address(op.offset, op.at, loops) + self.offsets[op.dram]
        row = self.address(op.row, op.at, loops)
        local = isa.scratchpad(row)
        if in_accumulator(op.local):
            local = isa.accumulator(row, accumulate=bool(op.factor))
        move = _MOVES_IN[op.state]
        return [move.pack(dram=dram, local=local, cols=op.cols, rows=op.rows)]

    @pack.register
    def _(self, op: tiles.Multiply, loops: tuple[_Loop, ...]) -> list[isa.Commands]:
        weights: Numbers | int = isa.GARBAGE
        if not op.keep:
            weights = isa.scratchpad(self.address(op.b, op.at, loops))
        target = isa.accumulator(self.address(op.c, op.at, loops), accumulate=op.accumulate)
        results = {"destination": target, "destination_cols": op.cols, "destination_rows": op.rows}
        a = {"local": isa.scratchpad(self.address(op.a, op.at, loops)), "cols": op.depth}
        if op.second:
            assert isinstance(op.local.type, Buffer)
            dim = op.local.type.shape[1]
            preload = isa.PreloadSparse.pack(local=weights, cols=op.cols, rows=dim, **results)
            sparse = isa.ComputeSparseKept if op.keep else isa.ComputeSparsePreloaded
            second = isa.scratchpad(self.address(op.second, op.at, loops))
            more = {"second": second, "second_cols": op.second_depth}
            return [preload, sparse.pack(rows=op.rows, **a, **more)]
        preload = isa.Preload.pack(local=weights, cols=op.cols, rows=op.depth, **results)
        compute = isa.ComputeKept if op.keep else isa.ComputePreloaded
        return [preload, compute.pack(rows=op.rows, bias_cols=op.cols, bias_rows=op.rows, **a)]

    @pack.register
    def _(self, op: tiles.MoveOut, loops: tuple[_Loop, ...]) -> list[isa.Commands]:
        row = self.address(op.row, op.at, loops)
        local = isa.accumulator(row) if in_accumulator(op.local) else isa.scratchpad(row)
        target = self.address(op.offset, op.at, loops)
        if op.target not in self.offsets:
            return [
                isa.MoveOutScratchpad.pack(
                    destination=isa.scratchpad(target),
                    row_stride=op.stride,
                    local=local,
                    cols=op.cols,
                    rows=op.rows,
                )
            ]
        dram = target + self.offsets[op.target]
        return [isa.MoveOut.pack(dram=dram, local=local, cols=op.cols, rows=op.rows)]

    @pack.register
    def _(self, op: tiles.LoadScales, loops: tuple[_Loop, ...]) -> list[isa.Commands]:
        dram = self.address(op.offset, op.at, loops) + self.offsets[op.dram]
        row = self.address(op.row, op.at, loops)
        return [isa.LoadScales.pack(dram=dram, row=row, count=op.count)]

    @pack.register
    def _(self, op: tiles.LoadTable, loops: tuple[_Loop, ...]) -> list[isa.Commands]:
        return [isa.LoadTable.pack(dram=self.offsets[op.dram], table=op.table)]

    @pack.register
    def _(self, op: tiles.Fence, loops: tuple[_Loop, ...]) -> list[isa.Commands]:
        return [isa.Fence.pack()]

    @pack.register
    def _(self, op: SetUp, loops: tuple[_Loop, ...]) -> list[isa.Commands]:
        commands = isa.assemble(op.command, where=op.op_name)
        if not op.row:
            return [commands]
        fields = isa.ConfigScales.unpack(commands)
        row = self.address(op.row, op.at, loops)
        return [isa.ConfigScales.pack(enable=fields["enable"], row=row)]


def in_accumulator(value: Value) -> bool:
    return isinstance(value.type, Buffer) and value.type.space is Space.ACCUMULATOR
