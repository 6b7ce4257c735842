"""Emitters: the forms that a compilation can end in, besides a stage's text and the artifact."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mcc.ir import Array, Module, Progress
from mcc.runtime import Target

Feeds = Mapping[str, Array]


@dataclass(frozen=True)
class Tuning:
    """Whether kernels are measured before they are chosen, and where results are kept."""

    effort: Literal["0", "quick", "full"] = "0"
    database: Path | None = None
    """None: the user's own."""


UNTUNED = Tuning()


@dataclass(frozen=True)
class Emission:
    """What a compilation hands to an emitter."""

    module: Module
    """At the stage that the emitter asked for."""
    reference: Module | None
    """The module of stage `lowered` as it was then; None where the compilation began behind it, or
    the emitter's stage lies before."""
    target: Target
    name: str
    """What the model is called."""
    stem: str
    """The name of the file to be written, without its suffix; in a folder, the model's."""
    in_folder: bool
    """Whether the files go into a folder, which only some emitters allow."""
    samples: Callable[[int], Sequence[Feeds]]
    """At most so many inputs: calibration samples, or made-up ones."""
    tuning: Tuning
    progress: Progress


@dataclass(frozen=True)
class Emitter:
    """One such form. A backend lists its own (`Backend.emitters`)."""

    name: str
    """For `--emit`."""
    stage: str
    """The stage whose module it takes; empty for the target's last."""
    emit: Callable[[Emission], Mapping[str, bytes]]
    """Files by suffix, `.c` and `.h`; the first is the one that `-o` names."""
    suffix: str
    """Of the first file."""
    folder: bool = False
    """Whether `-o` may name a folder instead (anything without a suffix)."""
