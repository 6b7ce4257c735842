"""Recurrent layers: one kernel for a whole sequence.

In each step a block of columns of all gates is summed in registers over the rows of the weights,
and becomes new states there. Constant weights are packed in the order in which they are read.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from mcc.ir import Array, Value, constant_of
from mcc.ops import Gru, Lstm, Recurrent, Rnn

from ..plan import Planner
from ..registry import contiguous, lower
from ..storage import Slot, stored
from ..tail import Tail
from ..tir import Buffer, Expr, Index, Writer, constant, index_sum, select
from . import maths
from .elementwise import strided_copy
from .loops import widths
from .scalar import clamp

_ROWS = 4
"""Sequences of a batch that share a block of weights in registers."""
_SUMS = 8
"""Sums at least that are open at a time: a multiply-add waits for the one before it."""

_SQUASH: dict[str, Callable[[Writer, Expr], Expr]] = {
    "sigmoid": maths.sigmoid,
    "tanh": maths.tanh,
    "relu": lambda writer, x: clamp(x, 0.0, math.inf),
    "hard_sigmoid": lambda writer, x: clamp(writer.bind(x * 0.2 + 0.5), 0.0, 1.0),
}


@dataclass(frozen=True)
class _State:
    """Where a state [batch, hidden] lies."""

    buffer: Buffer
    start: Index


_States = dict[str, _State]
"""The hidden state `h`, and the cell's, `c`."""


@dataclass(frozen=True)
class _Block:
    """Some columns of each gate, for some sequences of the batch."""

    column: Index
    weights: Index
    """Where those of the columns begin."""
    lanes: int
    sequences: tuple[Index, ...]


