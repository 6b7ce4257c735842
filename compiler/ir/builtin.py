"""The ops that the IR itself needs: constants, and the end of a region."""

import numpy as np

from .core import Op, Value
from .data import Data
from .errors import OpError
from .types import Array, DType, Tensor


class Constant(Op, name="constant"):
    """A constant array. Small ones print in place, others by name, their bytes beside the text."""

    data: Data
    dtype: DType | None = None  # only where the array's own type does not tell (b1)

    def infer(self) -> Tensor:
        dtype = DType.of(self.data.array)
        if self.dtype is not None and self.dtype.numpy != dtype.numpy:
            raise OpError(f"the array is {dtype}, which cannot hold {self.dtype}", "dtype")
        return Tensor(self.dtype or dtype, self.data.array.shape)

    def evaluate(self) -> Array:
        return self.data.array


class Yield(Op, name="yield"):
    """The values that a region hands out; the last op of every region."""

    values: tuple[Value, ...]

    def infer(self) -> tuple[()]:
        return ()


def constant(array: Array, name: str = "") -> Constant:
    """A detached `Constant` whose value carries `name`."""
    op = Constant(Data(np.asarray(array), name))
    op.results[0].name = name
    return op


def constant_of(value: Value | None) -> Array | None:
    """The array behind a value that a `Constant` defines, else None."""
    if value is not None and isinstance(value.op, Constant):
        return value.op.data.array
    return None
