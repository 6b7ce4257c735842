"""How a chain of products runs in strips of rows: in turn where the machine can, else in bands."""

from collections.abc import Iterator

from mcc.runtime import Target

from .bands import in_bands, plan_bands
from .emitting import Memories
from .layers import Chain
from .steps import Step
from .strips import Chained
from .turn_search import in_turn
from .turns import plan_turns


def in_strips(chain: Chain, target: Target) -> Chained | None:
    """The strips in which a chain takes fewest cycles; None where none fit the machine."""
    return in_turn(chain, target) or in_bands(chain, target)


def plan_strips(plan: Chained, memories: Memories) -> Iterator[Step]:
    """The steps of a chain, strip by strip; fills `memories` with the constants they load."""
    return plan_turns(plan, memories) if plan.rounds else plan_bands(plan, memories)
