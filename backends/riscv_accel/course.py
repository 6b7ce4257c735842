"""The steps of a run of layers, and what each layer takes behind the one before it.

In its network a layer does not begin on an idle machine: its first weights come among the last
products of the layer before, whose last stores leave among its own first ones. So a layer's first
steps are timed on the event model behind the last ones of what runs before, in the order that the
program has, with the cache as a warm inference leaves it.
"""

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import islice
from math import exp

import numpy as np

from mcc.ir import OpError
from mcc.runtime import Target
from mcc.runtime.simulator import CycleModel

from .chains import plan_strips
from .choices import plan_product
from .emitting import Leaving, Shared
from .layers import Product
from .moves import plan_move
from .planning import Planned, misfit
from .products import Schedule
from .rolling import lengths, used
from .steps import Step, in_order
from .strips import Chained
from .trial import SEEDS, Live, product_ends, program, touch

TAIL_STEPS = 16
"""Steps that run before a layer when it is timed, at least."""
TELLING_STEPS = 6
"""Of these run where choices are only told apart."""
TAIL_PRODUCTS = 320
"""Products of these, at least."""
WORTH = 0.97
"""Of the cycles of the choice that looks best by the estimate, what another one may take.

Beside what stays on the chip, what is won by less is lost in layers behind, not chosen yet.
"""
STRIPS = 4
"""Of a chain that are timed; the last one stands for all that follow."""


@dataclass(frozen=True)
class Part:
    """The first steps of a layer, which stand for all of it."""

    steps: Sequence[Step]
    before: int = 0
    """Products up to where its pace is steady."""
    until: int = 0
    """Products up to where that was measured."""
    times: float = 0.0
    """How often the products between them still follow."""


@dataclass(frozen=True)
class Expected:
    """What a layer with products takes in its network, in cycles."""

    own: float
    """From the end of the last product before it to the end of its own last one."""
    through: float
    """The same to the end of the first step of the layer behind it, which waits for its stores."""


class Course:
    """Takes the layers of a run in order.

    Args:
        plans: All of them.
        shared: Filled with the constants that their steps load.
        kept: The part of old lines that the cache has when an inference begins, see `kept`.
    """

    def __init__(self, plans: Sequence[Planned], shared: Shared, kept: float) -> None:
        self._shared = shared
        self._tail: list[tuple[Step, int]] = []
        """The last steps so far, and how many products each has."""
        self._sizes: dict[str, int] = {}
        """Bytes of the memories in DRAM that these use."""
        self._sources = {name for plan in plans for name in plan.memories.inputs}
        self._sources -= {plan.memories.output for plan in plans}
        """What no layer of the run makes."""
        self._kept = kept
        self._plans = plans
        self._live: dict[str, Live] = {}
        """When each activation in DRAM that a layer of the run makes is made, and read last."""
        for number, plan in enumerate(plans):
            for name in _in_dram(plan):
                if name not in self._sources:
                    self._live[name] = self._live.get(name, (number,))[0], number

    def layers(self) -> Iterator[tuple[Planned, Planned | None]]:
        """Each layer as it is best, and the one behind it; before the next, its steps are taken."""
        for plan, following in zip(self._plans, [*self._plans[1:], None], strict=False):
            yield self._best(plan, following), following

    def fork(self) -> "Course":
        """The same state, which goes its own way."""
        other = copy(self)
        other._shared, other._tail = self._shared.fork(), list(self._tail)
        return other

    def _best(self, plan: Planned, following: Planned | None) -> Planned:
        """A layer that comes next with the candidate that takes least until the one behind runs."""
        if len(plan.candidates) < 2:
            return plan
        ways = [replace(plan, choices=[choice]) for choice in plan.candidates]
        cycles = [self.expected(way, following, TELLING_STEPS).through for way in ways]
        least = int(np.argmin(cycles))
        worth = WORTH if plan.memories.floor else 1.0
        return ways[least if cycles[least] < worth * cycles[0] else 0]

    def expected(self, plan: Planned, following: Planned | None, steps: int = 0) -> Expected:
        """What a layer with products takes if it comes next, and another one behind it.

        It is timed behind up to so many of the last `steps`.
        """
        tail = self._tail[-steps:]
        fork, target = self._shared.fork(), self._shared.target
        part = _first_steps(replace(plan, memories=replace(plan.memories, shared=fork)))
        before = sum(products for _, products in tail)
        own = sum(lengths(step.products) for step in part.steps)
        sizes = self._sizes | _in_dram(plan)
        behind: list[Step] = []
        if following is not None and not part.times:
            fork.stored.add(plan.memories.output)
            memories = replace(following.memories, shared=fork)
            behind += islice(layer_steps(replace(following, memories=memories)), 1)
            sizes |= _in_dram(following)
        constants = {name: data.nbytes for name, data in fork.constants.items()}
        sizes |= constants
        order = [*(step for step, _ in tail), *part.steps, *behind]
        stream, offsets = program(in_order(order, target.machine), sizes, target, self._live)
        old = [name for name in offsets if self._old(name) or name in constants]
        inputs = [name for name in plan.memories.inputs if name in offsets and name not in old]
        others = [name for name in offsets if name not in {*old, *inputs}]
        found = np.zeros(2)
        for seed in range(SEEDS):
            model = CycleModel(target, seed=seed)
            touch(model, target, [(offsets[name], sizes[name]) for name in old], self._kept)
            touch(model, target, [(offsets[name], sizes[name]) for name in (*others, *inputs)])
            start = float(model.now)
            ends = np.append(start, product_ends(stream, model.run_stream(stream)))[before:]
            found += ends[[own, -1]] - ends[0]
            found += part.times * (ends[part.until] - ends[part.before])
        return Expected(*(found / SEEDS).tolist())

    def follow(self, plan: Planned) -> Iterator[Step]:
        """A layer's steps, which come next; fills the constants that they load."""
        multiplies = _multiplies(plan)
        for step in layer_steps(plan):
            yield step
            products = lengths(step.products) if multiplies else 0
            self._tail.append((replace(step, ready=None), products))
            self._forget()
        self._shared.stored.add(plan.memories.output)
        names: set[str] = set()
        for step, _ in self._tail:
            names |= used(
                [*step.loads, *step.inputs, *step.fills, *step.biases, *step.products, *step.stores]
            )
        sizes = self._sizes | _in_dram(plan)
        sizes |= {n: self._shared.constants[n].nbytes for n in names & set(self._shared.constants)}
        self._sizes = {name: size for name, size in sizes.items() if name in names}

    def _old(self, name: str) -> bool:
        """Whether a memory in DRAM was filled before this inference, or before all of the run."""
        return name in self._sources or name in self._shared.constants

    def _forget(self) -> None:
        """Keeps as many steps as are needed."""
        behind = sum(products for _, products in self._tail[1:])
        if len(self._tail) > TAIL_STEPS and behind >= TAIL_PRODUCTS:
            self._tail.pop(0)


