"""The cheapest ways to cut a product: a short list by an estimate, for trials."""

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from heapq import nsmallest

from mcc.ir import OpError

from .estimate import estimated, products_of
from .tiling import Cut, Tiling, chunks

SHORT_LIST = 3
"""Tilings of a product that are timed on the event model."""
LONG = 2048
"""Products from which on trials of a layer take longer than they are worth: one is enough."""


@dataclass
class Search:
    """Finds the tilings that look best by the estimate. Remembers them."""

    lists: dict[Hashable, list[Tiling]] = field(default_factory=dict[Hashable, list[Tiling]])

    def short_list(self, cuts: Iterable[Cut]) -> list[tuple[Cut, Tiling]]:
        """Of equal products those that take fewest cycles, and how; the best first.

        Raises:
            OpError: with what is missing where none fits.
        """
        fitting: list[tuple[Cut, Tiling]] = []
        misfits: list[OpError] = []
        for cut in cuts:
            try:
                fitting += [(cut, tiling) for tiling in self._listed(cut)]
            except OpError as error:
                misfits.append(error)
        if not fitting:
            raise misfits[0]
        shortest: list[tuple[Cut, Tiling]] = []
        # The estimate tells tilings apart, and the two ways of a residual less well.
        for added in sorted({cut.added for cut, _ in fitting}):
            alike = (pair for pair in fitting if pair[0].added == added)
            some = nsmallest(SHORT_LIST, alike, key=lambda pair: pair[1].cost)
            shortest += some[:1] if products_of(*some[0]) >= LONG else some
        return sorted(shortest, key=lambda pair: pair[1].cost)

    def _listed(self, cut: Cut) -> list[Tiling]:
        if cut.key not in self.lists:
            self.lists[cut.key] = search(cut)
        return self.lists[cut.key]


def search(cut: Cut) -> list[Tiling]:
    """The cheapest few tilings that fit, by the estimate; `OpError` with what is missing."""
    found: dict[float, Tiling] = {}
    for shape in _shapes(cut):
        for tiling in _chunked(cut, shape):
            # Those of equal cost are the same in another order.
            found.setdefault(tiling.cost, tiling)
    if not found:
        raise OpError(_too_large(cut))
    return [found[cost] for cost in nsmallest(SHORT_LIST, found)]


def _shapes(cut: Cut) -> Iterator[Tiling]:
    """Heights, widths and groups of output blocks whose sums fit half of the accumulator."""
    half = cut.target.machine.accumulator.total_rows // 2
    product = cut.product
    widths = [product.width]
    if product.exit.pool is None:
        widths += [w for w in (256, 128, 64, 32, 16) if w < product.width]
    for width in widths:
        for rows in heights(cut.pooled[0]):
            shape = Tiling(rows, width, 1, 1, weights_outer=False)
            sums = cut.sums_rows(shape)
            most = min(half // sums, cut.out_blocks)
            for group in sorted({most, *(g for g in (1, 2, 4, 8, 16) if g < most)} - {0}):
                yield replace(shape, group=group)
            if sums > half or (width != product.width and sums * 4 < half):
                break


def _chunked(cut: Cut, shape: Tiling) -> Iterator[Tiling]:
    """A shape with as many input blocks at a time as fit, in both orders."""
    tried = (32, 16, 8, 4, 2, 1, shape.group)
    sizes = sorted({cut.in_blocks, *(blocks for blocks in tried if blocks < cut.in_blocks)})
    for chunk in reversed(sizes):
        found = [
            placed
            for outer in (False, True)
            if (placed := _placed(cut, replace(shape, chunk=chunk, weights_outer=outer)))
        ]
        yield from found
        # Smaller pieces only pay where larger ones cannot be loaded ahead, or are not all needed.
        if cut.product.groups == 1 and any(
            tiling.input_slots > 1 and tiling.weight_slots > 1 for tiling in found
        ):
            return


def heights(rows: int) -> list[int]:
    """Tile heights to try: the even splits of an image."""
    return sorted({-(-rows // parts) for parts in range(1, rows + 1)})


def _placed(cut: Cut, tiling: Tiling) -> Tiling | None:
    """The tiling with its slots in the scratchpad and its cost; None where it does not fit."""
    machine = cut.target.machine
    tiles = cut.tile_total(tiling)
    pieces = tiles * len(chunks(cut.in_blocks, tiling.chunk))
    input_rows = cut.input_rows(tiling)
    weight_rows = cut.weight_rows(tiling)
    best: Tiling | None = None
    for split in range(1, machine.scratchpad.banks):
        placed = replace(tiling, weights_row=split * machine.scratchpad.rows)
        inputs, _, weights, _ = cut.regions(placed)
        if inputs.stop - inputs.first < input_rows or weights.stop - weights.first < weight_rows:
            continue
        # An image that lies there whole counts as all pieces.
        input_slots = inputs.count(input_rows, pieces) if input_rows else pieces
        if input_slots < pieces and inputs.even(input_rows) >= max(2, pieces // tiles):
            # Slots more in one bank than in another would only follow each other there.
            input_slots = min(input_slots, inputs.even(input_rows))
        placed = replace(
            placed,
            input_slots=input_slots,
            weight_slots=weights.count(weight_rows, sum(map(len, cut.needed(tiling)))),
        )
        placed = replace(placed, cost=estimated(cut, placed))
        if best is None or placed.cost < best.cost:
            best = placed
    return best


def _too_large(cut: Cut) -> str:
    """What the smallest tile needs, and what there is."""
    scratchpad, accumulator = cut.target.machine.scratchpad, cut.target.machine.accumulator
    width = cut.product.width if cut.product.exit.pool else min(16, cut.product.width)
    least = Tiling(1, width, 1, 1, weights_outer=False)
    parts = {
        "the input": cut.input_rows(least),
        "weights": cut.weight_rows(least),
        "the residual": 2 * cut.residual_rows(least),
        "the residual's factors": cut.diagonal_rows,
    }
    rows = ", ".join(f"{count} for {what}" for what, count in parts.items() if count)
    sums = cut.sums_rows(least)
    return (
        f"its smallest tile needs scratchpad rows: {rows}, of {scratchpad.total_rows} in "
        f"{scratchpad.banks} banks, weights in other banks than the input; and {sums} accumulator "
        f"rows, of {accumulator.total_rows // 2} (half, the other half is being stored)"
    )
