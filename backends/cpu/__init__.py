"""The CPU, by way of TVM; the only folder that imports TVM's compiler."""

from collections.abc import Mapping

from mcc.backends import UNTUNED, Backend, Emission, Emitter, Stage, Tuning
from mcc.ir import Module, Progress
from mcc.passes import ChannelsLast, Dce, FuseAttention
from mcc.runtime import Target

from .compile import compile_library, library_files, library_members
from .narrow import WidenLast
from .registry import elementwise, lower
from .separate import SeparatePools
from .tables import ComposeTables
from .unshuffle import FoldUnshuffle

__all__ = [
    "BACKEND",
    "LIBRARY",
    "compile_library",
    "elementwise",
    "emit",
    "library_files",
    "library_members",
    "lower",
    "stages",
]


def stages(target: Target) -> tuple[Stage, ...]:
    """What happens to a lowered module before kernels are written for it."""
    # Vectors run along the channels, so these go last in memory. Attention is fused behind that:
    # layout knows the axes of products and softmax, and moves transposes out from between them.
    layout = (ChannelsLast(), WidenLast(), FuseAttention())
    return (Stage("layout", (ComposeTables(), FoldUnshuffle(), *layout, SeparatePools(), Dce())),)


def emit(
    module: Module,
    target: Target,
    progress: Progress | None = None,
    tuning: Tuning = UNTUNED,
) -> Mapping[str, bytes]:
    """The artifact members `library.so` and `library.json`."""
    return library_members(module, target, progress, tuning)


def _library(emission: Emission) -> Mapping[str, bytes]:
    return library_files(
        emission.module,
        emission.target,
        stem=emission.stem,
        title=emission.name,
        archive=not emission.in_folder,
        progress=emission.progress,
        tuning=emission.tuning,
    )


LIBRARY = Emitter("lib", "", _library, ".a", folder=True)
"""Kernels and weights for other programs: an archive, or its parts in a folder."""

BACKEND = Backend(name="cpu", stages=stages, emit=emit, tunes=True, emitters=(LIBRARY,))
