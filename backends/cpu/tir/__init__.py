"""TVM's tensor IR with types: expressions with dtype and lanes, flat buffers, a writer.

The only package that calls TVM's constructors, so that its untyped objects stay in here. All
buffers are flat; shapes and strides are arithmetic of the kernels.
"""

from .buffer import Buffer, Index, index_sum, smaller_index
from .expr import Expr, Number, constant, intrinsic, libm, lowest, select, shuffle
from .writer import Function, Writer

__all__ = [
    "Buffer",
    "Expr",
    "Function",
    "Index",
    "Number",
    "Writer",
    "constant",
    "index_sum",
    "intrinsic",
    "libm",
    "lowest",
    "select",
    "shuffle",
    "smaller_index",
]
