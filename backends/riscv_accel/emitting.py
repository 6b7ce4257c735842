"""Tile ops that every kind of layer uses: padding, constants in DRAM, the way out."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mcc.runtime import Target

from . import tiles
from .layers import Exit, Image
from .patches import Geometry, Run, stretches
from .rolling import Node, repeat, tile

LOAD_INPUT, LOAD_WEIGHTS, LOAD_REST = 0, 1, 2
"""The machine's three load configurations, by what they serve: each is mostly set once a layer."""


@dataclass
class Memories:
    """The memories that a kernel uses, by name; constants with their bytes."""

    target: Target
    constants: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    used: set[str] = field(default_factory=set[str])
    """Of the machine: scratchpad, accumulator, multipliers, tables."""

    @property
    def dim(self) -> int:
        return self.target.machine.dim

    @property
    def wide(self) -> int:
        """Elements of the widest int8 move."""
        return self.target.machine.max_move_bytes

    def name_of(self, image: Image) -> str:
        if image.operand >= 0:
            return f"x{image.operand}"
        self.constants["ones"] = np.ones(image.width * image.channels, np.int8)
        return "ones"


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


def fill(
    memories: Memories, geometry: Geometry, mask: "np.ndarray", base: int, blocks: int, pad: int
) -> list[Node]:
    """Padding into the marked rows of every block of channels.

    A machine whose moves-in from address 0 write zeros only gets another pad from a constant.
    """
    dim = memories.dim
    buffers = {"local": "scratchpad"}
    addresses: dict[str, int] = {}
    state = LOAD_INPUT
    if pad and not memories.target.has("zero_point"):
        memories.constants["pads"] = np.full(memories.wide, pad, np.int8)
        buffers["dram"] = "pads"
        addresses["offset"] = 0
        state = LOAD_REST
    nodes: list[Node] = []
    for first in range(0, blocks, memories.wide // dim):
        width = min(memories.wide // dim, blocks - first)
        for start, count in stretches(mask):
            for done in range(0, count, dim):
                row = base + first * geometry.block_rows + start + done
                nodes.append(
                    tile(
                        tiles.MoveIn,
                        buffers,
                        {"row": row, **addresses},
                        rows=min(dim, count - done),
                        cols=width * dim,
                        block=geometry.block_rows,
                        state=state,
                        pad=pad,
                    )
                )
    return nodes


@dataclass
class Leaving:
    """A layer's way out of the accumulator: attributes of its move-outs, tables it needs."""

    memories: Memories
    exit: Exit
    channels: int
    _batch: int = -1

    def __post_init__(self) -> None:
        memories, dim = self.memories, self.memories.dim
        if self.exit.multiplier.ndim:
            blocks = -(-self.channels // dim)
            scales = np.zeros(blocks * dim, np.float32)
            scales[: self.channels] = self.exit.multiplier
            memories.constants["scales"] = scales
            memories.used.add("multipliers")
        if self.exit.table is not None:
            memories.constants["table"] = by_bits(self.exit.table)
            memories.used.add("tables")

    def tables(self) -> list[Node]:
        """Loads of what all move-outs of the layer need."""
        if self.exit.table is None:
            return []
        return [tile(tiles.LoadTable, {"tables": "tables", "dram": "table"}, {}, table=0)]

    def scales(self, block: int) -> list[Node]:
        """Loads of the multipliers of a block of channels, unless the table has them."""
        if not self.exit.multiplier.ndim:
            return []
        capacity = self.memories.target.machine.scale_rows
        batch = block // capacity
        if batch == self._batch:
            return []
        self._batch = batch
        dim = self.memories.dim
        count = min(len(self.memories.constants["scales"]) - batch * capacity * dim, capacity * dim)
        return [
            tile(
                tiles.LoadScales,
                {"scales": "multipliers", "dram": "scales"},
                {"row": 0, "offset": 4 * batch * capacity * dim},
                count=count,
            )
        ]

    def out(
        self, row: int, offset: int, rows: int, cols: int, stride: int, block: int, **pool: object
    ) -> Node:
        """One move-out of a block of channels from accumulator row `row` to byte `offset`."""
        exit = self.exit
        buffers = {"dram": "y", "local": "accumulator"}
        addresses = {"offset": offset, "row": row}
        fixed: dict[str, object] = {}
        if exit.multiplier.ndim:
            buffers["scales"] = "multipliers"
            addresses["scales_row"] = block % self.memories.target.machine.scale_rows
        else:
            fixed["scale"] = float(exit.multiplier)
        if exit.table is not None:
            buffers["tables"] = "tables"
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
    buffer: str, base: int, offset: int, count: int, memories: Memories, state: int
) -> list[Node]:
    """Loads of `count` packed tiles (see `weights.pack`), four at a time."""
    dim = memories.dim
    side = memories.wide // dim
    nodes: list[Node] = []

    def load(first: int, width: int) -> Node:
        return tile(
            tiles.MoveIn,
            {"local": "scratchpad", "dram": buffer},
            {"row": base + first * dim, "offset": offset + first * dim * dim},
            rows=dim,
            cols=width * dim,
            stride=memories.wide,
            block=dim,
            state=state,
        )

    whole = count // side
    if whole:
        advance = {"row": side * dim, "offset": side * dim * dim}
        nodes += repeat([load(0, side)], whole, advance)
    if count % side:
        nodes.append(load(whole * side, count % side))
    return nodes
