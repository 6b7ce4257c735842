"""How an instruction's fields lie in a RoCC command, for one and for whole arrays.

A command is (funct7, rs1, rs2): a 7-bit function number and two 64-bit operands. A program is one
numpy array of `COMMAND`; an `Instruction` object is for reading, writing and explaining single
commands.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal, Self, cast, dataclass_transform

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from ..accelerator import Accelerator
    from .state import State

COMMAND = np.dtype([("funct7", np.uint8), ("rs1", np.uint64), ("rs2", np.uint64)], align=True)
"""One command; 24 bytes, so that each operand is aligned."""

Commands = npt.NDArray[np.void]
"""A program: a one-dimensional array of `COMMAND`."""

Columns = dict[str, npt.NDArray[np.number]]
"""The fields of many commands of one class, by name.

Int64 (uint64 for 64-bit fields), float32 for reals.
"""

FieldValue = int | float | npt.NDArray[np.number]

Word = Literal["rs1", "rs2"]
Kind = Literal["integer", "signed", "address", "local", "real"]


@dataclasses.dataclass(frozen=True)
class Bits:
    """Where a field lies: bits `high` down to `low` of a word, and how to read them."""

    word: Word
    high: int
    low: int
    kind: Kind

    @property
    def width(self) -> int:
        return self.high - self.low + 1

    @functools.cached_property
    def mask(self) -> int:
        return (1 << self.width) - 1

    @functools.cached_property
    def limits(self) -> tuple[int, int]:
        """The least and the largest integer that fit."""
        return (-(self.mask >> 1) - 1, self.mask >> 1) if self.kind == "signed" else (0, self.mask)

    def insert(self, value: FieldValue, name: str) -> "int | npt.NDArray[np.uint64]":
        """The bits of `value` in place. `ValueError` where it does not fit."""
        if self.kind == "real":
            bits = np.asarray(value, np.float32).view(np.uint32).astype(np.uint64)
            return bits << np.uint64(self.low)
        least, most = self.limits
        if isinstance(
            value, int
        ):  # most fields of most commands: numpy would take ten times longer
            if not least <= value <= most:
                raise ValueError(f"{name}={value} does not fit: allowed are {least} to {most}")
            return (int(value) & self.mask) << self.low
        wide = np.asarray(value)
        if wide.dtype.kind not in "iu":
            raise ValueError(f"{name} must be an integer, not {wide.dtype}")
        if wide.size and (int(wide.min()) < least or int(wide.max()) > most):
            bad = int(wide.min()) if int(wide.min()) < least else int(wide.max())
            raise ValueError(f"{name}={bad} does not fit: allowed are {least} to {most}")
        return (wide.astype(np.uint64) & np.uint64(self.mask)) << np.uint64(self.low)

    def extract(self, words: npt.NDArray[np.uint64]) -> npt.NDArray[np.number]:
        """The inverse of `insert`, for many words."""
        bits = (words >> np.uint64(self.low)) & np.uint64(self.mask)
        match self.kind:
            case "real":
                return bits.astype(np.uint32).view(np.float32)
            case "signed":
                shift = np.int64(64 - self.width)
                return (bits.astype(np.int64) << shift) >> shift
            case _:
                return bits if self.width == 64 else bits.astype(np.int64)


def integer(word: Word, high: int, low: int, *, default: int) -> int:
    """Declares an unsigned field."""
    return cast(int, _declare(word, high, low, "integer", default))


def signed(word: Word, high: int, low: int, *, default: int) -> int:
    """Declares a field in two's complement."""
    return cast(int, _declare(word, high, low, "signed", default))


def dram_address(word: Word, high: int, low: int, *, default: int) -> int:
    """Declares a DRAM address: an offset from the base that the loader chooses; 0 is no address."""
    return cast(int, _declare(word, high, low, "address", default))


def local_address(word: Word, high: int, low: int, *, default: int) -> int:
    """Declares a local address: a row of the scratchpad or the accumulator, or `GARBAGE`."""
    return cast(int, _declare(word, high, low, "local", default))


def real(word: Word, high: int, low: int, *, default: float) -> float:
    """Declares a float32."""
    return cast(float, _declare(word, high, low, "real", default))


def _declare(word: Word, high: int, low: int, kind: Kind, default: float) -> object:
    return dataclasses.field(default=default, metadata={"bits": Bits(word, high, low, kind)})


