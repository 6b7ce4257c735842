"""ONNX models in, modules out; the only folder that knows onnx on the way in."""

from . import operators  # importing the families fills the table of operators
from .load import load

__all__ = ["load", "operators"]