def layer_steps(plan: Planned) -> Iterator[Step]:
    """The steps of a layer; fills its memories with the constants they load.

    Raises:
        UserError: where a move does not fit the machine.
    """
    if isinstance(plan.found, Chained):
        yield from plan_strips(plan.found, plan.memories)
        return
    if isinstance(plan.found, Product):
        yield from plan_product(plan.choices, plan.memories)
        return
    try:
        yield from plan_move(plan.found, plan.memories)
    except OpError as error:
        raise misfit(plan.layer, plan.memories.target, error) from None


def kept(plans: Sequence[Planned], target: Target) -> float:
    """The part of its lines that the cache keeps from one inference of all layers to the next.

    It replaces lines at random: a line is still there after n others came with a probability of
    exp(-n / lines). As many come as were not there.
    """
    cached = target.machine.dma.l2_bytes
    # What lies in DRAM during one layer: others lie where they did before.
    most = max((sum(_in_dram(plan).values()) for plan in plans), default=0)
    used = most + _constant_bytes(plans)
    if used <= cached:
        return 1.0
    part = 0.0
    for _ in range(100):
        part = (part + exp(-used * (1 - part) / cached)) / 2
    return part


def _multiplies(plan: Planned) -> bool:
    return isinstance(plan.found, Product | Chained)


def _first_steps(plan: Planned) -> Part:
    """The first steps of a layer with products; all of them, unless many would be left out."""
    if isinstance(plan.found, Chained):
        return _first_strips(plan, plan.found)
    if len(plan.choices) > 1:
        return Part(list(layer_steps(plan)))
    pieces, tiling = plan.choices[0]
    product = pieces.product
    leaving = Leaving(
        replace(plan.memories, shared=plan.memories.shared.fork()), product.exit, product.channels
    )
    extent = Schedule(pieces, tiling, leaving).extent(sum(_in_dram(plan).values()))
    steps = list(islice(layer_steps(plan), extent.timed))
    if len(steps) == extent.steps:
        return Part(steps)
    counts = np.cumsum([lengths(step.products) for step in steps]).tolist()
    first, last = counts[extent.warm - 1], counts[extent.warm + extent.steady - 1]
    return Part(steps, first, last, (extent.products - counts[-1]) / (last - first))


def _first_strips(plan: Planned, chained: Chained) -> Part:
    bands = chained.strips.bands
    if len(bands) <= STRIPS:
        return Part(list(layer_steps(plan)))
    rows = [len(strip[-1]) for strip in bands]
    times = sum(rows[STRIPS:]) / rows[STRIPS - 1]
    if chained.rounds:
        # The second product is a little behind: what counts is a strip's worth of both.
        strip = chained.choices[0][0].out_blocks * chained.rounds
        some = list(islice(layer_steps(plan), STRIPS * strip))
        counts = [lengths(step.products) for step in some]
        return Part(some, sum(counts[:-strip]), sum(counts), times)
    left = sum(sum(map(bool, strip)) for strip in bands[:STRIPS])
    last = sum(map(bool, bands[STRIPS - 1]))
    steps: list[Step] = []
    first = total = 0
    for step in layer_steps(plan):
        if step.first:
            if not left:
                break
            if left == last:
                first = total
            left -= 1
        steps.append(step)
        total += lengths(step.products)
    return Part(steps, first, total, times)


def _in_dram(plan: Planned) -> dict[str, int]:
    """Bytes of the activations that a layer may use in DRAM, by the names of their memories."""
    memories = plan.memories
    found = {
        name: value.tensor.nbytes
        for name, value, frame in zip(memories.inputs, plan.layer.xs, memories.frames, strict=True)
        if frame is None
    }
    if isinstance(plan.found, Chained):
        found |= plan.found.strips.rings(memories.output)
    if memories.held is None:
        found[memories.output] = plan.layer.result.tensor.nbytes
    return found


def _constant_bytes(plans: Sequence[Planned]) -> int:
    total = 0
    for plan in plans:
        for pieces, tiling in plan.choices:
            size = int(pieces.unit_counts(tiling).sum()) * pieces.tile_rows * pieces.dim
            total += size // 2 if pieces.nibbles else size
    return total
