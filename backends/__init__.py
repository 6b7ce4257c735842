"""Targets: each backend lowers a module by named stages and emits an artifact's members."""

from .base import Backend, Stage, backend_named, register_ops

__all__ = ["Backend", "Stage", "backend_named", "register_ops"]
