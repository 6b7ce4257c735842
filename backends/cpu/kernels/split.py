"""The contraction of floats in tile registers (Intel AMX), each number as three bfloat16.

Six products of parts in tile registers take less time than one in vector registers, and their sum
in float32 is as near (`parts.py`). The weights are split when they are packed; x is split a chunk
of positions at a time, into a panel, while all results of the chunk before it are computed. A chunk
with an infinity or NaN is computed again, by multiply-adds of the whole numbers.
"""

import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

from ..registry import contiguous
from ..tail import Anchor, Node
from ..tir import Buffer, Index, Writer, constant, index_sum, select, smaller_index
from .border import Border
from .loops import PARALLEL_WORK, Loop, digits, fused_loops
from .panel import Panel, Windows, as_expr
from .parts import PARTS, PRODUCTS, sum_of_parts
from .positions import W, X, Y
from .split_blocking import KEPT_WEIGHTS, ROW, UNIT, SplitBlocking
from .split_store import Store, Waiting
from .tile_blocking import LANES, ROW_BYTES, SHORT, SUMS, WS, XS
from .tiles import load_tile, register, store_tile

_TASKS = 8
"""Parallel tasks that keep a few threads equally busy."""
_GROUP = 4
"""Blocks of results in a task, at least: each task splits its own x, which takes as long as one."""
_LEAST_BLOCKS = 20
"""From which on it pays to store one while the next is multiplied."""
_LINE = 32
"""Parts in a line of the cache."""


@dataclass(frozen=True)
class SplitContraction:
    """One kernel; it reads x, packed weights, the configuration, then the tail's operands.

    A loop's strides: y, x, w, the tail's operands; a tap's: (0, x, w).
    """

    lead: tuple[Loop, ...]
    """Loops with weights of their own."""
    positions: tuple[Loop, ...]
    """Loops that share weights, the outermost first."""
    vec: Loop
    taps: tuple[Loop, ...]
    run: int
    """Elements that lie side by side in x, for each tap."""
    blocking: SplitBlocking
    root: Node
    origin: int = 0
    """Where y begins."""
    border: Border | None = None
    """What is written around y."""

    @property
    def in_place(self) -> bool:
        """Whether operands of the tail may lie where y goes: no sums wait there."""
        return self.blocking.passes == 1

    def __call__(self, writer: Writer, inputs: tuple[Buffer, ...], out: Buffer) -> None:
        results = math.prod(loop.extent for loop in (*self.lead, *self.positions, self.vec))
        if not results:
            return
        if self.border is not None:
            self.border.write(writer, out)
        b = self.blocking
        parallel = b.taps * self.run * results >= 2 * PARALLEL_WORK
        # By every task that takes part: the configuration is its thread's own.
        writer.effect("llvm.x86.ldtilecfg", inputs[2].address(0))
        count = math.prod(loop.extent for loop in self.positions)
        windows = Windows(self.positions, self.taps, self.run, count, b)
        panel = Panel.make(writer, windows, inputs[0])
        steps = b.taps * b.steps
        for first in range(0, steps, b.pass_steps):
            last = first + b.pass_steps >= steps
            part = _Part(first, min(b.pass_steps, steps - first), last=last)
            _Pass(self, writer, inputs, out, panel, part).write(parallel=parallel)
        writer.effect("llvm.x86.tilerelease")


@dataclass(frozen=True)
class _Part:
    """Steps of the reduction that are computed together."""

    first: int
    steps: int
    last: bool


@dataclass(frozen=True)
class _Next:
    """The chunk that is split while another is multiplied."""

    first: Index
    place: Index
    copy: Index
    rows: int
    """Positions in each step of each block of results."""


