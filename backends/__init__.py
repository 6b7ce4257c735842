"""Targets: each backend lowers a module by named stages and emits an artifact's members."""

from .base import Backend, Stage, backend_named, register_ops
from .ctext import C_TYPES, c_identifiers, comment_text, string_literal
from .emitters import UNTUNED, Emission, Emitter, Tuning
from .placement import ALIGNMENT, Lifetime, Placement, aligned, place

__all__ = [
    "ALIGNMENT",
    "C_TYPES",
    "UNTUNED",
    "Backend",
    "Emission",
    "Emitter",
    "Lifetime",
    "Placement",
    "Stage",
    "Tuning",
    "aligned",
    "backend_named",
    "c_identifiers",
    "comment_text",
    "place",
    "register_ops",
    "string_literal",
]
