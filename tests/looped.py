"""A stock machine with loops in hardware, for their tests: memories, a product by LOOP_WS."""

import numpy as np
import numpy.typing as npt

from mcc.runtime import Target, isa, load_target
from mcc.runtime.isa import Instruction
from mcc.runtime.simulator import Machine

DIM = 16
DRAM = 1 << 20
A, B, D, C = 0x1000, 0x20000, 0x40000, 0x60000
SCALE = np.float32(1 / 64)
Int8 = npt.NDArray[np.int8]


def with_loops() -> Target:
    """The stock machine with the loop for convolutions and what that uses."""
    target = load_target("gemmini")
    machine = target.machine.model_copy(update={"extensions": ("loop_conv", "pixel_repeats")})
    return target.model_copy(update={"accelerator": machine})


TARGET = with_loops()


def put(m: Machine, at: int, values: npt.NDArray[np.generic]) -> None:
    data = np.frombuffer(values.tobytes(), np.uint8)
    m.dram[at : at + data.size] = data


def left(sums: npt.NDArray[np.int64], *, relu: bool = False) -> Int8:
    """What leaves the accumulator: scaled in float32, rounded to even, saturated."""
    if relu:
        sums = np.maximum(sums, 0)
    scaled = np.rint(sums.astype(np.float32) * SCALE)
    return np.asarray(np.clip(scaled, -128, 127), np.int8)


def matmul(
    rows: int, cols: int, depth: int, *, bias: bool = True, a_turned: bool = False,
    b_turned: bool = False, c: int = C,
) -> list[Instruction]:  # fmt: skip
    """A product by LOOP_WS; a bias of one row is broadcast."""
    tiles = [-(-size // DIM) for size in (rows, cols, depth)]
    i, j, k = tiles
    pads = [tile * DIM - size for tile, size in zip(tiles, (rows, cols, depth), strict=True)]
    a_stride, b_stride = (rows if a_turned else depth), (depth if b_turned else cols)
    return [
        isa.ConfigExecute(transpose_a=int(a_turned), transpose_b=int(b_turned)),
        isa.ConfigStore(stride=cols, scale=float(SCALE)),
        isa.ConfigLoad(state=0, stride=a_stride),
        isa.ConfigLoad(state=1, stride=b_stride),
        isa.ConfigLoad(state=2, stride=0),
        isa.LoopWsBounds(i=i, j=j, k=k, pad_i=pads[0], pad_j=pads[1], pad_k=pads[2]),
        isa.LoopWsAddressesAB(a=A, b=B),
        isa.LoopWsAddressesDC(d=D if bias else 0, c=c),
        isa.LoopWsStridesAB(a=a_stride, b=b_stride),
        isa.LoopWsStridesDC(d=0, c=cols),
        isa.LoopWs(accumulate=int(bias), transpose_a=int(a_turned), transpose_b=int(b_turned)),
    ]
