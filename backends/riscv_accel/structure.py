"""The ops that hold a layer: its tensor ops, then its loops over explicit memories."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from mcc.ir import Buffer, DType, Index, Op, OpError, Region, Space, Tensor, Value
from mcc.runtime import Frame

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
    """A run of layers as loops over tiles. The region's arguments are the machine's memories.

    First one DRAM buffer of bytes for each operand, then one for each tensor that is made in DRAM,
    then what the layers use of: scratchpad, accumulator, table of multipliers (f32), tables of
    bytes.
    """

    xs: tuple[Value, ...]
    shapes: tuple[tuple[int, ...], ...]
    body: Region

    def infer(self) -> tuple[Tensor, ...]:
        results = tuple(Tensor(DType.I8, shape) for shape in self.shapes)
        sizes = [value.tensor.nbytes for value in self.xs] + [made.nbytes for made in results]
        if [v.type for v in self.body.args[: len(sizes)]] != [dram_buffer(n) for n in sizes]:
            raise OpError("the DRAM arguments do not have the sizes of operands and results", "xs")
        return results

    @property
    def pure(self) -> bool:
        """Its effects stay within the buffers that it makes for itself."""
        return True

    @property
    def made(self) -> tuple[Value, ...]:
        """The arguments that hold the results."""
        return self.body.args[len(self.xs) : len(self.xs) + len(self.shapes)]

    @property
    def memories(self) -> tuple[Value, ...]:
        """The arguments that are no DRAM."""
        return self.body.args[len(self.xs) + len(self.shapes) :]

    @property
    def places(self) -> Iterator[tuple[Value, Value]]:
        """Each operand and result with the DRAM argument that holds it."""
        return zip((*self.xs, *self.results), self.body.args, strict=False)

    def evaluate(self, xs: tuple[np.ndarray, ...], body: Body) -> tuple[np.ndarray, ...]:
        dram = [np.ascontiguousarray(x).reshape(-1).view(np.int8).copy() for x in xs]
        made = [np.zeros(math.prod(shape), np.int8) for shape in self.shapes]
        local: list[np.ndarray] = []
        for value in self.memories:
            assert isinstance(value.type, Buffer)
            local.append(np.zeros(value.type.shape, value.type.dtype.numpy))
        body(*dram, *made, *local)
        return tuple(array.reshape(shape) for array, shape in zip(made, self.shapes, strict=True))


class Ready(Op, name="accel.ready", reads=(Space.DRAM, Space.SCRATCHPAD)):
    """From here on a layer's tensor is complete, and can be looked at where it lies.

    It is no command. What comes after it may belong to the next layer, and some of that stands
    before it: loads, mostly.
    """

    memory: Value
    tensor: str
    shape: tuple[int, ...]
    macs: int = 0
    """Multiply-accumulates that the model asks for in this layer."""
    axes: tuple[int, ...] = ()
    scale: tuple[float, ...] = ()
    zero: tuple[int, ...] = ()
    frame: tuple[int, ...] = ()
    """For one in the scratchpad, the numbers of its `Frame`."""

    def infer(self) -> tuple[()]:
        space = self.memory.type.space if isinstance(self.memory.type, Buffer) else None
        if self.frame and space is not Space.SCRATCHPAD:
            raise OpError("a tensor with a frame lies in the scratchpad", "memory")
        if not self.frame and self.memory.type != dram_buffer(math.prod(self.shape)):
            raise OpError("the memory does not hold as many bytes", "memory")
        return ()

    def read(self, memory: np.ndarray) -> np.ndarray:
        """The tensor, from the memory's content."""
        if self.frame:
            return Frame(*self.frame).read(memory, self.shape)
        return memory.reshape(self.shape)

    def evaluate(self, memory: np.ndarray) -> None:
        pass


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
