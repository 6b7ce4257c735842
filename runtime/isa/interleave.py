"""In which order the streams of LOOP_WS come: by what the queues take, followed with a clock.

The hardware sends one command a cycle: a move-out if it may, else a product, else a move of D, else
of A or B. A stream stops while its class's entries are in use. When they get free is estimated here
from the target's numbers; the cycle model then times the result.
"""

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .array import ComputePreloaded, Preload
from .encoding import Instruction
from .loop_ws import Step
from .moves import MoveIn, MoveOut

if TYPE_CHECKING:
    from ..accelerator import Accelerator

_END = 1 << 30


@dataclass
class Streams:
    """What is left of a loop's five streams."""

    index: int
    """The loop's command."""
    d: deque[Step]
    b: deque[Step]
    a: deque[Step]
    products: deque[Step]
    c: deque[Step]
    depth: int
    """Tiles along k."""
    adds: bool = False
    """C = A + B, without products."""

    @property
    def done(self) -> bool:
        return not (self.d or self.b or self.a or self.products or self.c)

    def next_operand(self) -> deque[Step] | None:
        """A or B: whichever lags behind in k, B at the start; of a sum all of A first."""
        if self.adds or not self.a or not self.b:
            return self.a or self.b or None
        b = self.b[0].at
        return self.b if self.a[0].at[0] > b[0] or b[:2] == (0, 0) else self.a

    def product_is_due(self) -> bool:
        """Whether all moves that the next product needs have been sent."""
        if not self.products or self.d:
            return False
        k, j, i = self.products[0].at
        a = self.a[0].at if self.a else (_END, 0, 0)
        b = self.b[0].at if self.b else (_END, 0, 0)
        return (a[0] > k or (a[0] == k and a[2] > i)) and (b[0] > k or (b[0] == k and b[1] > j))

    def store_is_due(self) -> bool:
        """Whether all products that the next move-out needs have been sent."""
        if not self.c:
            return False
        _, j, i = self.c[0].at
        if self.adds:
            return not self.a and (not self.b or (self.b[0].at[2], self.b[0].at[1]) > (i, j))
        if not self.products:
            return True
        k, at_j, at_i = self.products[0].at
        return k == self.depth - 1 and (at_j > j or (at_j == j and at_i > i))


def interleaved(loops: list[Streams], machine: "Accelerator") -> Iterator[tuple[Instruction, int]]:
    """All commands of consecutive loops, with the index of the loop; two are in flight."""
    clock = _Clock(machine)
    waiting = deque(loops)
    flying: deque[Streams] = deque()
    while waiting or flying:
        while waiting and len(flying) < 2:
            flying.append(waiting.popleft())
        step, loop = _chosen(flying, clock)
        if step is None or loop is None:
            clock.wait()
            continue
        clock.send(step.popleft())
        yield clock.sent, loop.index
        while flying and flying[0].done:
            flying.popleft()


def _chosen(flying: deque[Streams], clock: "_Clock") -> tuple[deque[Step] | None, Streams | None]:
    """The stream that sends, by the hardware's priorities; a unit serves one loop at a time."""
    store = next((loop for loop in flying if loop.c or loop.products or loop.adds), None)
    if store is not None and clock.takes(clock.stores) and store.store_is_due():
        return store.c, store
    product = next((loop for loop in flying if loop.products), None)
    if product is not None and product.product_is_due():
        ends = not isinstance(product.products[0].instruction, Preload)
        if clock.takes(clock.execute, 1 if ends else 2):
            return product.products, product
    if clock.takes(clock.loads):
        bias = next((loop for loop in flying if loop.d), None)
        if bias is not None:
            return bias.d, bias
        operands = next((loop for loop in flying if loop.a or loop.b), None)
        if operands is not None:
            return operands.next_operand(), operands
    return None, None


class _Clock:
    """When the entries of the three classes get free."""

    def __init__(self, machine: "Accelerator") -> None:
        self._machine = machine
        self._now = 0.0
        self._bus = self._array = self._writer = self._loaded = self._results = 0.0
        queues = machine.queues
        self.loads: tuple[list[float], int] = ([], queues.load)
        self.execute: tuple[list[float], int] = ([], queues.execute)
        self.stores: tuple[list[float], int] = ([], queues.store)
        self.sent: Instruction = Preload()

    def takes(self, group: tuple[list[float], int], count: int = 1) -> bool:
        """Whether so many entries are free."""
        used, size = group
        while used and used[0] <= self._now:
            heapq.heappop(used)
        return len(used) + count <= size

    def wait(self) -> None:
        """Until the next entry gets free."""
        used = [group[0][0] for group in (self.loads, self.execute, self.stores) if group[0]]
        self._now = max(min(used), self._now + 1)

    def send(self, step: Step) -> None:
        timing, dma = self._machine.timing, self._machine.dma
        one = self.sent = step.instruction
        self._now += 1
        match one:
            case MoveIn():
                start = max(self._now + timing.load_send + timing.load_cache, self._bus)
                wide = one.cols * (4 if one.local >> 31 else 1)
                self._bus = start + one.rows * -(-wide // dma.beat_bytes)
                self._loaded = self._bus + timing.load_write
                heapq.heappush(self.loads[0], self._loaded)
            case MoveOut():
                side = min(-(-one.cols // self._machine.dim), len(timing.store_row)) - 1
                start = max(self._now, self._writer, self._results)
                self._writer = start + one.rows * timing.store_row[side]
                heapq.heappush(self.stores[0], self._writer)
            case Preload():
                heapq.heappush(self.execute[0], self._array + timing.compute_write)
            case _:
                new = isinstance(one, ComputePreloaded)
                rows = one.fields()["rows"]
                start = max(self._now, self._array, self._loaded if new else 0.0)
                self._array = start + max(rows, self._machine.dim if new else 0)
                self._results = self._array + timing.compute_write
                heapq.heappush(self.execute[0], self._array)
