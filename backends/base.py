"""What a backend is: named stages that lower a module, and an `emit` that makes its members."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points

from mcc.ir import Module, Progress, UserError, known_names
from mcc.passes import Pass
from mcc.runtime import Target

from .emitters import Emitter, Tuning


@dataclass(frozen=True)
class Stage:
    """A point of the road with a name, where the module can be printed, edited and fed back."""

    name: str
    passes: tuple[Pass, ...]


@dataclass(frozen=True)
class Backend:
    """One kind of machine. Others register theirs in the entry-point group `mcc.targets`."""

    name: str
    """What a target file gives as `backend`."""
    stages: Callable[[Target], tuple[Stage, ...]]
    """The stages after `lowered`, in order."""
    emit: Callable[[Module, Target, Progress | None, Tuning], Mapping[str, bytes | Module]]
    """Artifact members from the module of the last stage; a module becomes member `NAME.mir`."""
    quantize: str = "none"
    """The default of `--quantize`: `none` where floats run well, `int8` where only integers do."""
    tunes: bool = False
    """Whether it knows what to do with a `Tuning` that asks for measurements."""
    emitters: tuple[Emitter, ...] = ()
    """What `--emit` offers for this kind of machine, besides the stages and the common forms."""


def backend_named(name: str) -> Backend:
    """The backend that a target asks for, ours or an installed package's.

    Raises:
        UserError: Listing the known backends.
    """
    found = {point.name: point for point in entry_points(group="mcc.targets")}
    if name not in found:
        raise UserError(f"no backend is called {name!r}", remedy=known_names(found))
    backend = found[name].load()
    if not isinstance(backend, Backend):
        raise UserError(f"{found[name].value} is no mcc backend")
    return backend


def register_ops() -> None:
    """Import every backend, so that its ops and passes can be named in texts and pipelines."""
    for point in entry_points(group="mcc.targets"):
        point.load()
