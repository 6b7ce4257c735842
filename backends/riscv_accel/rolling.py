"""Straight sequences of tile ops, and their rolling into loops.

A planner writes down what happens, one after the other, with plain numbers, edges and all; `roll`
finds the repetitions whose addresses advance evenly and makes loops of them. So no planner peels an
edge. A node is a shape, shared by all that differ in addresses only, and the addresses.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mcc.ir import Op


@dataclass(frozen=True, eq=False)
class TileShape:
    """A tile op but for its addresses' constants. Shapes are interned: compare with `is`."""

    make: type[Op]
    buffers: tuple[tuple[str, str], ...]
    """Which memory each operand is: (operand, name of the memory)."""
    fixed: tuple[tuple[str, object], ...]
    names: tuple[str, ...]
    """Its addresses."""
    steps: tuple[tuple[int, ...], ...]
    """For each address its step in each enclosing loop, outermost first."""


@dataclass(frozen=True, eq=False)
class LoopShape:
    """A loop but for its addresses' constants."""

    count: int
    body: "tuple[Shape, ...]"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The addresses of the whole body, in order."""
        return tuple(name for shape in self.body for name in shape.names)


Shape = TileShape | LoopShape

LONGEST = 800
"""Nodes of the longest loop body that is looked for: a few steps of a layer, with a slot each."""

Identities = npt.NDArray[np.int64]

_SHAPES: dict[object, Shape] = {}


@dataclass(frozen=True, slots=True)
class Node:
    """A shape and a constant for each of its addresses."""

    shape: Shape
    constants: tuple[int, ...]

    def moved(self, deltas: Mapping[str, int]) -> "Node":
        """The same with some addresses, by name, advanced."""
        moved = [
            constant + deltas.get(name, 0)
            for name, constant in zip(self.shape.names, self.constants, strict=True)
        ]
        return Node(self.shape, tuple(moved))


def tile(
    make: type[Op], buffers: Mapping[str, str], addresses: Mapping[str, int], **fixed: object
) -> Node:
    """A tile op outside all loops."""
    names = tuple(addresses)
    shape = _tile_shape(
        make, tuple(buffers.items()), tuple(fixed.items()), names, ((),) * len(names)
    )
    return Node(shape, tuple(int(constant) for constant in addresses.values()))


def repeat(body: Sequence[Node], count: int, deltas: Mapping[str, int]) -> list[Node]:
    """`body`, `count` times, its addresses advancing by `deltas`, by name, from one to the next."""
    if count == 1:
        return list(body)
    steps = [deltas.get(name, 0) for node in body for name in node.shape.names]
    return [_loop(body, count, steps)] if count else []


def roll(nodes: Sequence[Node], longest: int = LONGEST) -> list[Node]:
    """Loops for what repeats, shorter periods first, until nothing repeats any more."""
    current = list(nodes)
    while True:
        before = len(current)
        shapes = _identities(current)
        period = 1
        while 2 * period <= len(current) and period <= longest:
            rolled = _roll_period(current, shapes, period)
            if rolled is not current:
                current, shapes = rolled, _identities(rolled)
            period += 1
        if len(current) == before:
            return current


def _identities(nodes: list[Node]) -> Identities:
    return np.array([id(node.shape) for node in nodes], np.int64)


def _roll_period(nodes: list[Node], shapes: Identities, period: int) -> list[Node]:
    same = shapes[:-period] == shapes[period:]
    if np.count_nonzero(same) < period:
        return nodes
    # matching[i]: nodes i .. i+period-1 have the shapes of the nodes one period later.
    total = np.concatenate([[0], np.cumsum(same)])
    matching = np.zeros(len(nodes), np.bool_)
    fits = len(same) - period + 1
    if fits > 0:
        matching[:fits] = total[period : period + fits] - total[:fits] == period
    if not matching.any():
        return nodes
    starts = np.flatnonzero(matching)
    rolled: list[Node] = []
    position = 0
    while True:
        ahead = int(np.searchsorted(starts, position))
        if ahead == len(starts):
            rolled.extend(nodes[position:])
            return rolled
        start = int(starts[ahead])
        rolled.extend(nodes[position:start])
        count, deltas = _repetitions(nodes, matching, start, period)
        rolled.append(_loop(nodes[start : start + period], count, deltas))
        position = start + period * count


def _repetitions(
    nodes: list[Node], matching: "np.ndarray", start: int, period: int
) -> tuple[int, list[int]]:
    """How often the `period` nodes from `start` on repeat with the same deltas, and these."""
    deltas = _deltas(nodes, start, period)
    count = 2
    position = start + period
    while matching[position] and _deltas(nodes, position, period) == deltas:
        count += 1
        position += period
    return count, deltas


def _deltas(nodes: list[Node], start: int, period: int) -> list[int]:
    return [
        after - before
        for i in range(start, start + period)
        for before, after in zip(nodes[i].constants, nodes[i + period].constants, strict=True)
    ]


def _loop(body: Sequence[Node], count: int, deltas: Sequence[int]) -> Node:
    shapes: list[Shape] = []
    position = 0
    for node in body:
        width = len(node.constants)
        shapes.append(_inside(node.shape, tuple(deltas[position : position + width])))
        position += width
    shape = _interned(LoopShape(count, tuple(shapes)))
    return Node(shape, tuple(constant for node in body for constant in node.constants))


def _inside(shape: Shape, deltas: tuple[int, ...]) -> Shape:
    """The shape inside one more, outermost, loop in which its addresses advance by `deltas`."""
    if isinstance(shape, TileShape):
        steps = tuple((delta, *old) for delta, old in zip(deltas, shape.steps, strict=True))
        return _tile_shape(shape.make, shape.buffers, shape.fixed, shape.names, steps)
    parts: list[Shape] = []
    position = 0
    for part in shape.body:
        width = len(part.names)
        parts.append(_inside(part, deltas[position : position + width]))
        position += width
    return _interned(LoopShape(shape.count, tuple(parts)))


def _tile_shape(
    make: type[Op],
    buffers: tuple[tuple[str, str], ...],
    fixed: tuple[tuple[str, object], ...],
    names: tuple[str, ...],
    steps: tuple[tuple[int, ...], ...],
) -> Shape:
    key = (make, buffers, fixed, names, steps)
    found = _SHAPES.get(key)
    if found is None:
        found = _SHAPES[key] = TileShape(make, buffers, fixed, names, steps)
    return found


def _interned(shape: LoopShape) -> Shape:
    return _SHAPES.setdefault((shape.count, shape.body), shape)


def lengths(nodes: Iterable[Node]) -> int:
    """How many tile ops the nodes stand for, loops counted out."""

    def of(shape: Shape) -> int:
        if isinstance(shape, TileShape):
            return 1
        return shape.count * sum(of(part) for part in shape.body)

    return sum(of(node.shape) for node in nodes)


def used(nodes: Iterable[Node]) -> set[str]:
    """The names of all memories that the nodes use."""
    found: set[str] = set()

    def add(shape: Shape) -> None:
        if isinstance(shape, TileShape):
            found.update(name for _, name in shape.buffers)
        else:
            for part in shape.body:
                add(part)

    for shape in {id(node.shape): node.shape for node in nodes}.values():
        add(shape)
    return found


def counted_out(node: Node) -> list[Node]:
    """The iterations of an outermost loop one after the other; a tile op is itself."""
    shape = node.shape
    if isinstance(shape, TileShape):
        return [node]
    found: list[Node] = []
    for i in range(shape.count):
        position = 0
        for part in shape.body:
            width = len(part.names)
            constants = node.constants[position : position + width]
            outside, steps = _outside(part)
            moved = tuple(c + i * step for c, step in zip(constants, steps, strict=True))
            found.append(Node(outside, moved))
            position += width
    return found


def singles(nodes: Iterable[Node]) -> list[Node]:
    """All loops counted out: the tile ops one after the other."""
    found: list[Node] = []
    for node in nodes:
        if isinstance(node.shape, TileShape):
            found.append(node)
        else:
            found += singles(counted_out(node))
    return found


def _outside(shape: Shape) -> tuple[Shape, list[int]]:
    """The shape without its outermost loop, and the steps that its addresses had in it."""
    if isinstance(shape, TileShape):
        steps = [steps[0] for steps in shape.steps]
        rest = tuple(steps[1:] for steps in shape.steps)
        return _tile_shape(shape.make, shape.buffers, shape.fixed, shape.names, rest), steps
    parts: list[Shape] = []
    found: list[int] = []
    for part in shape.body:
        outside, steps = _outside(part)
        parts.append(outside)
        found += steps
    return _interned(LoopShape(shape.count, tuple(parts))), found


def woven(
    main: Sequence[Node], side: Sequence[Node], together: int, *, early: bool = False
) -> list[Node]:
    """`side` spread over `main` in runs of about `together`, each in its own order.

    What does not divide comes in the first gaps, which are longer then, or with `early` at the end.
    Loops are counted out as far as that takes, and no further: what stays whole rolls up again.
    """
    beside = singles(side)
    along = _split(main, -(-len(beside) // together))
    if not along or not beside:
        return [*along, *beside]
    # Evenly, so that the pattern repeats and rolls.
    gaps = min(-(-len(beside) // together), len(along))
    end = len(along) - len(along) % gaps if early else len(along)
    nodes: list[Node] = []
    for main_part, side_part in zip(_parts(along[:end], gaps), _parts(beside, gaps), strict=True):
        nodes += [*main_part, *side_part]
    return [*nodes, *along[end:]]


def _parts(nodes: Sequence[Node], count: int) -> Iterator[Sequence[Node]]:
    """`nodes` in `count` parts in order, the first ones a node longer where it does not divide."""
    least, longer = divmod(len(nodes), count)
    position = 0
    for number in range(count):
        stop = position + least + (number < longer)
        yield nodes[position:stop]
        position = stop


def _split(nodes: Sequence[Node], wanted: int) -> list[Node]:
    """At least `wanted` nodes if counting out loops, outermost first, gives them."""
    current = list(nodes)
    while len(current) < wanted:
        finer = [part for node in current for part in counted_out(node)]
        if len(finer) == len(current) and all(isinstance(n.shape, TileShape) for n in finer):
            break
        current = finer
    return current
