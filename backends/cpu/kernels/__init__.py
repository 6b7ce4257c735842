"""Kernels, one file a family. Importing this package registers every rule."""

from . import linear, pool, quantized, rows, scalar, shape
from .elementwise import write_elementwise

__all__ = ["linear", "pool", "quantized", "rows", "scalar", "shape", "write_elementwise"]
