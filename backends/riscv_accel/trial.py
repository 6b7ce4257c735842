"""Trials: a layer's first steps as a program of the event model, which the cycle model times.

A formula cannot know how three engines and their queues meet. So the few tilings that look best are
planned as they would run: all steps of a short layer; of a long one the first iterations of its
outer loop, the last of which stand for all that follow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mcc.backends import Lifetime, aligned, place
from mcc.ir import Constant, Data, Module, Region, RewriteReport, Type, Value, Yield
from mcc.runtime import Target, isa
from mcc.runtime.simulator import CycleModel, Cycles

from .configure import Configure
from .issuing import Issue
from .machines import remembered
from .rolling import Node, used
from .structure import Kernel, dram_buffer
from .writing import Writer, memory_type

LEAST_STEPS = 4
"""Before what counts as steady, and again of that."""

SEEDS = 3
"""The cache replaces lines at random: a single run of a short layer is one draw."""


@dataclass(frozen=True)
class Extent:
    """How long a layer is."""

    steps: int
    period: int
    """Steps of one iteration of the outer loop."""
    products: int
    moved: int
    """Bytes of its activations."""
    cached: int
    """Bytes of the cache before DRAM."""

    @property
    def warm(self) -> int:
        """Steps after which it goes on as before: what does not fit the cache has filled it."""
        filling = self.steps * self.cached // self.moved if self.moved > self.cached else 0
        return self._whole(max(LEAST_STEPS, filling))

    @property
    def steady(self) -> int:
        """Steps whose pace counts, after those."""
        return self._whole(LEAST_STEPS)

    @property
    def timed(self) -> int:
        """Steps that are run; all of them, unless many would be left out.

        The last ones load nothing for those that follow, as the last ones of the layer do.
        """
        some = self.warm + self.steady + self._whole(1)
        return some if 3 * some <= 2 * self.steps else self.steps

    def _whole(self, steps: int) -> int:
        return -(-steps // self.period) * self.period


def product_ends(stream: isa.Stream, run: Cycles) -> npt.NDArray[np.float64]:
    """When each of a run's products is done, in cycles of the model's clock."""
    computes = [kind.funct7 for kind in isa.COMPUTES]
    ends: npt.NDArray[np.float64] = run.times[np.isin(stream.commands["funct7"], computes), 3]
    return ends


Live = tuple[int, int]
"""When a memory in DRAM is used first and last: numbers of layers."""


def program(
    nodes: Sequence[Node], sizes: Mapping[str, int], target: Target, live: Mapping[str, Live]
) -> tuple[isa.Stream, dict[str, int]]:
    """What the machine runs for some nodes, and where the memories in DRAM that they use lie.

    Args:
        nodes: Tile ops and loops of them.
        sizes: Bytes of each memory in DRAM, also of others.
        target: The machine.
        live: For memories that may lie where others lay before: whose lines the cache has.
    """
    names = used(nodes)
    keys = [*(name for name in sizes if name in names), *sorted(names - set(sizes))]
    count = len(names & set(sizes))
    types: list[Type] = [dram_buffer(sizes[name]) for name in keys[:count]]
    types += [memory_type(name, target) for name in keys[count:]]
    region = Region(types, keys)
    Writer(dict(zip(keys, region.args, strict=True)), {}).write(region, nodes)
    region.append(Yield(()))
    body = Region(())
    operands: list[Value] = []
    for name in keys[:count]:
        operands.append(body.append(Constant(Data(np.zeros(sizes[name], np.int8)))).result)
    kernel = body.append(Kernel(tuple(operands), (), region))
    body.append(Yield(()))
    module = Module("trial", body, [])
    Configure(target=remembered(target)).run(module, RewriteReport())
    offsets, stop = _placed({name: sizes[name] for name in keys[:count]}, live)
    arguments = dict(zip(kernel.body.args, offsets.values(), strict=False))
    issue = Issue(target, stop)
    issue.kernel(kernel, (), arguments)
    return issue.stream(), offsets


def _placed(sizes: Mapping[str, int], live: Mapping[str, Live]) -> tuple[dict[str, int], int]:
    """Where each memory begins, by lifetime where it has one, and where the last one ends."""
    some = [name for name in sizes if name in live]
    placed = place([Lifetime(sizes[name], *live[name]) for name in some], aligned(1))
    offsets = dict(zip(some, placed.offsets, strict=True))
    stop = aligned(1) + placed.peak
    for name in sizes:
        if name not in live:
            offsets[name] = stop
            stop += aligned(sizes[name])
    return {name: offsets[name] for name in sizes}, stop


def touch(
    model: CycleModel, target: Target, places: Sequence[tuple[int, int]], part: float = 1.0
) -> None:
    """Brings (offset, bytes) into the cache before DRAM, or some part of their lines."""
    machine = target.machine
    wide, rows = machine.max_move_bytes, machine.dim
    parts = [isa.ConfigLoad(stride=wide, block_stride=rows).commands()]
    for offset, size in places:
        if part < 1:
            lines = offset + np.arange(0, size, wide)
            chosen = lines[np.random.default_rng(len(lines)).random(len(lines)) < part]
            parts.append(isa.MoveIn.pack(dram=chosen, local=isa.scratchpad(0), cols=wide, rows=1))
            continue
        starts = offset + np.arange(0, size, wide * rows)
        parts.append(isa.MoveIn.pack(dram=starts, local=isa.scratchpad(0), cols=wide, rows=rows))
    model.run(isa.concatenate([*parts, isa.Fence.pack()]))
