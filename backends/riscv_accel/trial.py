"""A layer's first steps on the event model: what a tiling really costs.

A formula cannot know how three engines and their queues meet. So the few tilings that look best are
planned as they would run, and the cycle model times them: all steps of a short layer; of a long one
the first iterations of its outer loop, the last of which stand for all that follow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mcc.backends import aligned
from mcc.ir import Constant, Data, Module, Region, RewriteReport, Type, Value, Yield
from mcc.runtime import Target, isa
from mcc.runtime.simulator import CycleModel, Cycles

from .configure import Configure
from .emitting import Shared
from .issuing import Issue
from .machines import remembered
from .rolling import lengths
from .steps import Step, in_order
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


def cycles(
    steps: Sequence[Step], extent: Extent, shared: Shared, activations: Mapping[str, int]
) -> float:
    """The cycles of a layer of which these are the first steps, `extent.timed` of them.

    It runs alone. Its `activations` in DRAM, bytes by memory, are in the cache if they fit, and its
    constants are not.
    """
    stream, offsets = _program(steps, shared, activations)
    places = [(offsets[name], size) for name, size in activations.items()]
    counts = np.cumsum([lengths(step.products) for step in steps])
    rest = extent.products - int(counts[-1]) if len(steps) < extent.steps else 0
    found: list[float] = []
    for seed in range(SEEDS):
        model = CycleModel(shared.target, seed=seed)
        touch(model, shared.target, places)
        run = model.run_stream(stream)
        found.append(float(run.total))
        if rest:
            ends = product_ends(stream, run)
            first, last = (int(counts[i - 1]) for i in (extent.warm, extent.warm + extent.steady))
            found[-1] += rest * float(ends[last - 1] - ends[first - 1]) / (last - first)
    return sum(found) / SEEDS


def product_ends(stream: isa.Stream, run: Cycles) -> npt.NDArray[np.float64]:
    """When each of a run's products is done, in cycles of the model's clock."""
    computes = [kind.funct7 for kind in isa.COMPUTES]
    ends: npt.NDArray[np.float64] = run.times[np.isin(stream.commands["funct7"], computes), 3]
    return ends


def _program(
    steps: Sequence[Step], shared: Shared, activations: Mapping[str, int]
) -> tuple[isa.Stream, dict[str, int]]:
    """What the machine runs for some steps, and where their memories in DRAM lie."""
    target = shared.target
    nodes = in_order(steps, target.machine.dim)
    sizes = {name: data.nbytes for name, data in shared.constants.items()} | dict(activations)
    keys = [*sizes, *sorted(shared.used)]
    types: list[Type] = [dram_buffer(size) for size in sizes.values()]
    types += [memory_type(name, target) for name in sorted(shared.used)]
    region = Region(types, keys)
    Writer(dict(zip(keys, region.args, strict=True)), {}).write(region, nodes)
    region.append(Yield(()))
    body = Region(())
    operands: list[Value] = []
    for size in sizes.values():
        operands.append(body.append(Constant(Data(np.zeros(size, np.int8)))).result)
    kernel = body.append(Kernel(tuple(operands), (), region))
    body.append(Yield(()))
    module = Module("trial", body, [])
    Configure(target=remembered(target)).run(module, RewriteReport())
    ends = np.cumsum([aligned(1), *(aligned(size) for size in sizes.values())]).tolist()
    offsets = dict(zip(keys, ends, strict=False))
    arguments = dict(zip(kernel.body.args, ends, strict=False))
    issue = Issue(target, ends[-1])
    issue.kernel(kernel, (), arguments)
    return issue.stream(), offsets


def touch(model: CycleModel, target: Target, places: Sequence[tuple[int, int]]) -> None:
    """Brings (offset, bytes) into the cache before DRAM, if all of them fit."""
    machine = target.machine
    if sum(size for _, size in places) > machine.dma.l2_bytes:
        return
    wide, rows = machine.max_move_bytes, machine.dim
    parts = [isa.ConfigLoad(stride=wide, block_stride=rows).commands()]
    for offset, size in places:
        starts = offset + np.arange(0, size, wide * rows)
        parts.append(isa.MoveIn.pack(dram=starts, local=isa.scratchpad(0), cols=wide, rows=rows))
    model.run(isa.concatenate([*parts, isa.Fence.pack()]))
