"""Chains in strips, one product's band of rows after the other's."""

from collections.abc import Iterator

from mcc.ir import OpError
from mcc.runtime import Target

from .choices import Choice
from .emitting import Memories
from .held import Held, holds_frames
from .layers import Chain
from .search import heights, search
from .steps import Step
from .strips import Chained, Strips, schedules
from .tiling import Cut
from .weights import cut


def in_bands(chain: Chain, target: Target) -> Chained | None:
    """The tallest strips whose rows fit the chip, or half of the cache; None where none do."""
    *some, _ = heights(chain.products[-1].height)
    for rows in reversed(some):
        plan = _plan(Strips(chain, rows, holds_frames(target)), target)
        if plan is not None:
            return plan
    return None


def _plan(strips: Strips, target: Target) -> Chained | None:
    memory, dim = target.machine.scratchpad, target.machine.dim
    if sum(strips.rings("").values()) > target.machine.dma.l2_bytes // 2:
        return None
    frames: list[Held | None] = [None] * len(strips.products)
    floor = 0
    if strips.on_chip:
        held = strips.frames(dim)
        if held is None or held[-1].stop > (memory.banks - 1) * memory.rows:
            return None
        frames[:-1], floor = held, held[-1].stop
    choices: list[Choice] = []
    for k, product in enumerate(strips.products):
        band = max(len(strip[k]) for strip in strips.bands)
        source = frames[k - 1] if k else None
        frame = source.frame if source is not None else None
        pieces = Cut(product, cut(product, dim), target, floor, frame, band=band)
        try:
            choices.append((pieces, search(pieces)[0]))
        except OpError:
            return None
    return Chained(strips, tuple(choices), tuple(frames))


def plan_bands(plan: Chained, memories: Memories) -> Iterator[Step]:
    """The steps of a chain, strip by strip; fills `memories` with the constants they load."""
    shared, every = memories.shared, schedules(plan, memories)
    for strip in plan.strips.bands:
        for k, (schedule, band) in enumerate(zip(every, strip, strict=True)):
            if not band:
                continue
            own, product = schedule.memories, schedule.cut.product
            if schedule.held is not None:
                schedule.held = schedule.held.from_row(strip[k].start * product.window.stride[0])
            if own.held is not None:
                reader = every[k + 1].cut.product
                own.held = own.held.from_row(strip[k + 1].start * reader.window.stride[0])
            fenced = schedule.held is None and shared.fences([own.inputs[product.x.operand]])
            yield from schedule.steps(fenced=fenced, band=band)
            shared.stored.add(own.output)
