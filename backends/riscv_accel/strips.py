"""Chained products in strips of rows: what lies between them never leaves for DRAM.

On a machine that moves sums into its scratchpad, each strip's rows lie there in a frame, and the
few that the next strip needs too are computed again. Elsewhere they go to DRAM, into a ring of rows
so small that its lines stay in the cache: of each strip every product computes what is missing.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

from .choices import Choice
from .emitting import Leaving, Memories
from .held import Held, framed
from .layers import Chain, Product
from .products import Schedule


@dataclass(frozen=True)
class Strips:
    """A chain cut into strips of `rows` rows of what it makes."""

    chain: Chain
    rows: int
    on_chip: bool
    """What lies between the products is in the scratchpad, not in the cache."""

    @cached_property
    def bands(self) -> list[list[range]]:
        """For each strip the rows that each product computes in it."""
        products = self.chain.products
        found: list[list[range]] = []
        done = [0] * len(products)
        height = products[-1].height
        for first in range(0, height, self.rows):
            wanted = range(first, min(first + self.rows, height))
            strip: list[range] = []
            for k in reversed(range(len(products))):
                if not self.on_chip:
                    wanted = range(done[k], max(done[k], wanted.stop))
                    done[k] = wanted.stop
                strip.append(wanted)
                wanted = products[k].rows_read(wanted)
            found.append(strip[::-1])
        return found

    @cached_property
    def products(self) -> list[Product]:
        """The products as they read from rings and write into them."""
        rings = [0, *self._rings, 0]
        return [
            replace(product, x=replace(product.x, ring=rings[k]), ring=rings[k + 1])
            for k, product in enumerate(self.chain.products)
        ]

    @cached_property
    def _rings(self) -> list[int]:
        """For each product but the last how many rows of its result its ring holds."""
        products = self.chain.products
        needed = [0] * (len(products) - 1)
        for strip in self.bands if not self.on_chip else ():
            for k, reader in enumerate(products[1:]):
                if strip[k + 1]:
                    first = reader.rows_read(strip[k + 1]).start
                    needed[k] = max(needed[k], strip[k].stop - first)
        return needed

    def rings(self, output: str) -> dict[str, int]:
        """The names and bytes of the rings in DRAM, for a chain that makes `output`."""
        products = self.chain.products
        return {
            f"{output}.rows{k}": rows * products[k].width * products[k].channels
            for k, rows in enumerate(self._rings)
            if rows
        }

    def frames(self, dim: int) -> list[Held] | None:
        """Where the rows of a strip lie in the scratchpad; None where they cannot lie there."""
        found: list[Held] = []
        floor = 0
        for k, (product, reader) in enumerate(pairwise(self.chain.products), 1):
            rows = max(len(strip[k]) for strip in self.bands)
            stride = reader.window.stride
            made = framed(rows * stride[0], product.width, stride, [replace(reader, height=rows)])
            if made is None:
                return None
            frame, pad = made
            held = Held(replace(frame, first=floor), -(-product.channels // dim), pad, 0, 0)
            floor = held.stop
            found.append(held)
        return found


@dataclass(frozen=True)
class Chained:
    """Strips, how each product is computed, a band at a time, and where what it makes lies."""

    strips: Strips
    choices: tuple[Choice, ...]
    frames: tuple[Held | None, ...]
    """For each product; the last one's result is in DRAM."""
    rounds: int = 0
    """In how many parts two products compute a strip of a block of channels in turn; 0 where one
    computes all of the strip before the other."""
    apart: int = 0
    """Then two blocks of a strip lie in the scratchpad, so many rows apart."""


def schedules(plan: Chained, memories: Memories) -> list[Schedule]:
    """How each product of a chain computes; fills `memories` with the constants they load."""
    count = len(plan.choices)
    between = list(plan.strips.rings(memories.output)) or ["scratchpad"] * (count - 1)
    inputs, outputs = [*memories.inputs, *between], [*between, memories.output]
    found: list[Schedule] = []
    for k, (pieces, tiling) in enumerate(plan.choices):
        held = None if k == 0 else plan.frames[k - 1]
        frames: list[Held | None] = [None] * len(inputs)
        frames[pieces.product.x.operand] = held
        own = Memories(
            memories.shared,
            f"{memories.layer}.{k}",
            inputs,
            outputs[k],
            plan.frames[k],
            pieces.floor,
            frames,
            waits=held is not None,
        )
        leaving = Leaving(own, pieces.product.exit, pieces.product.channels)
        found.append(Schedule(pieces, tiling, leaving))
    return found
