"""A maximum pool or a table alone: in and out through the scratchpad, nothing multiplied."""

from dataclasses import replace

from mcc.ir import OpError

from . import tiles
from .emitting import LOAD_INPUT, Memories, by_bits, fill, load_runs
from .layers import Move, Window
from .memory_map import Slots
from .patches import Area, Geometry
from .rolling import Node, roll, tile


def plan_move(move: Move, memories: Memories) -> list[Node]:
    """The tile ops of a move, rolled; fills `memories` with the constants they load."""
    memories.used.add("scratchpad")
    nodes: list[Node] = []
    if move.table is not None:
        memories.constants["table"] = by_bits(move.table)
        memories.used.add("tables")
        nodes.append(tile(tiles.LoadTable, {"tables": "tables", "dram": "table"}, {}, table=0))
    nodes.append(tile(tiles.Fence, {}, {}))
    nodes += _stream(move, memories) if move.pool is None else _pool(move, move.pool, memories)
    return roll(nodes)


def _stream(move: Move, memories: Memories) -> list[Node]:
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
        nodes.append(_out(move, row, offset, rows, cols, wide, ()))
    return nodes


def _out(
    move: Move, row: int, offset: int, rows: int, cols: int, stride: int, pool: tuple[int, ...]
) -> Node:
    buffers = {"dram": "y", "local": "scratchpad"}
    if move.table is not None:
        buffers["tables"] = "tables"
    return tile(
        tiles.MoveOut,
        buffers,
        {"offset": offset, "row": row},
        rows=rows,
        cols=cols,
        stride=stride,
        pool=pool,
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
                part = fill(memories, here, needed, base, len(chosen), -128)
                part += load_runs(memories, here, runs, base, chosen)
                window = (*pool.size, *pool.stride, 0, 0, area.rows, padded[1], count)
                for i, block in enumerate(chosen):
                    pixel = (n * move.height + row) * move.width
                    part.append(
                        _out(
                            move,
                            base + i * geometry.block_rows,
                            pixel * x.channels + block * dim,
                            0,
                            min(dim, x.channels - block * dim),
                            x.channels,
                            (*window, move.width, move.width),
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
