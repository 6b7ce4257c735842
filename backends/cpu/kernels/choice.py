"""Which block of a contraction is held in registers, by a model of what it costs."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mcc.ir import Array

from ..blocking import Blocking
from ..machine import Machine
from .loops import Loop
from .products import Product
from .toom_cook import Filtering

_CACHED_WEIGHTS = 160 * 1024
"""Bytes of a block's weights that stay in the second-level cache, beside the next block's and x."""
_COLD_WEIGHTS = 512 * 1024
_COLD_VECTOR = 16
"""Half cycles that a vector from memory takes, fetched ahead."""
_CACHED_STRIP_WEIGHTS = 640 * 1024
"""Bytes of transformed weights that stay in the second-level cache, beside a strip."""
_CACHED_VECTOR, _FAR_VECTOR, _UNSEEN_VECTOR = 3, 8, 20
"""Half cycles that a vector of transformed weights takes beside the products: from there, from
beyond, and from memory that others use, too."""
_TRANSFORM = 6
"""Half cycles to transform one number of a vector of tiles or of results, loads and stores too."""


def choose_blocking(
    tile: int, vec: int, product: Product, machine: Machine, rows: int = 1
) -> Blocking:
    """The blocking with least overhead: loads, unused latency, remainders.

    Args:
        tile: Positions in a row.
        vec: Results at each position.
        product: One step of the reduction.
        machine: Has so many registers.
        rows: Rows that may be taken together.
    """
    return _cheapest(tile, vec, product, machine, rows)[0]


def contraction_cycles(
    tile: int, vec: int, steps: int, product: Product, machine: Machine, rows: int = 1
) -> float:
    """Cycles of `steps` steps of the reduction for `tile` positions of `vec` results.

    `rows` as in `choose_blocking`.
    """
    return _cheapest(tile, vec, product, machine, rows)[1] * steps / 2


def _cheapest(
    tile: int, vec: int, product: Product, machine: Machine, rows: int = 1
) -> tuple[Blocking, float]:
    """The best blocking, and its half cycles for one step of the reduction of a row."""
    best, least = Blocking(1, 1), math.inf
    for blocking, cost in _costs(tile, vec, product, machine, rows):
        if cost < least:
            best, least = blocking, cost
    return best, least / rows


def candidate_blockings(
    tile: int,
    vec: int,
    product: Product,
    machine: Machine,
    rows: int = 1,
    *,
    cold: bool = False,
) -> list[Blocking]:
    """All blockings that fit the registers, the cheapest first.

    Behind it the cheapest of every other width, then the others as they cost. `cold`: the weights
    come from memory each time that all of them are read.
    """
    costs = dict(_costs(tile, vec, product, machine, rows, cold=cold))
    ranked = sorted(costs, key=costs.__getitem__)
    widest: dict[int, Blocking] = {}
    for blocking in ranked:
        widest.setdefault(blocking.vectors, blocking)
    return list(dict.fromkeys([*widest.values(), *ranked])) or [Blocking(1, 1)]


def _costs(
    tile: int, vec: int, product: Product, machine: Machine, rows: int, *, cold: bool = False
) -> Iterator[tuple[Blocking, float]]:
    """Each blocking that fits the registers, and its half cycles for one step of all rows."""
    most_vectors = min(8, len(product.vectors(vec)))
    for vectors in range(1, most_vectors + 1):
        # Beside the block: a vector of weights for each column, and two for x and what is computed.
        # One too many, and LLVM keeps the whole block on the stack.
        most = (machine.registers - vectors - 2) // (vectors * product.registers)
        sizes = [(size, 1) for size in range(1, min(tile, most) + 1)]
        sizes += [(tile, together) for together in range(2, min(rows, most // max(1, tile)) + 1)]
        for size, together in sizes:
            cost = sum(
                count * _block_cost(high * across, columns)
                for high, rows_ in _parts(rows, together)
                for across, tiles in _parts(tile, size)
                for columns, blocks in _columns(vec, vectors, product)
                for count in (rows_ * tiles * blocks,)
            )
            if cold:
                # Blocks of another shape go through all weights once more.
                shapes = len(_parts(rows, together)) * len(_parts(tile, size))
                cost += (shapes - 1) * _COLD_VECTOR * len(product.vectors(vec))
            yield Blocking(size, vectors, together), cost


def choose_passes(reduce: Sequence[Loop], block_bytes: int) -> int:
    """In how many parts to reduce, so that a block's weights of one part stay in the cache."""
    outer, *inner = (loop.extent for loop in reduce)
    fitting = [n for n in range(1, outer + 1) if outer % n == 0]
    for extent in inner[:1]:
        fitting += [outer * n for n in range(2, extent + 1) if extent % n == 0]
    return next((n for n in fitting if block_bytes <= n * _CACHED_WEIGHTS), fitting[-1])


def _parts(extent: int, size: int) -> list[tuple[int, int]]:
    """Blocks of `size` and the remainder, each with its count."""
    parts = [(size, extent // size), (extent % size, 1)]
    return [(part, count) for part, count in parts if part and count]


def _columns(vec: int, vectors: int, product: Product) -> list[tuple[int, int]]:
    width = vectors * product.lanes
    rest = len(product.vectors(vec % width))
    return [(n, count) for n, count in ((vectors, vec // width), (rest, 1)) if n and count]


def _block_cost(rows: int, columns: int) -> float:
    """Half cycles of one step of the reduction: two operations a cycle, four cycles latency."""
    return max(8.0, rows * columns + columns + 0.5 * rows)


def is_cold(weights: Array | None) -> bool:
    """Whether weights are too many to be in the second-level cache when a kernel begins."""
    return weights is not None and weights.nbytes >= _COLD_WEIGHTS


@dataclass(frozen=True)
class StripChoice:
    """How a convolution is done by Winograd's algorithm."""

    filtering: Filtering
    strip: int
    """Tiles that are multiplied at once, all in registers."""
    vectors: int
    """Of results, for each of them."""
    cycles: float


def choose_strips(
    filtering: Filtering,
    tiles: int,
    channels: int,
    outputs: int,
    product: Product,
    machine: Machine,
) -> StripChoice:
    """Strips with the least cost of products and of reading the transformed weights.

    Args:
        filtering: F(m, 3) in both dimensions.
        tiles: Of all images.
        channels: Of x.
        outputs: Channels of the result.
        product: One step of the reduction.
        machine: Has so many registers.
    """
    numbers = filtering.size**2
    columns = len(product.vectors(outputs))
    cold = 4 * numbers * channels * outputs >= _COLD_WEIGHTS
    best, least = (1, 1), math.inf
    for vectors in range(1, min(4, columns) + 1):
        strips = -(-tiles // max(1, (machine.registers - vectors - 2) // vectors))
        strip = -(-tiles // strips)
        block = 4 * numbers * channels * vectors * product.lanes
        again = _CACHED_VECTOR if block <= _CACHED_STRIP_WEIGHTS else _FAR_VECTOR
        read = (_UNSEEN_VECTOR if cold else again) + (strips - 1) * again
        cost = columns * read + sum(
            count * blocks * _block_cost(rows, wide)
            for rows, count in _parts(tiles, strip)
            for wide, blocks in _parts(columns, vectors)
        )
        if cost < least:
            best, least = (strip, vectors), cost
    moved = tiles * (len(product.vectors(channels)) + columns)
    half_cycles = numbers * (channels * least + moved * _TRANSFORM)
    return StripChoice(filtering, *best, half_cycles / 2)
