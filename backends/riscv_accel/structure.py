"""The ops that hold a layer: its tensor ops, then its loops over explicit memories."""

import math
from collections.abc import Callable

import numpy as np

from mcc.ir import Buffer, DType, Index, Op, OpError, Region, Space, Tensor, Value

Body = Callable[..., tuple[np.ndarray, ...]]


class Layer(Op, name="accel.layer"):
    """Tensor ops that the accelerator runs as one layer: one i8 result, nothing between in DRAM.

    The region's arguments are the activations; constants stand inside it.
    """

    xs: tuple[Value, ...]
    body: Region

    def infer(self) -> Tensor:
        given = tuple(value.type for value in self.xs)
        wanted = tuple(value.type for value in self.body.args)
        if given != wanted:
            raise OpError("the operands do not have the types of the region's arguments", "xs")
        if len(self.body.yielded) != 1:
            raise OpError("a layer yields one value")
        return self.body.yielded[0].tensor

    def evaluate(self, xs: tuple[np.ndarray, ...], body: Body) -> np.ndarray:
        return body(*xs)[0]


class Kernel(Op, name="accel.kernel"):
    """A layer as loops over tiles. The region's arguments are the machine's memories.

    First one DRAM buffer of bytes for each operand, then one for the result, then what the layer
    uses of: scratchpad, accumulator, table of multipliers (f32), tables of bytes.
    """

    xs: tuple[Value, ...]
    shape: tuple[int, ...]
    body: Region
    macs: int = 0

    def infer(self) -> Tensor:
        result = Tensor(DType.I8, self.shape)
        dram = [v.type for v in self.body.args[: len(self.xs) + 1]]
        sizes = [*(value.tensor.nbytes for value in self.xs), result.nbytes]
        wanted = [dram_buffer(size) for size in sizes]
        if dram != wanted:
            raise OpError("the DRAM arguments do not have the sizes of operands and result", "xs")
        return result

    @property
    def pure(self) -> bool:
        """Its effects stay within the buffers that it makes for itself."""
        return True

    @property
    def memories(self) -> tuple[Value, ...]:
        """The arguments that are no DRAM."""
        return self.body.args[len(self.xs) + 1 :]

    def evaluate(self, xs: tuple[np.ndarray, ...], body: Body) -> np.ndarray:
        dram = [np.ascontiguousarray(x).reshape(-1).view(np.int8).copy() for x in xs]
        result = np.zeros(math.prod(self.shape), np.int8)
        local: list[np.ndarray] = []
        for value in self.memories:
            assert isinstance(value.type, Buffer)
            local.append(np.zeros(value.type.shape, value.type.dtype.numpy))
        body(*dram, result, *local)
        return result.reshape(self.shape)


class For(Op, name="accel.for"):
    """Runs its region for 0, 1, … count - 1."""

    count: int
    body: Region

    def infer(self) -> tuple[()]:
        if self.count < 1:
            raise OpError(f"count is {self.count}, must be at least 1", "count")
        if [value.type for value in self.body.args] != [Index()]:
            raise OpError("the region takes one index")
        return ()

    def evaluate(self, body: Body) -> None:
        for i in range(self.count):
            body(i)


def dram_buffer(nbytes: int) -> Buffer:
    """The type of a tensor's bytes in DRAM."""
    return Buffer(Space.DRAM, DType.I8, (nbytes,))
