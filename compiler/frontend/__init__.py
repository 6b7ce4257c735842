"""ONNX models in, modules out; the only folder that knows onnx on the way in."""

from .load import load

__all__ = ["load"]
