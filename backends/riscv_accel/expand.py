"""A kernel's loops counted out into commands, all iterations of a tile op at once."""

from collections.abc import Mapping
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
    _Expander(commands, offsets).region(kernel.body, 0, ())
    return commands


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
    pace: int
    """Commands from one iteration to the next."""


@dataclass
class _Expander:
    commands: isa.Commands
    offsets: Mapping[Value, int]

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
                for part in self.pack(op, loops):
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
            total = total + (np.arange(loops[axis].count) * step).reshape(shape)
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
        local = isa.accumulator(row) if in_accumulator(op.local) else isa.scratchpad(row)
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
