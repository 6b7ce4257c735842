"""Programs decoded for the jitted kernels.

One record a command, laid out from the instruction classes.

The records of all classes share one layout: field i of every class lies in slot i, under the name
`mnemonic_field` (`config_ld_stride`). So the kernels name fields and know no bit positions, and a
new instruction needs no table here.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple, Protocol, cast

import numpy as np
import numpy.typing as npt

from ..isa import INSTRUCTIONS, Bits, Commands, Instruction, operations
from .jit import entry

Operands = npt.NDArray[np.void]
"""An array of `OPERANDS`."""


class Record(Protocol):
    """One record of `OPERANDS` as the kernels see it: fields by name."""

    def __getattr__(self, name: str) -> int: ...


class Codes(NamedTuple):
    """The operation number of each instruction, for the kernels' dispatch."""

    config_ex: int
    config_ld: int
    config_st: int
    mvin: int
    mvin2: int
    mvin3: int
    mvout: int
    preload: int
    compute_new: int
    compute_kept: int
    flush: int
    counter: int
    fence: int
    config_requant: int
    config_pad: int
    load_scales: int
    config_scales: int
    load_table: int
    config_table: int
    config_pool: int
    mvout_spad: int
    preload_sparse: int
    compute_sparse_new: int
    compute_sparse_kept: int
    run_queue: int


CODES = Codes(
    **{
        kind.mnemonic: number
        for number, kind in enumerate(INSTRUCTIONS)
        if kind.mnemonic in Codes._fields  # loops are unrolled before
    }
)


def prefix(instruction: type[Instruction]) -> str:
    """The first part of its fields' names: a family that shares its fields shares their names."""
    family = next(kind for kind in instruction.__mro__ if Instruction in kind.__bases__)
    return cast("type[Instruction]", family).mnemonic


def _layout() -> np.dtype[np.void]:
    fields: dict[str, tuple[object, int]] = {"operation": (np.int64, 0)}
    for instruction in INSTRUCTIONS:
        for slot, (name, bits) in enumerate(instruction.bits.items()):
            kind = np.float32 if bits.kind == "real" else np.int64
            fields[f"{prefix(instruction)}_{name}"] = (kind, 8 + 8 * slot)
    # numba's cache looks at the file of the outermost function only. A field named after the text
    # of this folder makes all kernels' signatures differ as soon as a file changes, so that nothing
    # stale is ever called.
    fields[f"kernels_{_digest()}"] = (np.uint8, 0)
    slots = max(len(instruction.bits) for instruction in INSTRUCTIONS)
    return np.dtype(
        {
            "names": list(fields),
            "formats": [kind for kind, _ in fields.values()],
            "offsets": [offset for _, offset in fields.values()],
            "itemsize": 8 + 8 * slots,
        }
    )


def _digest() -> str:
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]


OPERANDS = _layout()


class Fields(NamedTuple):
    """Where the fields of every instruction lie in a command, and in its record."""

    first: npt.NDArray[np.int64]
    """For each operation number its first field; its last is the one before the next's first."""
    word: npt.NDArray[np.int64]
    """0 for rs1, 1 for rs2."""
    low: npt.NDArray[np.uint64]
    mask: npt.NDArray[np.uint64]
    sign: npt.NDArray[np.int64]
    """The value of the sign's bit; 0 where there is none."""
    slot: npt.NDArray[np.int64]
    """Which 8 bytes of the record take it."""


def _fields() -> Fields:
    counts = [len(instruction.bits) for instruction in INSTRUCTIONS]
    every = [
        (slot, bits)
        for instruction in INSTRUCTIONS
        for slot, bits in enumerate(instruction.bits.values(), 1)
    ]
    return Fields(
        first=np.cumsum([0, *counts]),
        word=np.array([bits.word == "rs2" for _, bits in every], np.int64),
        low=np.array([bits.low for _, bits in every], np.uint64),
        mask=np.array([bits.mask for _, bits in every], np.uint64),
        sign=np.array([_sign(bits) for _, bits in every], np.int64),
        slot=np.array([slot for slot, _ in every], np.int64),
    )


def _sign(bits: Bits) -> int:
    # What fills a word has its sign already.
    return 1 << (bits.width - 1) if bits.kind == "signed" and bits.width < 64 else 0


_FIELDS = _fields()


@entry
def _decode(
    commands: Commands,
    numbers: npt.NDArray[np.uint8],
    fields: Fields,
    records: npt.NDArray[np.int64],
) -> None:
    for i in range(numbers.size):
        number = numbers[i]
        rs1, rs2 = commands[i].rs1, commands[i].rs2
        records[i, 0] = number
        for f in range(fields.first[number], fields.first[number + 1]):
            word = rs2 if fields.word[f] else rs1
            # 64-bit addresses become signed; the kernels refuse negative ones. A real keeps its
            # bits, which the record reads as what they are.
            value = np.int64((word >> fields.low[f]) & fields.mask[f])
            records[i, fields.slot[f]] = (value ^ fields.sign[f]) - fields.sign[f]


def decode_operands(commands: Commands) -> Operands:
    """The records of `commands`: legal ones, loops unrolled."""
    records = np.zeros(len(commands), OPERANDS)
    if len(commands):
        words = records.view(np.int64).reshape(len(commands), -1)
        _decode(commands, operations(commands), _FIELDS, words)
    return records
