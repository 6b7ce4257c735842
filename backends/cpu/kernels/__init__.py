"""Kernels, one file a family. Importing this package registers every rule."""

from ..tir import Expr, Writer, constant, intrinsic, select
from . import linear, pool, quantized, rows, scalar, shape
from .elementwise import write_elementwise

__all__ = [
    "Expr",
    "Writer",
    "constant",
    "intrinsic",
    "linear",
    "pool",
    "quantized",
    "rows",
    "scalar",
    "select",
    "shape",
    "write_elementwise",
]
