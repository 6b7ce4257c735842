"""What earlier commands set that a command depends on; for those who read a fault."""

from .. import isa
from ..isa import Instruction
from .memory import (
    EXECUTE,
    LOAD,
    PAD,
    POOL,
    PRELOAD_COLS,
    PRELOAD_ROW,
    PRELOAD_ROWS,
    PRELOAD_SPARSE,
    REQUANTIZE,
    SCALES,
    STORE,
    TABLE,
    TARGET,
    TARGET_COLS,
    TARGET_ROWS,
    Memory,
)
from .operands import prefix

_MOVE_OUT: tuple[tuple[int, type[Instruction]], ...] = (
    (STORE, isa.ConfigStore),
    (POOL, isa.ConfigPool),
    (REQUANTIZE, isa.ConfigRequantize),
    (SCALES, isa.ConfigScales),
    (TABLE, isa.ConfigTable),
)


def in_force(memory: Memory, instruction: Instruction) -> tuple[str, ...]:
    """The configurations and the preload under which `instruction` would run, as assembly.

    The first is always told; others are left out where they are as after reset.
    """
    match instruction:
        case isa.MoveIn():
            state = instruction.load_state
            found = [_configured(memory, LOAD + state, isa.ConfigLoad)]
            extra = [_configured(memory, PAD + state, isa.ConfigPad)]
            resets: list[Instruction] = [isa.ConfigPad(state=state)]
        case isa.MoveOut() | isa.MoveOutScratchpad():
            found = [_configured(memory, *_MOVE_OUT[0])]
            extra = [_configured(memory, *place) for place in _MOVE_OUT[1:]]
            resets = [kind() for _, kind in _MOVE_OUT[1:]]
        case (
            isa.ComputePreloaded()
            | isa.ComputeKept()
            | isa.ComputeSparsePreloaded()
            | isa.ComputeSparseKept()
        ):
            found = [_configured(memory, EXECUTE, isa.ConfigExecute)]
            extra, resets = [], []
            if memory.words[PRELOAD_ROW] >= 0:
                found.append(_preload(memory))
        case _:
            return ()
    found += [one for one, reset in zip(extra, resets, strict=True) if one != reset]
    return tuple(isa.format_instruction(one) for one in found)


def _configured(memory: Memory, place: int, kind: type[Instruction]) -> Instruction:
    record = memory.config[place]
    return kind.from_fields({name: record[f"{prefix(kind)}_{name}"].item() for name in kind.bits})


def _preload(memory: Memory) -> Instruction:
    words = memory.words
    kind = isa.PreloadSparse if words[PRELOAD_SPARSE] else isa.Preload
    return kind(
        local=int(words[PRELOAD_ROW]),
        cols=int(words[PRELOAD_COLS]),
        rows=int(words[PRELOAD_ROWS]),
        destination=int(words[TARGET]),
        destination_cols=int(words[TARGET_COLS]),
        destination_rows=int(words[TARGET_ROWS]),
    )
