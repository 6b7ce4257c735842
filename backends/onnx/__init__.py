"""Modules out as ONNX models: the float stage, or the quantized one as a QDQ model."""

from .export import export

__all__ = ["export"]
