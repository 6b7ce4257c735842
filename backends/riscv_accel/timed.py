"""Stores and biases among products by time: each about when its engine gets to it.

The queues between issue and the engines are short. A store or a load of biases that is issued
much before it can run fills its queue and holds up the products behind it; one that is issued late
leaves its engine idle. So the place of each follows from what those before it take.
"""

from collections.abc import Iterable, Sequence
from typing import cast

from mcc.runtime import Accelerator

from .pieces import KEPT
from .rolling import Node, TileShape, singles
from .spans import Span, spans

AHEAD = 130.0
"""Cycles from the issue of biases to that of the product that adds to them."""
SOON = 24.0
"""Cycles by which a store is issued before its engine is free."""

Due = tuple[float, Node]
"""A load, and when it is to be issued, in cycles from the first of some products on."""


def due(biases: Iterable[Node], products: Iterable[Node], dim: int) -> list[Due]:
    """When the biases of products are to be issued, the first ones first; some before these."""
    wanted: list[tuple[float, list[Span]]] = []
    now = 0.0
    for node in singles(products):
        wanted.append((now, [span for span in spans([node], dim) if span.writes]))
        now += _multiplied(node)
    found: list[Due] = []
    for bias in singles(biases):
        rows = list(spans([bias], dim))
        first = (at for at, sums in wanted if any(a.meets(b) for a in sums for b in rows))
        found.append((next(first, now) - AHEAD, bias))
    return sorted(found, key=lambda one: one[0])


def on_time(
    products: Sequence[Node],
    stores: Sequence[Node],
    own: Sequence[Due],
    following: Sequence[Due],
    machine: Accelerator,
) -> tuple[list[Node], list[Due]]:
    """Products with stores of others, and biases, among them; and the biases that are due later.

    Products and stores must not meet; biases come behind the stores of what lay in their place.

    Args:
        products: The array's work.
        stores: Of sums that were complete before.
        own: Biases of these products.
        following: Biases of those that come next, from whose first one their times count.
        machine: How long each takes.
    """
    dim = machine.dim
    events: list[tuple[float, int, Node]] = []
    now = 0.0
    for node in singles(products):
        events.append((now, 2, node))
        now += _multiplied(node)
    free, left = 0.0, list[tuple[float, list[Span]]]()
    for node in singles(stores):
        at = max(0.0, free - SOON)
        events.append((at, 0, node))
        left.append((at, list(spans([node], dim))))
        free += _stored(node, machine)
    later: list[Due] = []
    for at, node in (*own, *((now + at, node) for at, node in following)):
        rows = list(spans([node], dim))
        behind = (t for t, reads in left if any(a.meets(b) for a in reads for b in rows))
        # At the end of these products all stores are there.
        at = max(at, min(now, max(behind, default=0.0)))
        if at < now:
            events.append((at, 1, node))
        else:
            later.append((at - now, node))
    events.sort(key=lambda event: event[:2])
    return [node for _, _, node in events], later


def _fixed(node: Node) -> dict[str, object]:
    assert isinstance(node.shape, TileShape)
    return dict(node.shape.fixed)


def _multiplied(node: Node) -> float:
    return max(float(cast(int, _fixed(node)["rows"])), KEPT)


def _stored(node: Node, machine: Accelerator) -> float:
    """Cycles of the engine that stores, for one move-out."""
    fixed, timing = _fixed(node), machine.timing
    pool, cols = cast(tuple[int, ...], fixed.get("pool") or ()), cast(int, fixed["cols"])
    blocks = -(-cols // machine.dim)
    assert isinstance(node.shape, TileShape)
    on_chip = dict(node.shape.buffers).get("target") == "scratchpad"
    if pool:
        cycles = timing.store_pool_element * pool[0] * pool[1] * pool[8] * pool[9] * blocks
    elif on_chip:
        cycles = timing.store_scratchpad_row * cast(int, fixed["rows"]) * blocks
    else:
        cycles = timing.store_row[max(blocks, 1) - 1] * cast(int, fixed["rows"])
    return cycles + (timing.store_scratchpad_latency if on_chip else 0.0)
