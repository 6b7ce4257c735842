"""A maximum pool or a table alone: in and out through the scratchpad, nothing multiplied."""

from collections.abc import Iterator
from dataclasses import replace

from mcc.ir import OpError

from . import tiles
from .emitting import LOAD_INPUT, Memories, by_bits, fill, load_runs
from .layers import Move, Window
from .memory_map import Slots
from .patches import Area, Geometry
from .rolling import Node, roll, tile
from .steps import Step


def plan_move(move: Move, memories: Memories) -> Iterator[Step]:
    """A move as one step; fills `memories` with the constants it loads."""
    shared = memories.shared
    shared.used.add("scratchpad")
    step = Step(first=True, fenced=shared.fences(memories.inputs))
    table = 0
    if move.table is not None:
        table = shared.take_table()
        shared.used.add("tables")
        dram = memories.constant("table", by_bits(move.table))
        buffers = {"tables": "tables", "dram": dram}
        step.loads.append(tile(tiles.LoadTable, buffers, {}, table=table))
    moved = (
        _stream(move, memories, table) if move.pool is None else _pool(move, move.pool, memories)
    )
    step.products += roll(moved)
    yield step


def _stream(move: Move, memories: Memories, table: int) -> list[Node]:
    """Bytes through a table, a wide row after the other."""
    size, wide, dim = move.x.channels, memories.wide, memories.dim
    slots = Slots(range(0, memories.target.machine.scratchpad.total_rows - wide + 1, wide))
    nodes: list[Node] = []
    whole = size // wide
    pieces = [(r * wide, min(dim, whole - r), wide) for r in range(0, whole, dim)]
    if size % wide:
        pieces.append((whole * wide, 1, size % wide))
    for offset, rows, cols in pieces:
        row, _, _ = slots.place(offset)
        nodes.append(
            tile(
                tiles.MoveIn,
                {"local": "scratchpad", "dram": memories.name_of(move.x)},
                {"row": row, "offset": offset},
                rows=rows,
                cols=cols,
                stride=wide,
                block=dim,
                state=LOAD_INPUT,
            )
        )
        nodes.append(_out(memories, row, offset, rows, cols, wide, table=table))
    return nodes


def _out(
    memories: Memories, row: int, offset: int, rows: int, cols: int, stride: int, **fixed: object
) -> Node:
    buffers = {"target": memories.output, "local": "scratchpad"}
    if "table" in fixed:
        buffers["tables"] = "tables"
    return tile(
        tiles.MoveOut,
        buffers,
        {"offset": offset, "row": row},
        rows=rows,
        cols=cols,
        stride=stride,
        **fixed,
    )


def _pool(move: Move, pool: Window, memories: Memories) -> list[Node]:
    """Rows of the padded image, some channel blocks at a time; the padding is -128."""
    x, dim = move.x, memories.dim
    padded = tuple(
        (extent - 1) * pool.stride[i] + pool.size[i]
        for i, extent in enumerate((move.height, move.width))
    )
    blocks = -(-x.channels // dim)
    rows, group = _pool_tile(move, pool, padded[1], blocks, memories)
    tall = (rows - 1) * pool.stride[0] + pool.size[0]
    place = Window((1, 1), pad=pool.pad)
    geometry = Geometry.of(x, place, (padded[0], padded[1]), (tall, padded[1]))
    slots = Slots((0, geometry.block_rows * group))
    nodes: list[Node] = []
    for n in range(x.batch):
        here = replace(geometry, image=x.one(n))
        for first in range(0, blocks, group):
            chosen = range(first, min(first + group, blocks))
            for row in range(0, move.height, rows):
                count = min(rows, move.height - row)
                area = Area(
                    row * pool.stride[0], 0, tall - (rows - count) * pool.stride[0], padded[1]
                )
                base, _, _ = slots.place((n, first, row))
                runs, needed = here.runs(area)
                part = fill(memories, needed, base, len(chosen), -128)
                part += load_runs(memories, here, runs, base, chosen)
                window = (*pool.size, *pool.stride, 0, 0, area.rows, padded[1], count)
                for i, block in enumerate(chosen):
                    pixel = (n * move.height + row) * move.width
                    part.append(
                        _out(
                            memories,
                            base + i * geometry.block_rows,
                            pixel * x.channels + block * dim,
                            0,
                            min(dim, x.channels - block * dim),
                            x.channels,
                            pool=(*window, move.width, move.width),
                        )
                    )
                nodes += roll(part)
    return nodes


def _pool_tile(
    move: Move, pool: Window, width: int, blocks: int, memories: Memories
) -> tuple[int, int]:
    """Output rows and channel blocks of a tile: the largest of which two fit the scratchpad."""
    half = memories.target.machine.scratchpad.total_rows // 2
    for group in range(min(blocks, memories.wide // memories.dim), 0, -1):
        for rows in range(move.height, 0, -1):
            tall = (rows - 1) * pool.stride[0] + pool.size[0]
            # The stock configuration counts rows in 8 bits.
            if tall * width * group <= half and tall <= 255:
                return rows, group
    raise OpError(
        f"one row of pooling windows needs {pool.size[0] * width} scratchpad rows, "
        f"there are {half} in half"
    )
