"""The order of a run of layers: what each step loads, multiplies and stores, woven together.

Between a step's products stand the stores of the step before it and the loads of the next: their
queues are short, and one that is full holds up all that follows. It is the same from one layer to
the next; only what a layer reads from DRAM must wait until the layer before has stored it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from mcc.runtime import Accelerator

from . import tiles
from .rolling import Node, Shape, TileShape, roll, tile, woven
from .spans import meet
from .timed import Due, due, on_time

LONGEST_STEP = 256
"""Nodes of the longest sequence of steps that becomes a loop's body."""


@dataclass
class Step:
    """A part of a layer: what it needs, computes, and stores."""

    loads: list[Node] = field(default_factory=list[Node])
    """Of weights and tables."""
    inputs: list[Node] = field(default_factory=list[Node])
    """Loads of activations."""
    fenced: bool = False
    """The inputs may have been stored since the last fence."""
    waits: bool = False
    """It reads what the layer before stores in the scratchpad."""
    fills: list[Node] = field(default_factory=list[Node])
    """Padding for what it stores there: rows that the layer before may still read."""
    late: bool = False
    """Its loads overwrite what the step before it in its layer reads."""
    biases: list[Node] = field(default_factory=list[Node])
    products: list[Node] = field(default_factory=list[Node])
    stores: list[Node] = field(default_factory=list[Node])
    together: int = 1
    """How many loads and stores stand between two products."""
    first: bool = False
    """Its memories may be those of the step before, for something else."""
    timed: bool = False
    """The stores of the step before and the biases of the next come among its products by time."""
    ready: Node | None = None
    """Ends the layer."""


def in_order(steps: Iterable[Step], machine: Accelerator) -> list[Node]:
    """The tile ops of all layers, with loops for what repeats."""
    order = _Order(machine)
    for step in steps:
        order.add(step)
    return order.finish()


class _Order:
    """Takes steps one after the other; of the last one only the loads have been placed."""

    def __init__(self, machine: Accelerator) -> None:
        self.machine, self.dim = machine, machine.dim
        self.nodes: list[Node] = []
        """Of finished layers, then of the one under way."""
        self.layer: list[Node] = []
        self.stores: list[Node] = []
        """Of the step before the last: they stand between the products of the last."""
        self.last = Step()
        self.due: list[Due] = []
        """Biases of the last step that come among its own products."""

    def add(self, step: Step) -> None:
        """Places the last step's products, and the loads of this one."""
        ahead, behind = [*step.loads, *step.inputs], list[Node]()
        if step.late:
            ahead, behind = behind, ahead
        elif step.first:
            ahead, behind = self._apart(step)
        apart = step.late or step.fenced or bool(behind)
        self._multiply(ahead, [] if apart else step.biases, step)
        if step.fenced or step.waits:
            self._store()
        if step.fenced:
            self.layer.append(tile(tiles.Fence, {}, {}))
        if apart:
            # The biases go where the step before is being stored from, so they come last.
            self.layer += [*behind, *step.biases]
        self.last = step

    def _apart(self, step: Step) -> tuple[list[Node], list[Node]]:
        """A first step's loads: those that may stand among the last step's products, the others."""
        last = self.last
        if meet(step.loads, [*self.stores, *last.stores], self.dim):
            # The tables are those of the layer before until all of it is stored.
            self._multiply([], [])
            self._store()
            return [], [*step.loads, *step.inputs]
        ahead, behind = step.loads, step.inputs
        if meet(ahead, last.products, self.dim):
            return [], [*ahead, *behind]
        if step.fenced or meet(behind, last.products, self.dim):
            return ahead, behind
        return [*ahead, *behind], []

    def finish(self) -> list[Node]:
        """Everything, when no step is left."""
        self._multiply([], [])
        self._store()
        self._end_layer()
        return self.nodes

    def _multiply(
        self, loads: list[Node], biases: list[Node], following: Step | None = None
    ) -> None:
        """The last step's products; among them stores of the step before, loads of the next."""
        last = self.last
        if last.timed:
            products = self._on_time(biases, following)
            self.layer += roll(woven(products, [*last.fills, *loads], 1))
            self._finished()
            return
        side = [*woven(self.stores, [*last.fills, *loads], 1), *biases]
        early = _rows(loads, self.dim) > _rows(last.products, self.dim)
        self.layer += roll(woven(last.products, side, last.together, early=early))
        self._finished()

    def _on_time(self, biases: list[Node], following: Step | None) -> list[Node]:
        """The last step's products with stores of the step before and biases of the next."""
        last, next_due = self.last, list[Due]()
        if following is not None and following.timed:
            next_due, biases = due(biases, following.products, self.dim), []
        products, self.due = on_time(last.products, self.stores, self.due, next_due, self.machine)
        return [*products, *biases]

    def _finished(self) -> None:
        """The last step's products are placed."""
        last = self.last
        self.stores = last.stores
        if last.ready is not None:
            self.stores = [*last.stores, last.ready]
            self._end_layer()
        self.last = Step()

    def _store(self) -> None:
        self.layer += self.stores
        self.stores = []

    def _end_layer(self) -> None:
        self.nodes += roll(self.layer, LONGEST_STEP)
        self.layer = []


def _rows(nodes: Iterable[Node], dim: int) -> int:
    """How many rows of `dim` columns are loaded, or multiplied: about the cycles that takes."""

    def of(shape: Shape) -> int:
        if not isinstance(shape, TileShape):
            return shape.count * sum(of(part) for part in shape.body)
        fixed = dict(shape.fixed)
        rows, cols = fixed.get("rows", 0), fixed.get("cols", dim)
        assert isinstance(rows, int)
        assert isinstance(cols, int)
        return rows * -(-cols // dim)

    return sum(of(node.shape) for node in nodes)
