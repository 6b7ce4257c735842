"""How a product is computed: every mapping that fits, the cheapest of them, its steps."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from mcc.ir import OpError

from .emitting import Leaving, Memories
from .held import Held
from .layers import Product
from .mapping import mappings
from .products import Schedule
from .search import search
from .steps import Step
from .tiling import Cut, Tiling
from .weights import Tiles, cut

Choice = tuple[Cut, Tiling]
"""How a product is computed."""


def alternatives(product: Product, memories: Memories) -> list[Choice]:
    """Every mapping of a product with constant weights that fits, each cut as is cheapest.

    Raises:
        OpError: where none fits the machine.
    """
    held_input = memories.held_input(product.x)
    held_residual = memories.held_input(product.residual)
    frame = held_input.frame if held_input is not None else None
    residual = held_residual.frame if held_residual is not None else None
    fitting: list[Choice] = []
    misfits: list[OpError] = []
    beside = [held for held in (memories.held, held_residual) if held is not None]
    others: Iterable[Product] = ()
    if frame is None:
        others = mappings(product, memories.target)
    found = [one for one in others if all(_suits(held, one, product) for held in beside)]
    if frame is not None or not all(held.frame.dense for held in beside):
        found.insert(0, product)  # not as one long row of pixels
    for one in found:
        tiles = cut(one, memories.dim)
        pieces = Cut(one, tiles, memories.target, memories.floor, frame, residual)
        for way in (pieces, replace(pieces, added=True)) if pieces.addable else (pieces,):
            try:
                fitting.append((way, search(way)[0]))
            except OpError as error:
                misfits.append(error)
    if not fitting:
        raise misfits[0]
    return fitting


def _suits(held: Held, one: Product, plain: Product) -> bool:
    """Whether a mapping's pixels are those of an image in the scratchpad: one a row."""
    rows = (one.height, one.width) == (plain.height, plain.width)
    return one.channels == plain.channels and (rows or held.frame.dense)


def cheapest(found: Iterable[Choice]) -> Choice:
    """The choice that takes fewest cycles."""
    return min(found, key=lambda choice: choice[1].cost)


def best_few(found: Sequence[Choice], memories: Memories) -> list[Choice]:
    """Those and their like that take fewest cycles by the estimate, the best first."""
    return memories.shared.search.short_list([pieces for pieces, _ in found])


def of_activations(product: Product, memories: Memories) -> list[Choice]:
    """Weights that are activations differ from image to image: one product each.

    Raises:
        OpError: where one does not fit the machine.
    """
    dim = memories.dim
    chosen: list[Choice] = []
    assert product.w is not None, "its weights are an activation"
    for image in range(product.x.batch):
        w = product.w.one(image if product.w.batch > 1 else 0)
        one = replace(product, x=product.x.one(image), w=w)
        taps = tuple((0, 0, block) for block in range(-(-product.x.channels // dim)))
        count = -(-product.channels // dim)
        pieces = Cut(one, Tiles((taps,) * count, ()), memories.target, memories.floor)
        tiling = search(pieces)[0]
        if memories.held_input(product.w) is not None:
            # They lie there whole.
            tiling = replace(tiling, chunk=pieces.in_blocks, input_slots=1, weight_slots=1)
        chosen.append((pieces, tiling))
    return chosen


def plan_product(found: Sequence[Choice], memories: Memories) -> Iterator[Step]:
    """The steps of a product; fills `memories` with the constants they load."""
    fenced = memories.shared.fences(memories.inputs)
    first = found[0][0].product
    leaving = Leaving(memories, first.exit, first.channels)
    for image, (pieces, tiling) in enumerate(found):
        schedule = Schedule(pieces, tiling, leaving, image)
        yield from schedule.steps(fenced=fenced and image == 0)
