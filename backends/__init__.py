"""Targets: each backend lowers a module by named stages and emits an artifact's members."""

from .base import Backend, Stage, backend_named, register_ops
from .emitters import Emission, Emitter
from .placement import ALIGNMENT, Lifetime, Placement, aligned, place

__all__ = [
    "ALIGNMENT",
    "Backend",
    "Emission",
    "Emitter",
    "Lifetime",
    "Placement",
    "Stage",
    "aligned",
    "backend_named",
    "place",
    "register_ops",
]