@dataclass_transform(
    kw_only_default=True,
    frozen_default=True,
    field_specifiers=(integer, signed, dram_address, local_address, real),
)
class Instruction:
    """One instruction: its fields and their bits, and, in `execute`, what it does to the machine.

    A subclass is a frozen dataclass with keyword fields. Its docstring starts with what the
    instruction does (the first paragraph goes into docs/accelerator.md).
    """

    mnemonic: ClassVar[str] = ""
    funct7: ClassVar[int] = -1
    selector: ClassVar[int] = -1
    """For the CONFIG family: the value of rs1[1:0] that selects this class; -1 elsewhere."""
    extension: ClassVar[str] = ""
    """The extension that a machine must have; empty for the portable subset."""
    bits: ClassVar[dict[str, Bits]] = {}
    default_words: ClassVar[dict[Word, int]] = {}
    """The operands of a command whose fields all have their defaults."""

    def __init_subclass__(
        cls, *, mnemonic: str, funct7: int, selector: int = -1, extension: str = ""
    ) -> None:
        dataclasses.dataclass(frozen=True, kw_only=True)(cls)
        cls.mnemonic = mnemonic
        cls.funct7 = funct7
        cls.selector = selector
        cls.extension = extension
        own = cast("dict[str, dataclasses.Field[object]]", cls.__dataclass_fields__)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        cls.bits = {
            name: cast(Bits, field.metadata["bits"])
            for name, field in own.items()
            if "bits" in field.metadata
        }
        cls.default_words = {"rs1": max(cls.selector, 0), "rs2": 0}
        for name, bits in cls.bits.items():
            part = bits.insert(cast("int | float", own[name].default), name)
            cls.default_words[bits.word] |= int(part)

    def execute(self, state: "State") -> None:
        """Changes `state` as the machine would; the simulator's oracle, slow and readable."""
        raise NotImplementedError

    @classmethod
    def limits(
        cls, fields: Columns, machine: "Accelerator"
    ) -> Iterator[tuple[npt.NDArray[np.bool_], str]]:
        """What may not be encoded: pairs of a mask over the commands and the reason."""
        return iter(())

    @classmethod
    def pack(cls, **fields: FieldValue) -> Commands:
        """Encodes many at once: each field is a scalar or an array, broadcast together."""
        unknown = fields.keys() - cls.bits.keys()
        if unknown:
            known = ", ".join(cls.bits)
            raise ValueError(
                f"{cls.mnemonic} has no field {', '.join(sorted(unknown))}; it has {known}"
            )
        fixed = dict(cls.default_words)
        varying: list[tuple[Word, npt.NDArray[np.uint64]]] = []
        for name, value in fields.items():
            bits = cls.bits[name]
            fixed[bits.word] &= ~(bits.mask << bits.low)
            part = bits.insert(value, f"{cls.mnemonic} {name}")
            if isinstance(part, int):
                fixed[bits.word] |= part
            else:
                varying.append((bits.word, part))
        shape = np.broadcast_shapes(*(part.shape for _, part in varying)) if varying else ()
        commands = np.empty(shape or (1,), COMMAND)
        commands["funct7"], commands["rs1"], commands["rs2"] = cls.funct7, *fixed.values()
        for word, part in varying:
            commands[word] |= part
        return commands

    @classmethod
    def unpack(cls, commands: Commands) -> Columns:
        """The fields of `commands`, all of which must be of this class."""
        return {name: bits.extract(commands[bits.word]) for name, bits in cls.bits.items()}

    def commands(self) -> Commands:
        """This instruction as an array of one command."""
        return self.pack(**self.fields())

    def encode(self) -> tuple[int, int, int]:
        """This instruction as (funct7, rs1, rs2). `ValueError` where a field does not fit."""
        command = self.commands()[0]
        return int(command["funct7"]), int(command["rs1"]), int(command["rs2"])

    def fields(self) -> dict[str, int | float]:
        return {name: cast("int | float", getattr(self, name)) for name in self.bits}

    @classmethod
    def from_fields(cls, fields: dict[str, int | float]) -> Self:
        """The inverse of `fields`; those left out have their default."""
        return cls(**fields)


def concatenate(programs: "list[Commands]") -> Commands:
    """One program after the other."""
    return np.concatenate([np.zeros(0, COMMAND), *programs])