@dataclass(frozen=True)
class _Pass:
    """All results, for one part of the reduction."""

    kernel: SplitContraction
    writer: Writer
    inputs: tuple[Buffer, ...]
    out: Buffer
    panel: Panel
    part: _Part

    @property
    def _blocking(self) -> SplitBlocking:
        return self.kernel.blocking

    @property
    def _width(self) -> int:
        """Results of a block."""
        return self._blocking.tile.columns * LANES

    @property
    def _block_stride(self) -> int:
        """From one block of results to the next in w."""
        b = self._blocking
        return b.taps * b.steps * b.step_elements()

    def write(self, *, parallel: bool) -> None:
        """Tasks are groups of blocks of results for a chunk of positions."""
        b, writer, panel, vec = self._blocking, self.writer, self.panel, self.kernel.vec
        chunks = -(-panel.windows.count // b.chunk)
        whole, rest = divmod(vec.extent, self._width)
        lead = self.kernel.lead
        shared = math.prod(loop.extent for loop in lead) * chunks
        groups = 1
        if parallel and not b.ahead:
            groups = max(1, min(whole // _GROUP, -(-_TASKS // shared)))
        arrays = len(vec.strides)
        # Three more arrays: the number of the chunk among all, in its loop, and of the group.
        loops = [*lead, Loop(chunks, (0,) * arrays), Loop(groups, (0,) * arrays)]
        numbers = [*contiguous(tuple(loop.extent for loop in loops[:-1])), 0]
        counted = [
            loop.with_array(number).with_array(int(at == -2)).with_array(int(at == -1))
            for loop, number, at in zip(loops, numbers, range(-len(loops), 0), strict=True)
        ]
        starts: list[Index] = [0] * (arrays + 3)
        starts[Y] = self.kernel.origin
        starts[W] = self.part.first * b.step_elements()
        held = writer.scratch("int32", 1)
        writer.store(held, 0, constant(-1, "int32"))
        store = self._stores(self._width if whole else rest)
        every = -(-panel.windows.count // b.block) * max(1, whole)
        waiting = Waiting.make(writer, store) if every >= _LEAST_BLOCKS else None
        with fused_loops(writer, counted, starts, parallel=parallel) as at:
            *places, number, chunk, group = at
            first = writer.bind_index(index_sum((chunk, b.chunk)))
            copy = writer.bind_index(chunk % 2) if b.ahead else 0
            with writer.branch(held.load(0).differs(number)):
                steps = range(self.part.first, self.part.first + self.part.steps)
                panel.fill(writer, places[X], first, copy, steps)
                writer.store(held, 0, as_expr(number))
            next_ = None
            if b.ahead:
                rows = -(-b.block // max(1, whole))
                after = writer.bind_index(index_sum((first, 1), (b.chunk, 1)))
                next_ = _Next(
                    after, places[X], writer.bind_index(index_sum((copy, -1), (1, 1))), rows
                )
                panel.begin(writer, after)
            with self._blocks(whole, groups, group) as block:
                if whole:
                    moved = self._moved(places, block)
                    self._chunk(moved, first, copy, block, store, waiting, next_)
            if rest:
                last = index_sum((group, 1), (1 - groups, 1))
                with writer.branch(as_expr(last).equals(0)) if groups > 1 else nullcontext():
                    moved = self._moved(places, whole)
                    if whole:
                        self._chunk(moved, first, copy, 0, self._stores(rest), None, None)
                    else:
                        self._chunk(moved, first, copy, 0, store, waiting, next_)
            if next_ is not None:
                panel.end(writer, next_.copy)
                more = as_expr(chunk) < chunks - 1
                following = as_expr(index_sum((number, 1), (1, 1)))
                writer.store(held, 0, select(more, following, -1))
        if waiting is not None:
            waiting.rest(writer)

    def _stores(self, valid: int) -> Store:
        """Of blocks of so many results."""
        part, kernel = self.part, self.kernel
        return Store.make(
            self.writer,
            self.panel.windows,
            kernel.vec,
            kernel.root if part.last else Anchor(),
            self.inputs[3:],
            self.out,
            valid,
            added=part.first > 0,
        )

    def _moved(self, places: Sequence[Index], block: Index) -> list[Index]:
        strides = [self._width * stride for stride in self.kernel.vec.strides]
        strides[W] = self._block_stride
        return [
            self.writer.bind_index(index_sum((place, 1), (block, stride)))
            for place, stride in zip(places, strides, strict=True)
        ]

    @contextmanager
    def _blocks(self, whole: int, groups: int, group: Index) -> Generator[Index]:
        """The blocks of results of a group."""
        writer = self.writer
        if groups == 1 or isinstance(group, int):
            with writer.loop(whole) as block:
                yield block
            return
        begin = writer.bind_index(group * whole // groups)
        end = writer.bind_index((group + 1) * whole // groups)
        with writer.span(as_expr(begin), as_expr(end)) as block:
            yield block

    def _chunk(
        self,
        places: Sequence[Index],
        first: Index,
        copy: Index,
        number: Index,
        store: Store,
        waiting: Waiting | None,
        next_: _Next | None,
    ) -> None:
        """The results of a block, which is number `number`, for all positions of a chunk."""
        b, writer = self._blocking, self.writer
        held, blocks = b.padded // b.block, -(-self.panel.windows.count // b.block)
        loop = writer.loop(held)
        if blocks % held and not isinstance(first, int):
            count = smaller_index(blocks - writer.bind_index(first // b.block), held)
            loop = writer.span(constant(0, "int32"), as_expr(writer.bind_index(count)))
        with loop as block:
            at = writer.bind_index(index_sum((first, 1), (block, b.block)))
            x = index_sum((copy, b.panel_elements), (block, b.block * ROW))
            w = places[W]
            self._multiply(w, x, self._ahead(block), number, store.sums, waiting, next_)
            with writer.branch(self.panel.special.load(copy).differs(0)):
                self._exact(places, at, store)
            if waiting is None:
                store.block(writer, places, at)
            else:
                waiting.put(writer, places, at)

    def _ahead(self, block: Index) -> tuple[Index, int]:
        """What each step fetches into the cache: how far ahead in w, and how many lines.

        Few weights are there after the first chunk. Of many, the blocks of a chunk fetch the next
        block of results, for only the first would wait for it.
        """
        b, step = self._blocking, self._blocking.step_elements()
        if self.inputs[1].size * 2 <= KEPT_WEIGHTS:
            return 0, 0
        lines = -(-step // (_LINE * (b.padded // b.block)))
        return index_sum((self._block_stride, 1), (block, lines * _LINE)), lines

    def _multiply(
        self,
        w: Index,
        x: Index,
        ahead: tuple[Index, int],
        number: Index,
        sums: Sequence[Buffer],
        waiting: Waiting | None,
        next_: _Next | None,
    ) -> None:
        """The sums of a block, in tile registers."""
        b, writer, panel = self._blocking, self.writer, self.panel
        tiles, columns = range(b.tile.tiles), range(len(sums))
        each = 0 if waiting is None else waiting.steps(self.part.steps)
        for t in tiles:
            for c in columns:
                writer.effect("llvm.x86.tilezero", register(SUMS + 2 * t + c))
        with writer.loop(self.part.steps) as step:
            x_at = writer.bind_index(index_sum((panel.step(0, step), 1), (x, 1)))
            w_at = writer.bind_index(index_sum((w, 1), (step, b.step_elements())))
            source: Index = 0
            if next_ is not None:
                source = panel.windows.source(writer, index_sum((step, 1), (self.part.first, 1)))
                source = writer.bind_index(index_sum((source, 1), (next_.place, 1)))
            distance, lines = ahead
            for line in range(lines):
                at = index_sum((w_at, 1), (distance, 1), (line, _LINE))
                writer.prefetch(self.inputs[1], at)
            held: tuple[int, int] | tuple[None, None] = (None, None)
            done = 0
            for order, now in enumerate(PRODUCTS, start=1):
                for t in tiles if now[0] != held[0] else ():
                    moved = (now[0], b.padded * ROW), (t, b.tile.rows * ROW)
                    load_tile(writer, XS + t, panel.parts, index_sum((x_at, 1), *moved), ROW_BYTES)
                for c in columns if now[1] != held[1] else ():
                    at = self._weights(w_at, now[1], c)
                    load_tile(writer, WS + c, self.inputs[1], at, 2 * UNIT * self._width)
                held = now
                for t in tiles:
                    for c in columns:
                        registers = (SUMS + 2 * t + c, XS + t, WS + c)
                        writer.effect(SHORT.instruction, *map(register, registers))
                # The vector units have nothing to do meanwhile.
                if waiting is not None:
                    begin, end = (each * n // len(PRODUCTS) for n in (order - 1, order))
                    waiting.some(writer, index_sum((step, each), (begin, 1)), end - begin)
                if next_ is None:
                    continue
                to = writer.bind_index(panel.step(next_.copy, step))
                for row in range(done, next_.rows * order // len(PRODUCTS)):
                    position = index_sum((number, next_.rows), (row, 1))
                    position = writer.bind_index(smaller_index(position, b.block - 1))
                    panel.row(writer, source, next_.first, position, to)
                done = next_.rows * order // len(PRODUCTS)
        for t in tiles:
            for c in columns:
                store_tile(writer, SUMS + 2 * t + c, sums[c], t * b.tile.rows * LANES)

    def _weights(self, step: Index, part: int, column: int) -> Index:
        size = self._blocking.tile.units * UNIT * self._width
        return index_sum((step, 1), (part, size), (column, UNIT * LANES))

    def _exact(self, places: Sequence[Index], position: Index, store: Store) -> None:
        """The sums again, by multiply-adds of whole numbers: IEEE's for infinities."""
        b, writer, windows = self._blocking, self.writer, self.panel.windows
        x, weights = self.inputs[:2]
        lane_pairs = UNIT * self._width
        with writer.span(constant(0, "int32"), as_expr(store.rows(writer, position))) as row:
            at = writer.bind_index(index_sum((position, 1), (row, 1)))
            place = writer.bind_index(windows.place(writer, places, at)[X])
            to = index_sum((row, LANES))
            for column in store.sums:
                writer.store(column, to, constant(0.0, "float32", LANES))
            with writer.loop(self.part.steps) as step:
                number = index_sum((step, 1), (self.part.first, 1))
                source = windows.source(writer, number)
                start = index_sum((digits(writer, number, [b.taps, b.steps])[-1], b.depth))
                # What a last step reads for the second time has no weights.
                early = index_sum((start, 1), (smaller_index(start, windows.run - b.depth), -1))
                w_at = index_sum((places[W], 1), (step, b.step_elements()))
                with writer.span(as_expr(early), constant(b.depth, "int32")) as n:
                    element = writer.bind(x.load(index_sum((place, 1), (source, 1), (n, 1))))
                    pair = writer.bind_index(n // UNIT)
                    for c, column in enumerate(store.sums):
                        parts = [
                            index_sum((self._weights(w_at, part, c), 1), (pair, lane_pairs))
                            for part in range(PARTS)
                        ]
                        pairs = [weights.load(place_, UNIT * LANES) for place_ in parts]
                        bits = [writer.bind(two.bits("int32", LANES)) for two in pairs]
                        w = sum_of_parts(bits, n % UNIT)
                        total = column.load(to, LANES) + element.broadcast(LANES) * w
                        writer.store(column, to, total)
