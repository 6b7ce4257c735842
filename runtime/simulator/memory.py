"""The arrays that the kernels work on, and the numbers of the faults they answer."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from .jit import kernel
from .operands import OPERANDS

if TYPE_CHECKING:
    from ..accelerator import Accelerator
    from ..isa import Instruction

EPOCH, PRELOAD_ROW, PRELOAD_COLS, PRELOAD_ROWS, PRELOAD_SPARSE = range(5)
TARGET, TARGET_COLS, TARGET_ROWS, MACS = range(5, 9)
POSITION, QUEUES_START, QUEUES_END = range(9, 12)
"""Places in `Memory.words`."""

LOAD, STORE, EXECUTE, REQUANTIZE, SCALES, TABLE, POOL, PAD = 0, 3, 4, 5, 6, 7, 8, 9
"""Places in `Memory.config`; LOAD and PAD have three each, one a load state."""

_CONFIGS = 12
_WORDS = 12
_DETAILS = 4


class Pool(NamedTuple):
    """The pooling in force at a move-out (see `mcc.runtime.isa.Window`)."""

    on: int
    average: int
    height: int
    width: int
    stride_rows: int
    stride_cols: int
    pad_up: int
    pad_left: int
    image_rows: int
    image_cols: int
    output_rows: int
    output_cols: int
    output_pitch: int
    offset: int


class Memory(NamedTuple):
    """An accelerator's memories with what is known of them.

    Masks have a bit a column, set where it was written.
    """

    dram: npt.NDArray[np.uint8]
    scratchpad: npt.NDArray[np.int8]
    scratchpad_valid: npt.NDArray[np.uint64]
    accumulator: npt.NDArray[np.int32]
    accumulator_valid: npt.NDArray[np.uint64]
    scales: npt.NDArray[np.float32]
    scales_valid: npt.NDArray[np.uint8]
    tables: npt.NDArray[np.int8]
    tables_valid: npt.NDArray[np.uint8]
    weights: npt.NDArray[np.int16]
    """What the array holds: int8, widened so that products take one vector instruction.

    Twice as deep as the array, for 2:4 weights; dense ones have zeros in the second half.
    """
    stored: npt.NDArray[np.uint16]
    """For each DRAM byte, the epoch (count of fences) in which it was last stored.

    Empty where hazards are not checked.
    """
    loaded: npt.NDArray[np.int64]
    """For each accumulator row, the epoch in which a load wrote it last.

    0 if a compute or a move-out came after, which orders it before the next load; negative if
    another load wrote it too, without either in between.
    """
    config: npt.NDArray[np.void]
    """The last configuration of each kind, as operand records."""
    words: npt.NDArray[np.int64]
    sums: npt.NDArray[np.int32]
    """Scratch space for one row."""
    row: npt.NDArray[np.int8]
    best: npt.NDArray[np.int8]
    total: npt.NDArray[np.int32]
    product: npt.NDArray[np.float32]
    queues: npt.NDArray[np.int64]
    """The queues of the run: first byte, end, commands until it is done (see `queued.py`)."""
    detail: npt.NDArray[np.int64]
    """What a fault is about: its numbers, in the order of its message."""
    max_move_bytes: int


def new_memory(
    machine: "Accelerator", dram_bytes: int, *, check_hazards: bool, check_undefined: bool
) -> Memory:
    """Memories after reset: zero, nothing written, default configurations.

    Without `check_undefined` everything counts as written.
    """
    from .. import isa
    from .operands import decode_operands

    dim = machine.dim
    memory = Memory(
        dram=np.zeros(dram_bytes, np.uint8),
        scratchpad=np.zeros((machine.scratchpad.total_rows, dim), np.int8),
        scratchpad_valid=np.zeros(machine.scratchpad.total_rows, np.uint64),
        accumulator=np.zeros((machine.accumulator.total_rows, dim), np.int32),
        accumulator_valid=np.zeros(machine.accumulator.total_rows, np.uint64),
        scales=np.zeros((machine.scale_rows, dim), np.float32),
        scales_valid=np.zeros(machine.scale_rows * dim, np.uint8),
        tables=np.zeros((machine.tables, 256), np.int8),
        tables_valid=np.zeros(machine.tables, np.uint8),
        weights=np.zeros((2 * dim, dim), np.int16),
        stored=np.zeros(dram_bytes if check_hazards else 0, np.uint16),
        loaded=np.zeros(machine.accumulator.total_rows, np.int64),
        config=np.zeros(_CONFIGS, OPERANDS),
        words=np.zeros(_WORDS, np.int64),
        sums=np.zeros(dim, np.int32),
        row=np.zeros(dim, np.int8),
        best=np.zeros(dim, np.int8),
        total=np.zeros(dim, np.int32),
        product=np.zeros(dim, np.float32),
        queues=np.zeros((0, 3), np.int64),
        detail=np.zeros(_DETAILS, np.int64),
        max_move_bytes=machine.max_move_bytes,
    )
    if not check_undefined:
        for shadow in (memory.scratchpad_valid, memory.accumulator_valid):
            shadow[:] = ~np.uint64(0)
        for known in (memory.scales_valid, memory.tables_valid):
            known[:] = 1
    memory.words[EPOCH] = 1
    memory.words[[PRELOAD_ROW, TARGET]] = -1
    defaults: list[tuple[int, Instruction]] = [
        *((LOAD + state, isa.ConfigLoad(state=state)) for state in range(3)),
        (STORE, isa.ConfigStore()),
        (EXECUTE, isa.ConfigExecute()),
        (REQUANTIZE, isa.ConfigRequantize()),
        (SCALES, isa.ConfigScales()),
        (TABLE, isa.ConfigTable()),
        (POOL, isa.ConfigPool()),
        *((PAD + state, isa.ConfigPad(state=state)) for state in range(3)),
    ]
    for place, instruction in defaults:
        memory.config[place] = decode_operands(instruction.commands())[0]
    return memory


def with_queues(memory: Memory, queues: npt.NDArray[np.int64]) -> Memory:
    """The same memories in a run with these queues."""
    memory.words[[QUEUES_START, QUEUES_END]] = (
        (queues[:, 0].min(), queues[:, 1].max()) if len(queues) else 0
    )
    return memory._replace(queues=queues)


@kernel
def columns_mask(width: int) -> np.uint64:
    """The mask of `width` columns from the first on."""
    if width >= 64:
        return ~np.uint64(0)
    return (np.uint64(1) << np.uint64(width)) - np.uint64(1)
