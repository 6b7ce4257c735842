"""The accelerator backend: integer modules in NHWC to commands, in stages that can be read and run."""

from collections.abc import Callable, Mapping

from mcc.ir import Module, print_module
from mcc.passes.base import Pass
from mcc.runtime.target import Target

from .configure import Configure
from .linking import Linked, link
from .lower import Tile
from .machines import remembered
from .partition import Partition

Stages = tuple[tuple[str, tuple[Pass, ...]], ...]


def stages(target: Target) -> Stages:
    """The named stages between a lowered module in NHWC and `emit`."""
    name = remembered(target)
    return (
        ("partitioned", (Partition(target=name),)),
        ("tiled", (Tile(target=name),)),
        # The machine's registers follow from the tiles, so this comes after every choice of order.
        ("configured", (Configure(target=name),)),
    )


def emit(
    module: Module, target: Target, progress: Callable[[str], None] | None = None
) -> Mapping[str, bytes]:
    """The artifact's members from the last stage's module: what runs, its data, and a report."""
    from mcc.ir.files import weights_to_bytes

    linked = link(module, target, progress)
    printed = print_module(linked.module)
    members = {"program.mir": printed.text.encode(), **linked.program.to_members()}
    if printed.weights:
        members["program.safetensors"] = weights_to_bytes(dict(printed.weights))
    return members


__all__ = ["Configure", "Linked", "Partition", "Stages", "Tile", "emit", "link", "stages"]
