"""The simulator on random programs, against the meaning that stands in the instruction classes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import DRAM, TABLES, TARGET, put

from mcc.runtime import isa
from mcc.runtime.isa import Instruction, State, accumulator, scratchpad
from mcc.runtime.simulator import Machine


@st.composite
def commands(draw: st.DrawFn) -> Instruction:
    """A legal command on rows 0..95 of both memories and the first kilobytes of DRAM."""
    rows, cols = draw(st.integers(1, 16)), draw(st.integers(1, 16))
    row = draw(st.integers(0, 32))
    in_accumulator = draw(st.booleans())
    at = accumulator(row) if in_accumulator else scratchpad(row)
    scale = draw(st.sampled_from([1.0, 0.5, 0.013, 0.37]))
    match draw(st.integers(0, 15)):
        case 0:
            # State 1 is used for the scratchpad only, 2 for the accumulator only.
            state, special = draw(st.integers(0, 2)), draw(st.integers(0, 1))
            packed, wide = special * (state == 1), special * (state == 2)
            return isa.ConfigLoad(
                state=state, stride=draw(st.sampled_from([0, 16, 40, 64])),
                block_stride=16, scale=scale * (1 + 9000 * wide), packed=packed, wide=wide,
                shrink=wide or (0 if packed else draw(st.integers(0, 1))),
            )  # fmt: skip
        case 1:
            kind = draw(
                st.sampled_from([isa.MoveIn, isa.MoveIn3 if in_accumulator else isa.MoveIn2])
            )
            add = in_accumulator and draw(st.booleans())
            source = draw(st.sampled_from([0, 64, 0x400]))
            wide = cols if in_accumulator else draw(st.integers(1, 64))
            local = accumulator(row, accumulate=add) if in_accumulator else at
            return kind(dram=source, local=local, cols=wide, rows=rows)
        case 2 | 3:
            source = draw(st.sampled_from([isa.GARBAGE, row]))
            return isa.Preload(
                local=source, cols=cols, rows=draw(st.integers(0, 16)),
                destination=accumulator(draw(st.integers(0, 32)), accumulate=draw(st.booleans())),
                destination_cols=draw(st.integers(0, 16)),
                destination_rows=draw(st.integers(0, 16)),
            )  # fmt: skip
        case 4 | 5:
            kind2 = draw(st.sampled_from([isa.ComputePreloaded, isa.ComputeKept]))
            return kind2(local=row, cols=cols, rows=rows)
        case 14:
            source = draw(st.sampled_from([isa.GARBAGE, row]))
            return isa.PreloadSparse(
                local=source, cols=cols, rows=4 * draw(st.integers(0, 4)),
                destination=accumulator(draw(st.integers(0, 32)), accumulate=draw(st.booleans())),
                destination_cols=draw(st.integers(0, 16)),
                destination_rows=draw(st.integers(0, 16)),
            )  # fmt: skip
        case 15:
            kind3 = draw(st.sampled_from([isa.ComputeSparsePreloaded, isa.ComputeSparseKept]))
            return kind3(
                local=row, cols=cols, rows=rows, second=draw(st.integers(0, 32)),
                second_cols=draw(st.integers(1, 16)),
            )  # fmt: skip
        case 6:
            return isa.ConfigStore(
                stride=draw(st.sampled_from([16, 64])), scale=scale,
                activation=draw(st.integers(0, 1)),
            )  # fmt: skip
        case 7:
            wide = draw(st.integers(1, 64))
            return isa.MoveOut(dram=0x2000, local=at, cols=wide, rows=rows)
        case 8:
            transpose = draw(st.sampled_from([(0, 0), (0, 1), (1, 0)]))
            return isa.ConfigExecute(
                a_stride=draw(st.integers(0, 3)), c_stride=draw(st.integers(1, 3)),
                transpose_a=transpose[0], transpose_b=transpose[1],
            )  # fmt: skip
        case 9:
            low = draw(st.integers(-128, 127))
            return isa.ConfigRequantize(
                zero=draw(st.integers(-128, 127)), low=low, high=draw(st.integers(low, 127)),
                pad=draw(st.integers(-128, 127)),
            )  # fmt: skip
        case 10:
            return isa.ConfigScales(enable=draw(st.integers(0, 1)), row=draw(st.integers(0, 4)))
        case 11:
            return isa.ConfigTable(enable=draw(st.integers(0, 1)), table=draw(st.integers(0, 3)))
        case 12:
            return isa.ConfigPad(state=draw(st.integers(0, 2)), pad=draw(st.integers(-128, 127)))
        case _:
            return isa.MoveOutScratchpad(
                destination=200, row_stride=draw(st.integers(0, 3)), block_stride=20, local=at,
                cols=draw(st.integers(1, 64)), rows=rows,
            )  # fmt: skip


PROLOGUE: list[Instruction] = [
    isa.ConfigLoad(state=0, stride=64),
    *(isa.MoveIn(dram=64, local=row, cols=64, rows=16) for row in range(0, 48, 16)),
    *(isa.MoveIn(dram=640, local=accumulator(row), cols=16, rows=16) for row in range(0, 112, 16)),
    isa.LoadScales(dram=TABLES, row=0, count=128),
    *(isa.LoadTable(dram=TABLES + 256 * table, table=table) for table in range(4)),
]


@settings(max_examples=150, deadline=None)
@given(program=st.lists(commands(), max_size=30), seed=st.integers(0, 999))
def test_the_kernels_do_what_the_classes_say(program: list[Instruction], seed: int) -> None:
    rng = np.random.default_rng(seed)
    m = Machine(TARGET, DRAM, check_hazards=False)
    m.dram[:] = rng.integers(0, 256, DRAM)
    put(m, TABLES, rng.uniform(0, 0.5, 128).astype(np.float32))
    state = State(TARGET.machine, DRAM)
    state.dram[:] = m.dram
    legal: list[Instruction] = list(PROLOGUE)
    ready = False
    for instruction in program:
        if isinstance(instruction, isa.COMPUTES):
            if not ready:
                continue
            ready = False
        ready = ready or isinstance(instruction, isa.Preload | isa.PreloadSparse)
        legal.append(instruction)
    m.run(isa.encode(legal))
    for instruction in legal:
        instruction.execute(state)
    assert np.array_equal(m.accumulator, state.accumulator)
    assert np.array_equal(m.scratchpad, state.scratchpad)
    assert np.array_equal(m.dram, state.dram)
