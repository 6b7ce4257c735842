"""Tile ops that every kind of layer uses: padding, constants in DRAM, the way out."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from mcc.runtime import Target

from . import tiles
from .held import Held
from .layers import Exit, Image
from .memory_map import Slots
from .patches import Geometry, Run, stretches
from .rolling import Node, repeat, tile
from .search import Search
from .weights import row_bytes

LOAD_INPUT, LOAD_WEIGHTS, LOAD_REST = 0, 1, 2
"""The machine's three load configurations, by what they serve: each is mostly set once a layer."""


@dataclass
class Shared:
    """What the layers of a run share: one machine, its memories in use from one to the next."""

    target: Target
    constants: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    """The bytes of every constant in DRAM, by the name of its memory."""
    used: set[str] = field(default_factory=set[str])
    """Memories of the machine: scratchpad, accumulator, multipliers, tables."""
    stored: set[str] = field(default_factory=set[str])
    """Memories in DRAM that layers have stored to since the last fence."""
    busy: tuple[range, ...] = ()
    """Rows of the scratchpad that the last step of the layer before reads."""
    search: Search = field(default_factory=Search)
    """What has been found out about tilings."""
    scale_row: int = 0
    table: int = 0
    """The next row of the multipliers, the next table, for a layer that needs one."""

    @cached_property
    def sums(self) -> Slots:
        """The halves of the accumulator: one is filled while the other one is stored."""
        return Slots((0, self.target.machine.accumulator.total_rows // 2))

    def fork(self) -> "Shared":
        """The same state, which goes its own way, with no constants yet."""
        other = replace(self, constants={}, used=set(self.used), stored=set(self.stored))
        other.__dict__["sums"] = deepcopy(self.sums)
        return other

    def fences(self, inputs: Sequence[str]) -> bool:
        """Whether a layer's first load must wait for a fence, which then is put there."""
        if self.stored.isdisjoint(inputs):
            return False
        self.stored.clear()
        return True

    def take_scales(self, rows: int) -> int:
        """The first of some rows for a layer's multipliers, others than the last layer's if any."""
        capacity = self.target.machine.scale_rows
        first = self.scale_row if self.scale_row + rows <= capacity else 0
        self.scale_row = first + rows
        return first

    def take_table(self) -> int:
        """A table, another one than the last layer's if there are two."""
        self.table = (self.table + 1) % self.target.machine.tables
        return self.table


@dataclass
class Memories:
    """The memories that one layer uses, by name."""

    shared: Shared
    layer: str
    inputs: Sequence[str]
    """In DRAM, one for each operand."""
    output: str
    held: Held | None = None
    """Where the output stays on the chip; then `output` is the scratchpad."""
    floor: int = 0
    """Rows of the scratchpad below are taken by activations that stay there."""
    frames: Sequence[Held | None] = ()
    """Where operands lie in the scratchpad."""

    waits: bool = False
    """The layer before stores one of the operands in the scratchpad."""

    def held_input(self, image: Image | None) -> Held | None:
        """Where an operand lies in the scratchpad, if it does."""
        return self.frames[image.operand] if image is not None and image.operand >= 0 else None

    @property
    def target(self) -> Target:
        return self.shared.target

    @property
    def dim(self) -> int:
        return self.target.machine.dim

    @property
    def wide(self) -> int:
        """Elements of the widest int8 move."""
        return self.target.machine.max_move_bytes

    def constant(self, name: str, content: np.ndarray | None = None) -> str:
        """The memory of a constant of this layer; its content when it is new."""
        full = f"{self.layer}.{name}"
        if content is not None:
            self.shared.constants[full] = content
        return full

    def name_of(self, image: Image) -> str:
        if image.operand >= 0:
            return self.inputs[image.operand]
        return self.constant("ones", np.ones(image.width * image.channels, np.int8))


def load_runs(
    memories: Memories,
    geometry: Geometry,
    runs: Sequence[Run],
    base: int,
    blocks: range,
    state: int = LOAD_INPUT,
) -> list[Node]:
    """Move-ins of a tile's pixels, for some blocks of channels, as wide and tall as may be."""
    image, dim = geometry.image, memories.dim
    stride = geometry.cols_taps.stride * image.pixel_stride
    nodes: list[Node] = []
    for first in range(blocks.start, blocks.stop, memories.wide // dim):
        stop = min(first + memories.wide // dim, blocks.stop)
        cols = min(stop * dim, image.channels) - first * dim
        local = base + (first - blocks.start) * geometry.block_rows
        for run in runs:
            for done in range(0, run.count, dim):
                addresses = {
                    "row": local + run.row + done,
                    "offset": image.offset + run.offset + done * stride + first * dim,
                }
                nodes.append(
                    tile(
                        tiles.MoveIn,
                        {"local": "scratchpad", "dram": memories.name_of(image)},
                        addresses,
                        rows=min(dim, run.count - done),
                        cols=cols,
                        stride=stride,
                        block=geometry.block_rows,
                        state=state,
                    )
                )
    return nodes


def fill(memories: Memories, mask: "np.ndarray", base: int, blocks: int, pad: int) -> list[Node]:
    """Padding into the marked rows of every block of channels, whose rows are those of the mask.

    A machine whose moves-in from address 0 write zeros only gets another pad from a constant.
    """
    dim = memories.dim
    buffers = {"local": "scratchpad"}
    addresses: dict[str, int] = {}
    state = LOAD_INPUT
    if pad and not memories.target.has("zero_point"):
        buffers["dram"] = memories.constant("pads", np.full(memories.wide, pad, np.int8))
        addresses["offset"] = 0
        state = LOAD_REST
    nodes: list[Node] = []

    def put(row: int, rows: int, width: int, apart: int) -> None:
        nodes.append(
            tile(
                tiles.MoveIn,
                buffers,
                {"row": base + row, **addresses},
                rows=rows,
                cols=width * dim,
                block=apart,
                state=state,
                pad=pad,
            )
        )

    # A wide command fills one place of several blocks, or several places of one block.
    side = memories.wide // dim
    for start, rows, apart, times in _alike(mask, dim, side):
        if times > blocks:
            for block in range(blocks):
                put(block * len(mask) + start, rows, times, apart)
            continue
        for place in range(times):
            for first in range(0, blocks, side):
                row = first * len(mask) + start + place * apart
                put(row, rows, min(side, blocks - first), len(mask))
    return nodes


def _alike(mask: "np.ndarray", dim: int, most: int) -> Iterator[tuple[int, int, int, int]]:
    """The marked rows in pieces of up to `dim`; up to `most` equal ones at even distances go on.

    Each as (first row, rows, distance, how many).
    """
    pieces = [
        (start + done, min(dim, count - done))
        for start, count in stretches(mask)
        for done in range(0, count, dim)
    ]
    at = 0
    while at < len(pieces):
        start, rows = pieces[at]
        apart = pieces[at + 1][0] - start if at + 1 < len(pieces) else rows
        times = 1
        while times < most and at + times < len(pieces):
            if pieces[at + times] != (start + times * apart, rows):
                break
            times += 1
        yield start, rows, apart if times > 1 else rows, times
        at += times


@dataclass
class Leaving:
    """A layer's way out of the accumulator: attributes of its move-outs, tables it needs."""

    memories: Memories
    exit: Exit
    channels: int
    _batch: int = 0

    def __post_init__(self) -> None:
        memories, dim = self.memories, self.memories.dim
        self._blocks = -(-self.channels // dim)
        self._first_row = self._table = 0
        if self.exit.multiplier.ndim:
            scales = np.zeros(self._blocks * dim, np.float32)
            scales[: self.channels] = self.exit.multiplier
            memories.constant("scales", scales)
            memories.shared.used.add("multipliers")
            self._first_row = memories.shared.take_scales(min(self._blocks, self._capacity))
        if self.exit.table is not None:
            memories.constant("table", by_bits(self.exit.table))
            memories.shared.used.add("tables")
            self._table = memories.shared.take_table()

    @property
    def _capacity(self) -> int:
        """Blocks of channels whose multipliers fit the machine's table."""
        return self.memories.target.machine.scale_rows

    def tables(self) -> list[Node]:
        """Loads of what the layer's first move-outs need."""
        nodes: list[Node] = []
        if self.exit.table is not None:
            dram = self.memories.constant("table")
            buffers = {"tables": "tables", "dram": dram}
            nodes.append(tile(tiles.LoadTable, buffers, {}, table=self._table))
        if self.exit.multiplier.ndim:
            nodes.append(self._load_scales())
        return nodes

    def scales(self, block: int) -> list[Node]:
        """Loads of the multipliers of a block of channels, unless the table has them."""
        if not self.exit.multiplier.ndim or block // self._capacity == self._batch:
            return []
        self._batch = block // self._capacity
        return [self._load_scales()]

    def _load_scales(self) -> Node:
        first = self._batch * self._capacity
        count = min(self._blocks - first, self._capacity)
        return tile(
            tiles.LoadScales,
            {"scales": "multipliers", "dram": self.memories.constant("scales")},
            {"row": self._first_row, "offset": 4 * first * self.memories.dim},
            count=count * self.memories.dim,
        )

    def out(
        self, row: int, offset: int, rows: int, cols: int, stride: int, block: int, **pool: object
    ) -> Node:
        """One move-out of a block of channels from accumulator row `row` to byte `offset`."""
        exit = self.exit
        buffers = {"target": self.memories.output, "local": "accumulator"}
        addresses = {"offset": offset, "row": row}
        fixed: dict[str, object] = {}
        if exit.multiplier.ndim:
            buffers["scales"] = "multipliers"
            addresses["scales_row"] = self._first_row + block % self._capacity
        else:
            fixed["scale"] = float(exit.multiplier)
        if exit.table is not None:
            buffers["tables"] = "tables"
            fixed["table"] = self._table
        if self.memories.target.has("zero_point"):
            fixed |= {"zero": exit.zero, "lo": exit.lo, "hi": exit.hi}
        else:
            fixed["relu"] = exit.lo == 0
        return tile(
            tiles.MoveOut,
            buffers,
            addresses,
            rows=rows,
            cols=cols,
            stride=stride,
            **fixed,
            **pool,
        )


def by_bits(table: "np.ndarray") -> "np.ndarray":
    """A table for -128 to 127 in the machine's order: by the value's bits as an unsigned byte."""
    return np.roll(table, 128)


def quads(
    buffer: str,
    base: int,
    offset: int,
    shape: tuple[int, int],
    memories: Memories,
    *,
    nibbles: bool = False,
) -> list[Node]:
    """Loads of tiles side by side (see `weights.pack`): so many, of so many rows.

    Four at a time, or eight where weights are `nibbles`.
    """
    dim, (count, rows) = memories.dim, shape
    side = (2 if nibbles else 1) * memories.wide // dim
    fixed: dict[str, object] = {"packed": True} if nibbles else {}

    def load(first: int, width: int) -> list[Node]:
        """Some tiles from the `first` on; more rows than the machine moves at once in two parts."""
        start, stride = offset + first // side * rows * memories.wide, memories.wide
        if width < side:
            stride = row_bytes(width, dim, memories.wide, nibbles=nibbles)
        return [
            tile(
                tiles.MoveIn,
                {"local": "scratchpad", "dram": buffer},
                {"row": base + first * rows + done, "offset": start + done * stride},
                rows=min(dim, rows - done),
                cols=width * dim,
                stride=stride,
                block=rows,
                state=LOAD_WEIGHTS,
                **fixed,
            )
            for done in range(0, rows, dim)
        ]

    advance = {"row": side * rows, "offset": rows * memories.wide}
    nodes = repeat(load(0, side), count // side, advance)
    if count % side:
        nodes += load(count // side * side, count % side)
    return nodes
