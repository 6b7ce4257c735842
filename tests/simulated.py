"""A simulated machine for tests: a program runs, bytes go in and come out."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mcc.runtime import isa
from mcc.runtime.isa import Instruction, accumulator
from mcc.runtime.simulator import Machine
from mcc.runtime.target import load_target

TARGET = load_target("riscv-accel")
DRAM = 1 << 16
A, B, D, OUT = 0x1000, 0x2000, 0x3000, 0x4000
TABLES = 0x8000

Int8 = npt.NDArray[np.int8]
Int32 = npt.NDArray[np.int32]


def machine() -> Machine:
    return Machine(TARGET, DRAM)


def run(m: Machine, program: Sequence[Instruction]) -> None:
    m.run(isa.encode(list(program)))


def put(m: Machine, at: int, values: npt.NDArray[np.generic]) -> None:
    data = np.frombuffer(values.tobytes(), np.uint8)
    m.dram[at : at + data.size] = data


def get(m: Machine, at: int, *shape: int) -> Int8:
    size = int(np.prod(shape))
    return np.array(m.dram[at : at + size].view(np.int8).reshape(shape), np.int8)


def requantize(
    sums: Int32, scale: npt.NDArray[np.float32] | np.float32, zero: int = 0,
    low: int = -128, high: int = 127,
) -> Int8:  # fmt: skip
    """NUMERICS: clamp(rne(float32(acc) * m) + z), in float32 steps."""
    rounded = np.rint(sums.astype(np.float32) * scale).astype(np.float64)
    return np.asarray(np.clip(rounded + zero, low, high), np.int8)


def load_accumulator(m: Machine, sums: Int32, at: int = 0) -> list[Instruction]:
    """Moves int32 rows of up to 16 columns into the accumulator, 16 rows a command."""
    put(m, D, sums)
    rows, cols = sums.shape
    program: list[Instruction] = [isa.ConfigLoad(state=2, stride=4 * cols)]
    for row in range(0, rows, 16):
        program.append(
            isa.MoveIn3(
                dram=D + 4 * cols * row,
                local=accumulator(at + row),
                cols=cols,
                rows=min(16, rows - row),
            )
        )
    return program
