"""Which rows of the machine's memories a sequence of tile ops touches, as bounding ranges."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

from . import tiles
from .rolling import LoopShape, Node, Shape, TileShape


@dataclass(frozen=True)
class Span:
    """Rows `first` to `stop - 1` of a memory."""

    memory: str
    first: int
    stop: int
    writes: bool

    def meets(self, other: "Span") -> bool:
        """Whether the order of the two matters: they share rows, and one writes them."""
        return (
            (self.writes or other.writes)
            and self.memory == other.memory
            and self.first < other.stop
            and other.first < self.stop
        )


def spans(nodes: Iterable[Node], dim: int) -> Iterator[Span]:
    """The rows that each tile op touches in all its iterations; `dim` is the array's width."""
    for node in nodes:
        yield from _spans(node.shape, iter(node.constants), (), dim)


def meet(left: Iterable[Node], right: Iterable[Node], dim: int) -> bool:
    """Whether the order of two sequences matters."""
    found = list(spans(right, dim))
    return any(span.meets(other) for span in spans(left, dim) for other in found)


def _spans(
    shape: Shape, constants: Iterator[int], counts: tuple[int, ...], dim: int
) -> Iterator[Span]:
    if isinstance(shape, LoopShape):
        for part in shape.body:
            yield from _spans(part, constants, (*counts, shape.count), dim)
        return
    # Which table is no address, since it never moves.
    first = {name: item for name, item in shape.fixed if isinstance(item, int)}
    last = dict(first)
    for name, steps in zip(shape.names, shape.steps, strict=True):
        moves = [step * (count - 1) for step, count in zip(steps, counts, strict=True)]
        constant = next(constants)
        first[name] = constant + sum(min(move, 0) for move in moves)
        last[name] = constant + sum(max(move, 0) for move in moves)
    memories = dict(shape.buffers)
    for operand, address, rows, writes in _touched(shape, dim):
        if operand in memories:
            yield Span(memories[operand], first[address], last[address] + rows, writes)


def _touched(shape: TileShape, dim: int) -> Iterator[tuple[str, str, int, bool]]:
    """Of a tile op: (operand, its address, how many rows, whether they are written)."""
    fixed: Mapping[str, object] = dict(shape.fixed)

    def number(name: str, default: int = 0) -> int:
        found = fixed.get(name, default)
        assert isinstance(found, int)
        return found

    blocks = -(-number("cols") // dim)
    if shape.make is tiles.MoveIn:
        yield "local", "row", (blocks - 1) * number("block", dim) + number("rows"), True
    elif shape.make is tiles.Multiply:
        height = (number("rows") - 1) * number("a_stride", 1) + 1
        sparse = "second" in shape.names
        yield "local", "a", height, False
        if sparse:
            yield "local", "second", height, False
        if not number("keep"):
            yield "local", "b", dim + dim // 4 if sparse else number("depth"), False
        yield "sums", "c", number("rows"), True
    elif shape.make is tiles.MoveOut:
        pool = cast(tuple[int, ...], fixed.get("pool") or ())
        rows = pool[6] * pool[7] if pool else (blocks - 1) * dim + number("rows")
        yield "local", "row", rows, False
        # In DRAM these are no rows; but there nothing else is looked at.
        stored = (pool[8] - 1) * pool[10] + pool[9] if pool else number("rows")
        yield "target", "offset", (stored - 1) * number("stride") + 1, True
        yield "scales", "scales_row", blocks, False
        yield "tables", "table", 1, False
    elif shape.make is tiles.LoadScales:
        yield "scales", "row", -(-number("count") // dim), True
    elif shape.make is tiles.LoadTable:
        yield "tables", "table", 1, True
