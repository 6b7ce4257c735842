"""The accelerator backend: integer modules in NHWC to commands, in stages that can be read and run."""

from collections.abc import Mapping

from mcc.ir import Module, Progress, print_module
from mcc.backends.base import Backend, Stage
from mcc.passes import ChannelsLast, Dce, Pass
from mcc.runtime.target import Target

from .configure import Configure
from .linking import Linked, link
from .lower import Tile
from .machines import remembered
from .partition import Partition


def stages(target: Target) -> tuple[Stage, ...]:
    """The named stages between a lowered module and `emit`."""
    name = remembered(target)
    return (
        # The array sums over channels, so they lie side by side in memory.
        Stage("layout", (ChannelsLast(), Dce())),
        Stage("partitioned", (Partition(target=name),)),
        Stage("tiled", (Tile(target=name),)),
        # The machine's registers follow from the tiles, so this comes after every choice of order.
        Stage("configured", (Configure(target=name),)),
    )


def emit(
    module: Module, target: Target, progress: Progress | None = None
) -> Mapping[str, bytes]:
    """The artifact's members from the last stage's module: what runs, its data, and a report."""
    from mcc.ir.files import weights_to_bytes

    linked = link(module, target, progress)
    printed = print_module(linked.module)
    members = {"program.mir": printed.text.encode(), **linked.program.to_members()}
    if printed.weights:
        members["program.safetensors"] = weights_to_bytes(dict(printed.weights))
    return members


BACKEND = Backend("riscv_accel", stages, emit, quantize="int8")

__all__ = ["BACKEND", "Configure", "Linked", "Partition", "Tile", "emit", "link", "stages"]
