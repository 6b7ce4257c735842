"""What a compiled library holds, as it stands in `library.json`."""

from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from mcc.ir import UserError

from .processor import Processor


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Entry(_Record):
    """A tensor of the library."""

    name: str
    dtype: str
    shape: tuple[int, ...]


class Stored(Entry):
    """A tensor that lies in memory at some time, in the slot of that number."""

    slot: int
    axes: tuple[int, ...] | None = None
    """Axis i is axis `axes[i]` of the ONNX tensor."""


class Slot(_Record):
    """A flat array that kernels read or write. The first slots are the inputs."""

    dtype: str
    """numpy's name."""
    size: int
    weight: int | None
    """Where a constant begins in the library's weights, in bytes."""


class Call(_Record):
    """A kernel's call; arrays are numbers of slots."""

    kernel: str
    """Its name; calls of equal kernels share one."""
    value: str
    """The value that it computes, perhaps with other calls."""
    nodes: tuple[str, ...]
    """The ONNX nodes of that value and of what is fused into it."""
    inputs: tuple[int, ...]
    output: int
    replaced: int | None
    """The input that the kernel finds in the memory of the output, and replaces."""
    failure: int
    """The status where the kernel refuses an operand; 0 where it never does."""
    needed: bool
    """Whether an inference makes this call, or only observers."""


class Fused(_Record):
    """A value that is computed inside the kernel of another and never stored."""

    name: str
    into: str


class Table(_Record):
    """What a library holds: `library.json` of an artifact."""

    inputs: tuple[Entry, ...]
    outputs: tuple[Entry, ...]
    workspace: int
    """Bytes that a call needs for what lies between inputs and outputs."""
    failures: tuple[str, ...]
    """What the status of a call means, from 1 on."""
    slots: tuple[Slot, ...]
    calls: tuple[Call, ...]
    """In order."""
    values: tuple[Stored, ...]
    fused: tuple[Fused, ...]
    machine: Processor

    @classmethod
    def from_json(cls, text: bytes | str) -> Self:
        """Read the table; `UserError` for a malformed one."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise UserError(
                f"the library's table is malformed: {error.errors()[0]['msg']}",
                where="library.json",
                remedy="compile the model again",
            ) from None
