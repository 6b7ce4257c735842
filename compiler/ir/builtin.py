"""The ops that the IR itself needs: constants, and the end of a region."""

import numpy as np

from .core import Op, Value
from .data import Data
from .types import Array, DType, Tensor


class Constant(Op, name="constant"):
    """A constant array. Small ones print in place, others by name with their bytes beside the text."""

    data: Data
    dtype: DType | None = None  # only where the array's own type does not tell (b1, string)

    def infer(self) -> Tensor:
        return Tensor(self.dtype or DType.of(self.data.array), self.data.array.shape)

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
