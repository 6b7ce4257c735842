"""The accelerator backend: integer modules to commands, in stages to read and to run."""

from collections.abc import Mapping

from mcc.backends import UNTUNED, Backend, Stage, Tuning
from mcc.ir import Module, Progress
from mcc.passes import ChannelsLast, Dce
from mcc.runtime import Target

from .chaining import ChainLayers
from .configure import Configure
from .linking import Linked, link
from .lower import Tile
from .machines import remembered
from .partition import Partition
from .report import report
from .riscv import EMITTERS


def stages(target: Target) -> tuple[Stage, ...]:
    """The named stages between a lowered module and `emit`."""
    name = remembered(target)
    return (
        # The array sums over channels, so they lie side by side in memory.
        Stage("layout", (ChannelsLast(), Dce())),
        Stage("partitioned", (Partition(target=name), ChainLayers(target=name))),
        Stage("tiled", (Tile(target=name),)),
        # The machine's registers follow from the tiles, so this comes after every choice of order.
        Stage("configured", (Configure(target=name),)),
    )


def emit(
    module: Module,
    target: Target,
    progress: Progress | None = None,
    tuning: Tuning = UNTUNED,
) -> Mapping[str, bytes | Module]:
    """The artifact's members from the last stage's module: what runs, its data, and a report."""
    del tuning  # the cycle model chooses
    linked = link(module, target, progress)
    return {
        "program": linked.module,
        **linked.program.to_members(),
        "report.json": report(linked, target),
    }


BACKEND = Backend("riscv_accel", stages, emit, quantize="int8", emitters=EMITTERS)

__all__ = ["BACKEND", "Configure", "Linked", "Partition", "Tile", "emit", "link", "stages"]
