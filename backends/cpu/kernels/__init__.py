"""Kernels, one file a family. Importing this package registers every rule."""

from ..tir import Expr, Writer, constant, intrinsic, select
from . import attention, linear, lookup, pool, quantized, recurrent, resample, rows, scalar, shape
from .elementwise import write_elementwise
from .shape import parts_of
from .strip_chain import write_strips
from .strip_choice import choose_chains
from .windows import halos_of

__all__ = [
    "Expr",
    "Writer",
    "attention",
    "choose_chains",
    "constant",
    "halos_of",
    "intrinsic",
    "linear",
    "lookup",
    "parts_of",
    "pool",
    "quantized",
    "recurrent",
    "resample",
    "rows",
    "scalar",
    "select",
    "shape",
    "write_elementwise",
    "write_strips",
]
