"""Types of values: tensors, memory buffers and loop indices."""

import enum
import json
import math
import re
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from .errors import OpError

Array = npt.NDArray[Any]
"""A numpy array of any dtype: the `Tensor` beside it says which one, Python's types do not."""


class DType(enum.Enum):
    """An element type. `B1` is a weight bit that means -1 or +1 (stored as int8)."""

    F64 = "f64"
    F32 = "f32"
    F16 = "f16"
    BF16 = "bf16"
    I64 = "i64"
    I32 = "i32"
    I16 = "i16"
    I8 = "i8"
    I4 = "i4"
    U64 = "u64"
    U32 = "u32"
    U16 = "u16"
    U8 = "u8"
    U4 = "u4"
    I1 = "i1"
    B1 = "b1"
    STRING = "string"

    def __str__(self) -> str:
        return self.value

    @property
    def numpy(self) -> np.dtype[np.generic]:
        """The numpy type that holds one element."""
        return _NUMPY[self]

    @property
    def bits(self) -> int:
        """Bits of one stored element; packed types count what they pack to."""
        return _BITS[self]

    @property
    def is_float(self) -> bool:
        return self in _FLOATS

    @property
    def is_integer(self) -> bool:
        return self.value[0] in "iu" and self is not DType.I1

    @property
    def is_unsigned(self) -> bool:
        return self.value[0] == "u"

    @property
    def limits(self) -> tuple[int, int]:
        """Smallest and largest value of an integer type."""
        if not self.is_integer:
            raise OpError(f"{self} is not an integer type")
        if self.is_unsigned:
            return 0, 2**self.bits - 1
        return -(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1

    @staticmethod
    def of(array: Array | np.generic | np.dtype[Any]) -> "DType":
        """The dtype of a numpy array, scalar or dtype."""
        dtype: np.dtype[Any] = array if isinstance(array, np.dtype) else array.dtype
        found = _FROM_NUMPY.get(dtype)
        if found is None:
            if dtype.kind in "OUS":
                return DType.STRING
            raise OpError(f"numpy type {dtype} has no counterpart in the IR")
        return found

    @property
    def is_number(self) -> bool:
        """Whether arithmetic is defined on it; 4-bit integers are only stored and multiplied."""
        return self.is_float or (self.is_integer and self not in (DType.I4, DType.U4))


_FLOATS = {DType.F64, DType.F32, DType.F16, DType.BF16}
_NUMPY: dict[DType, np.dtype[np.generic]] = {
    DType.F64: np.dtype(np.float64),
    DType.F32: np.dtype(np.float32),
    DType.F16: np.dtype(np.float16),
    DType.BF16: np.dtype(ml_dtypes.bfloat16),
    DType.I64: np.dtype(np.int64),
    DType.I32: np.dtype(np.int32),
    DType.I16: np.dtype(np.int16),
    DType.I8: np.dtype(np.int8),
    DType.I4: np.dtype(ml_dtypes.int4),
    DType.U64: np.dtype(np.uint64),
    DType.U32: np.dtype(np.uint32),
    DType.U16: np.dtype(np.uint16),
    DType.U8: np.dtype(np.uint8),
    DType.U4: np.dtype(ml_dtypes.uint4),
    DType.I1: np.dtype(np.bool_),
    DType.B1: np.dtype(np.int8),
    DType.STRING: np.dtype(object),
}
_BITS = {
    dtype: {DType.I4: 4, DType.U4: 4, DType.B1: 1}.get(dtype, _NUMPY[dtype].itemsize * 8)
    for dtype in DType
}
_FROM_NUMPY = {
    numpy: dtype for dtype, numpy in _NUMPY.items() if dtype not in (DType.B1, DType.STRING)
}


@dataclass(frozen=True, slots=True)
class Symbol:
    """A dimension known only by name, such as a batch size."""

    name: str

    def __str__(self) -> str:
        plain = PLAIN_NAME.fullmatch(self.name)
        return f"?{self.name}" if plain else f"?{json.dumps(self.name)}"


PLAIN_NAME = re.compile(r"[A-Za-z0-9_.$/\-]+")
"""A name that stands in the text without quotes."""

Dim = int | Symbol


@dataclass(frozen=True, slots=True)
class Tensor:
    """A dense array: an element type and a shape of integers or symbols."""

    dtype: DType
    shape: tuple[Dim, ...]

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(str(dim) for dim in self.shape)}]"

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def dims(self) -> tuple[int, ...]:
        """The shape as integers; an `OpError` where a dimension is symbolic."""
        dims = tuple(dim for dim in self.shape if isinstance(dim, int))
        if len(dims) != len(self.shape):
            raise OpError(f"{self} has a symbolic dimension where an integer is needed")
        return dims

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.dims)

    @property
    def nbytes(self) -> int:
        """Bytes when stored densely, sub-byte types packed."""
        return (self.size * self.dtype.bits + 7) // 8


class Space(enum.Enum):
    """The memory that a buffer lies in."""

    DRAM = "dram"
    SCRATCHPAD = "scratchpad"
    ACCUMULATOR = "accumulator"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Buffer:
    """A mutable array in a named memory; ops on it declare what they read and write."""

    space: Space
    dtype: DType
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.space.value}<{self.dtype}[{','.join(map(str, self.shape))}]>"

    @property
    def nbytes(self) -> int:
        return (math.prod(self.shape) * self.dtype.bits + 7) // 8


@dataclass(frozen=True, slots=True)
class Index:
    """A loop's induction variable."""

    def __str__(self) -> str:
        return "index"


Type = Tensor | Buffer | Index


@dataclass(frozen=True, slots=True)
class Quant:
    """What an integer value stands for: `real = scale * (value - zero)`, maybe along `axis`."""

    scale: tuple[float, ...]
    zero: tuple[int, ...]
    axis: int | None = None

    def __post_init__(self) -> None:
        # numpy's scalars would print as `np.float32(0.5)`, which does not read back.
        object.__setattr__(self, "scale", tuple(float(item) for item in self.scale))
        object.__setattr__(self, "zero", tuple(int(item) for item in self.zero))
        if self.axis is not None:
            object.__setattr__(self, "axis", int(self.axis))
        if len(self.scale) != len(self.zero) or (self.axis is None and len(self.scale) != 1):
            raise OpError(
                f"a quant note needs one scale and zero, or as many of both along an axis; "
                f"got {len(self.scale)} and {len(self.zero)}, axis {self.axis}"
            )

    def __str__(self) -> str:
        if self.axis is None:
            return f"quant({self.scale[0]!r}, {self.zero[0]})"
        scales = ", ".join(map(repr, self.scale))
        zeros = ", ".join(map(str, self.zero))
        return f"quant([{scales}], [{zeros}], {self.axis})"
