"""Targets: each backend lowers a module by named stages and emits an artifact's members."""

from .base import Backend, Stage, backend_named, register_ops
from .emitters import Emission, Emitter

__all__ = ["Backend", "Emission", "Emitter", "Stage", "backend_named", "register_ops"]