class _Kernel(ABC):
    """What the three layers share: steps, blocks, and sums over the rows of the weights."""

    def __init__(self, op: Lstm | Gru | Rnn, operands: Sequence[str], lanes: int) -> None:
        self.operands = operands
        """The inputs of the kernel, by the name of the op's field."""
        self.steps, self.batch, _ = op.x.tensor.dims
        self.hidden, self.gates = op.r.tensor.dims[0], op.gates
        self.dtype = stored(op.x.tensor.dtype)
        self.lanes = lanes
        self.reverse, self.clip = op.reverse, op.clip
        self.packed = constant_of(op.r) is not None
        self.size = math.prod(op.result.tensor.dims[1:])
        """Elements of the states of a step."""

    @abstractmethod
    def step(
        self, writer: Writer, given: dict[str, Buffer], out: Buffer, at: Index, before: _States
    ) -> None:
        """Write the states of step `at` from those before."""

    def states(self, out: Buffer, at: Index) -> _States:
        """Where the states of a step lie; one with more than h says so."""
        return {"h": _State(out, index_sum((at, self.size)))}

    def __call__(self, writer: Writer, inputs: tuple[Buffer, ...], out: Buffer) -> None:
        if not self.steps * self.batch * self.hidden:
            return
        given = dict(zip(self.operands, inputs, strict=True))
        initial: _States = {name: _State(given[name], 0) for name in ("h", "c") if name in given}
        with writer.once():  # a step needs all of the one before it
            self.step(writer, given, out, self.steps - 1 if self.reverse else 0, initial)
            if self.steps == 1:
                return
            with writer.loop(self.steps - 1) as i:
                first, way = (self.steps - 2, -1) if self.reverse else (1, 1)
                at = writer.bind_index(index_sum((i, way), (first, 1)))
                before = writer.bind_index(index_sum((at, 1), (-way, 1)))
                self.step(writer, given, out, at, self.states(out, before))

    def blocks(self, writer: Writer) -> Iterator[_Block]:
        """All columns and sequences, within the loops over them."""
        start = 0
        for lanes, run in groupby(widths(self.hidden, self.lanes)):
            count = len(list(run))
            with writer.loop(count) as i:
                column = writer.bind_index(index_sum((i, lanes), (start, 1)))
                rows = self.hidden * self.gates if self.packed else 1
                weights = writer.bind_index(index_sum((column, rows)))
                done = 0
                for together in (_ROWS, 1):
                    groups = (self.batch - done) // together
                    if groups:
                        with writer.loop(groups) as n:
                            first = index_sum((n, together), (done, 1))
                            sequences = [index_sum((first, 1), (j, 1)) for j in range(together)]
                            yield _Block(column, weights, lanes, tuple(sequences))
                    done += groups * together
            start += count * lanes

    def sums(
        self,
        writer: Writer,
        block: _Block,
        weights: Buffer,
        gates: Sequence[int],
        state: _State,
        starts: Sequence[Sequence[Expr]],
    ) -> list[list[Expr]]:
        """For each sequence and gate `start + sum over k of state[k] * weights[k]`."""
        lanes, count = block.lanes, len(block.sequences) * len(gates)
        split = min(self.hidden, -(-_SUMS // count))
        open_sums = [
            [[writer.scratch(self.dtype, lanes) for _ in range(split)] for _ in gates]
            for _ in block.sequences
        ]
        for row, firsts in zip(open_sums, starts, strict=True):
            for parts, first in zip(row, firsts, strict=True):
                for part, held in enumerate(parts):
                    zero = constant(0.0, self.dtype, lanes)
                    writer.store(held, 0, zero if part else first.broadcast(lanes))
        down, across = (
            (self.gates * lanes, lanes)
            if self.packed
            else (
                self.gates * self.hidden,
                self.hidden,
            )
        )
        places = [
            writer.bind_index(index_sum((state.start, 1), (n, self.hidden)))
            for n in block.sequences
        ]

        def add(k: Index, part: int) -> None:
            at = [index_sum((block.weights, 1), (k, down), (g, across)) for g in gates]
            columns = [writer.bind(weights.load(place, lanes)) for place in at]
            for place, row in zip(places, open_sums, strict=True):
                value = writer.bind(state.buffer.load(index_sum((place, 1), (k, 1))))
                for column, parts in zip(columns, row, strict=True):
                    total = parts[part].load(0, lanes) + value.broadcast(lanes) * column
                    writer.store(parts[part], 0, total)

        with writer.loop(self.hidden // split) as i:
            for part in range(split):
                add(index_sum((i, split), (part, 1)), part)
        for k in range(self.hidden - self.hidden % split, self.hidden):
            add(k, 0)
        return [[_total(writer, parts, lanes) for parts in row] for row in open_sums]

    def inputs(
        self, writer: Writer, block: _Block, x: Buffer, at: Index, gates: Sequence[int]
    ) -> list[list[Expr]]:
        """What the input adds to the gates."""
        width = self.gates * self.hidden
        found: list[list[Expr]] = []
        for n in block.sequences:
            row = index_sum((at, self.batch * width), (n, width), (block.column, 1))
            places = [index_sum((row, 1), (g, self.hidden)) for g in gates]
            found.append([writer.bind(x.load(place, block.lanes)) for place in places])
        return found

    def apply(self, writer: Writer, squash: str, x: Expr) -> Expr:
        """A gate's function, behind the clip."""
        clipped = clamp(x, -self.clip, self.clip) if self.clip < math.inf else x
        return writer.bind(_SQUASH[squash](writer, writer.bind(clipped)))

    def place(self, state: _State, block: _Block, n: Index) -> Index:
        return index_sum((state.start, 1), (n, self.hidden), (block.column, 1))

    def load(self, writer: Writer, state: _State, block: _Block, n: Index) -> Expr:
        return writer.bind(state.buffer.load(self.place(state, block, n), block.lanes))

    def keep(
        self,
        writer: Writer,
        given: dict[str, Buffer],
        block: _Block,
        n: Index,
        at: Index,
        new: Sequence[tuple[_State, Expr, Expr]],
    ) -> None:
        """Store new states, or the old ones in a step that the sequence does not have."""
        lengths = given.get("lengths")
        for state, fresh, old in new:
            value = fresh
            if lengths is not None:
                step = constant(at, "int32") if isinstance(at, int) else at
                value = writer.bind(select(writer.bind(lengths.load(n)) > step, fresh, old))
            writer.store(state.buffer, self.place(state, block, n), value)


class _LstmKernel(_Kernel):
    def __init__(self, op: Lstm, operands: Sequence[str], lanes: int) -> None:
        super().__init__(op, operands, lanes)
        self.op = op

    def states(self, out: Buffer, at: Index) -> _States:
        hidden = index_sum((at, self.size))
        return {
            "h": _State(out, hidden),
            "c": _State(out, index_sum((hidden, 1), (1, self.size // 2))),
        }

    def step(
        self, writer: Writer, given: dict[str, Buffer], out: Buffer, at: Index, before: _States
    ) -> None:
        op, after = self.op, self.states(out, at)
        for block in self.blocks(writer):
            starts = self.inputs(writer, block, given["x"], at, range(4))
            sums = self.sums(writer, block, given["r"], range(4), before["h"], starts)
            for n, (i, o, f, new) in zip(block.sequences, sums, strict=True):
                old = self.load(writer, before["c"], block, n)
                peeps = self._peepholes(writer, given, block)
                if peeps is not None:
                    i, f = writer.bind(i + peeps[0] * old), writer.bind(f + peeps[2] * old)
                let_in, kept = self.apply(writer, op.gate, i), self.apply(writer, op.gate, f)
                cell = writer.bind(kept * old + let_in * self.apply(writer, op.cell, new))
                if peeps is not None:
                    o = writer.bind(o + peeps[1] * cell)
                shown = self.apply(writer, op.gate, o)
                hidden = writer.bind(shown * writer.bind(_SQUASH[op.output](writer, cell)))
                was = hidden if "lengths" not in given else self.load(writer, before["h"], block, n)
                fresh = ((after["h"], hidden, was), (after["c"], cell, old))
                self.keep(writer, given, block, n, at, fresh)

    def _peepholes(
        self, writer: Writer, given: dict[str, Buffer], block: _Block
    ) -> list[Expr] | None:
        """Of the gates i, o, f."""
        if "p" not in given:
            return None
        places = [index_sum((block.column, 1), (g, self.hidden)) for g in range(3)]
        return [writer.bind(given["p"].load(place, block.lanes)) for place in places]


class _RnnKernel(_Kernel):
    def __init__(self, op: Rnn, operands: Sequence[str], lanes: int) -> None:
        super().__init__(op, operands, lanes)
        self.op = op

    def step(
        self, writer: Writer, given: dict[str, Buffer], out: Buffer, at: Index, before: _States
    ) -> None:
        after = self.states(out, at)["h"]
        for block in self.blocks(writer):
            starts = self.inputs(writer, block, given["x"], at, range(1))
            sums = self.sums(writer, block, given["r"], range(1), before["h"], starts)
            for n, (total,) in zip(block.sequences, sums, strict=True):
                new = self.apply(writer, self.op.cell, total)
                was = new if "lengths" not in given else self.load(writer, before["h"], block, n)
                self.keep(writer, given, block, n, at, ((after, new, was),))


class _GruKernel(_Kernel):
    """Where the reset gate scales the state itself, all of that is needed before the last gate.

    It is kept, with the update gate, behind the states of all steps.
    """

    def __init__(self, op: Gru, operands: Sequence[str], lanes: int) -> None:
        super().__init__(op, operands, lanes)
        self.op = op

    def step(
        self, writer: Writer, given: dict[str, Buffer], out: Buffer, at: Index, before: _States
    ) -> None:
        if "b" in given:
            self._after(writer, given, out, at, before["h"])
        else:
            self._before(writer, given, out, at, before["h"])

    def _after(
        self, writer: Writer, given: dict[str, Buffer], out: Buffer, at: Index, state: _State
    ) -> None:
        """N = cell(x + r (h r + b))."""
        for block in self.blocks(writer):
            starts = self.inputs(writer, block, given["x"], at, range(3))
            late = writer.bind(given["b"].load(block.column, block.lanes))
            opened = [[z, r, late] for z, r, _ in starts]
            sums = self.sums(writer, block, given["r"], range(3), state, opened)
            for n, (z, r, inner), (_, _, x) in zip(block.sequences, sums, starts, strict=True):
                reset = self.apply(writer, self.op.gate, r)
                update = self.apply(writer, self.op.gate, z)
                new = self.apply(writer, self.op.cell, writer.bind(x + reset * inner))
                self._mix(writer, given, out, block, n, at, (update, new, state))

    def _before(
        self, writer: Writer, given: dict[str, Buffer], out: Buffer, at: Index, state: _State
    ) -> None:
        """N = cell(x + (r h) r)."""
        updates = _State(out, self.steps * self.size)
        scaled = _State(out, (self.steps + 1) * self.size)
        for block in self.blocks(writer):
            starts = self.inputs(writer, block, given["x"], at, range(2))
            sums = self.sums(writer, block, given["r"], range(2), state, starts)
            for n, (z, r) in zip(block.sequences, sums, strict=True):
                update = self.apply(writer, self.op.gate, z)
                reset = self.apply(writer, self.op.gate, r)
                kept = writer.bind(reset * self.load(writer, state, block, n))
                writer.store(out, self.place(updates, block, n), update)
                writer.store(out, self.place(scaled, block, n), kept)
        for block in self.blocks(writer):
            starts = self.inputs(writer, block, given["x"], at, (2,))
            sums = self.sums(writer, block, given["r"], (2,), scaled, starts)
            for n, (total,) in zip(block.sequences, sums, strict=True):
                new = self.apply(writer, self.op.cell, total)
                update = self.load(writer, updates, block, n)
                self._mix(writer, given, out, block, n, at, (update, new, state))

    def _mix(
        self,
        writer: Writer,
        given: dict[str, Buffer],
        out: Buffer,
        block: _Block,
        n: Index,
        at: Index,
        parts: tuple[Expr, Expr, _State],
    ) -> None:
        """H' = (1 - z) n + z h."""
        update, new, state = parts
        old = self.load(writer, state, block, n)
        mixed = writer.bind((1.0 - update) * new + update * old)
        self.keep(writer, given, block, n, at, ((self.states(out, at)["h"], mixed, old),))


def _total(writer: Writer, parts: Sequence[Buffer], lanes: int) -> Expr:
    total = parts[0].load(0, lanes)
    for part in parts[1:]:
        total = writer.bind(total + part.load(0, lanes))
    return writer.bind(total)


@lower(Lstm)
def lstm(op: Lstm, planner: Planner, tail: Tail) -> None:
    values = {"x": op.x, "r": op.r, "h": op.h, "c": op.c, "p": op.p, "lengths": op.lengths}
    operands, inputs = _inputs(op, values, planner)
    kernel = _LstmKernel(op, operands, _lanes(op, planner))
    planner.define(op.result, _called(op, kernel, inputs, planner, op.result.tensor.size))


@lower(Rnn)
def rnn(op: Rnn, planner: Planner, tail: Tail) -> None:
    values = {"x": op.x, "r": op.r, "h": op.h, "lengths": op.lengths}
    operands, inputs = _inputs(op, values, planner)
    kernel = _RnnKernel(op, operands, _lanes(op, planner))
    planner.define(op.result, _called(op, kernel, inputs, planner, op.result.tensor.size))


@lower(Gru)
def gru(op: Gru, planner: Planner, tail: Tail) -> None:
    values = {"x": op.x, "r": op.r, "h": op.h, "b": op.b, "lengths": op.lengths}
    operands, inputs = _inputs(op, values, planner)
    kernel = _GruKernel(op, operands, _lanes(op, planner))
    size = op.result.tensor.size
    if op.b is not None:
        planner.define(op.result, _called(op, kernel, inputs, planner, size))
        return
    room = _called(op, kernel, inputs, planner, size + 2 * op.h.tensor.size)
    shape = op.result.tensor.dims
    planner.define(op.result, strided_copy(planner, room, shape, contiguous(shape)))


def _lanes(op: Recurrent, planner: Planner) -> int:
    dtype = stored(op.x.tensor.dtype)
    return planner.machine.lanes(dtype) if dtype == "float32" else 1  # libm's functions are scalar


def _inputs(
    op: Recurrent, values: dict[str, Value | None], planner: Planner
) -> tuple[list[str], tuple[Slot, ...]]:
    """What a kernel reads: the operands that there are, the weights packed if they are constant."""
    present = {name: value for name, value in values.items() if value is not None}
    slots = {name: planner.slot(value) for name, value in present.items()}
    weights = constant_of(op.r)
    if weights is not None:
        slots["r"] = planner.constant(_packed(weights, op.gates, _lanes(op, planner)))
    return [*slots], tuple(slots.values())


def _packed(weights: Array, gates: int, lanes: int) -> Array:
    """[H, gates * H] as blocks of columns [H, gates, lanes], one after another."""
    hidden = len(weights)
    split = weights.reshape(hidden, gates, hidden)
    parts: list[Array] = []
    start = 0
    for width in widths(hidden, lanes):
        parts.append(split[:, :, start : start + width].ravel())
        start += width
    return np.concatenate(parts) if parts else weights.ravel()


def _called(
    op: Recurrent, kernel: _Kernel, inputs: tuple[Slot, ...], planner: Planner, size: int
) -> Slot:
    return planner.call(op.op_name, kernel, inputs, kernel.dtype, size)
