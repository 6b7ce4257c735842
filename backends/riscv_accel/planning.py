"""What is decided about a run of layers before its ops are written.

Which activations stay on the chip, and how products are cut in what these leave of the scratchpad.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mcc.ir import OpError, UserError, Value
from mcc.runtime import Target

from .chains import in_strips
from .choices import Choice, alternatives, best_few, cheapest, of_activations
from .emitting import Memories, Shared
from .estimate import products_of
from .held import Held, hold
from .layers import Chain, Move, Product, read_layer
from .strips import Chained
from .structure import Layer


@dataclass(frozen=True)
class Planned:
    """A layer with its memories, and how it is computed."""

    layer: Layer
    found: Product | Move | Chained
    memories: Memories
    choices: Sequence[Choice] = ()
    alternatives: Sequence[Choice] = ()
    """The choice was made from these, each the cheapest of its kind."""
    candidates: Sequence[Choice] = ()
    """Those worth a trial behind the layer before, which is not planned yet."""

    @property
    def cost(self) -> float:
        """Estimated cycles."""
        return sum(tiling.cost for _, tiling in self.choices)


Known = dict[object, Planned]
"""Layers beside what stays on the chip, by all that their choice depends on."""


class _NoRoomError(Exception):
    """What stays in the scratchpad leaves a layer too little."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


def planned(
    layers: Sequence[Layer], names: Mapping[Value, str], shared: Shared
) -> tuple[list[Planned], dict[Value, Held]]:
    """Every layer of a run, in order, and what stays on the chip.

    Raises:
        UserError: where a layer does not fit the machine.
    """
    apart: list[Planned] = []
    for layer in layers:
        memories = Memories(shared, names[layer.result], _inputs(layer, names), names[layer.result])
        memories.frames = [None] * len(layer.xs)
        try:
            apart.append(_chosen(layer, read_layer(layer), memories))
        except OpError as error:
            raise misfit(layer, shared.target, error) from None
    senders, readers = _able(apart)
    moves = {plan.layer for plan in apart if isinstance(plan.found, Move | Chained)}
    banned: set[Value] = set()
    known: Known = {}
    while True:
        held = hold(layers, senders, readers, moves, banned, shared.target)
        if not held:
            return [_listed(plan) for plan in apart], {}
        try:
            together = _together(apart, held, names, shared, known)
        except _NoRoomError as error:
            banned |= set(_beside(held, error.index))
            continue
        costly = [i for i, plan in enumerate(together) if plan.cost > apart[i].cost + WORTH]
        if not costly:
            return [_listed(plan) for plan in together], held
        for index in costly:
            banned.add(max(_beside(held, index), key=lambda value: held[value].rows))


def _beside(held: Mapping[Value, Held], index: int) -> list[Value]:
    """What is in the scratchpad while a layer runs."""
    return [value for value, item in held.items() if item.first <= index <= item.last]


def misfit(layer: Layer, target: Target, error: OpError) -> UserError:
    """What a user is told of a layer that a machine's memories cannot hold."""
    return UserError(
        f"the layer does not fit {target.name}: {error.message}",
        where=", ".join(layer.nodes) or layer.result.name or layer.op_name,
        remedy="use a target with larger memories, or a smaller input shape",
    )


def _inputs(layer: Layer, names: Mapping[Value, str]) -> list[str]:
    return [names[value] for value in layer.xs]


def _chosen(layer: Layer, found: Product | Move | Chain, memories: Memories) -> Planned:
    if isinstance(found, Chain):
        chained = in_strips(found, memories.target)
        if chained is None:
            raise OpError("no strip of rows of what it chains fits")
        return Planned(layer, chained, memories, chained.choices)
    if not isinstance(found, Product):
        return Planned(layer, found, memories)
    if found.w is not None:
        return Planned(layer, found, memories, of_activations(found, memories))
    others = alternatives(found, memories)
    return Planned(layer, found, memories, [cheapest(others)], others)


def _listed(plan: Planned) -> Planned:
    """The same with the choices that are worth a trial."""
    if not plan.alternatives:
        return plan
    few = best_few(plan.alternatives, plan.memories)
    if plan.memories.floor:
        # Beside what stays on the chip there is less to win.
        few = few[: 2 if products_of(*few[0]) < FEW_PRODUCTS else 1]
    return replace(plan, choices=few[:1], candidates=few)


FEW_PRODUCTS = 512
"""Of a layer whose trials are worth their time beside what stays on the chip."""
WORTH = 1500.0
"""Estimated cycles that a layer may take longer for an operand or a result in the scratchpad."""


def _able(apart: Sequence[Planned]) -> tuple[dict[Layer, Product], dict[Layer, Product]]:
    """The layers that can store into the scratchpad, and those that can read all there.

    There pixels lie one a row. A layer that is much cheaper where pixels side by side count as
    channels keeps that.
    """
    senders: dict[Layer, Product] = {}
    readers: dict[Layer, Product] = {}
    for plan in apart:
        product = plan.found
        if not isinstance(product, Product) or product.x.batch > 1:
            continue
        if product.w is not None:
            senders[plan.layer] = product
            if product.x.operand < 0:
                readers[plan.layer] = product
            continue
        most = plan.cost + WORTH
        likely = [cut.product for cut, tiling in plan.alternatives if tiling.cost <= most]
        narrow = [one for one in likely if one.channels == product.channels]
        if narrow:
            senders[plan.layer] = product
        if any(one.x.channels == product.x.channels for one in narrow):
            readers[plan.layer] = product
    return senders, readers


def _together(
    apart: Sequence[Planned],
    held: Mapping[Value, Held],
    names: Mapping[Value, str],
    shared: Shared,
    known: Known,
) -> list[Planned]:
    """The layers beside what stays in the scratchpad; `_NoRoomError` where one does not fit."""
    floors = [0] * len(apart)
    for item in held.values():
        for index in range(item.first, item.last + 1):
            floors[index] = max(floors[index], item.stop)
    found: list[Planned] = []
    for index, plan in enumerate(apart):
        layer = plan.layer
        if not floors[index]:
            found.append(plan)
            continue
        stays = held.get(layer.result)
        frames = [held.get(value) for value in layer.xs]
        memories = Memories(
            shared,
            names[layer.result],
            _inputs(layer, names),
            "scratchpad" if stays is not None else names[layer.result],
            stays,
            floors[index],
            frames,
            any(frame is not None and frame.first == index - 1 for frame in frames),
        )
        key = (index, stays, floors[index], *frames)
        try:
            assert not isinstance(plan.found, Chained), "nothing stays on the chip beside it"
            known[key] = known.get(key) or _chosen(layer, plan.found, memories)
        except OpError:
            raise _NoRoomError(index) from None
        found.append(known[key])
    return found
