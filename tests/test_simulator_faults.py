"""What the simulator refuses, and in which words."""

import pytest

from mcc.ir import UserError
from mcc.runtime import isa
from mcc.runtime.isa import Instruction, accumulator
from mcc.runtime.simulator import Machine, SimulatorFault
from mcc.runtime.target import load_target

TARGET = load_target("riscv-accel")
LOAD = isa.ConfigLoad(stride=16)
FILL = isa.MoveIn(dram=64, local=0, cols=16, rows=16)
FILL_SUMS = isa.MoveIn(dram=0, local=accumulator(0), cols=16, rows=16)
INTO = isa.Preload(
    local=0, cols=16, rows=16, destination=accumulator(0), destination_cols=16, destination_rows=16
)
COMPUTE = isa.ComputePreloaded(local=0, cols=16, rows=16)


def fault(*program: Instruction, extensions: bool = True) -> SimulatorFault:
    """The fault of the last command of `program`."""
    target = TARGET if extensions else load_target("gemmini")
    with pytest.raises(SimulatorFault) as caught:
        Machine(target, 4096).run(isa.encode(list(program)))
    assert caught.value.index == len(program) - 1
    assert caught.value.text == isa.format_instruction(program[-1])
    return caught.value


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ([LOAD, isa.MoveIn(dram=4080, cols=16, rows=2)], "DRAM bytes 0xff0 to 0x1010 are outside"),
        ([isa.MoveIn(dram=1 << 63, cols=1, rows=1)], "are outside the 0x1000 bytes there are"),
        ([isa.MoveIn(local=16380, cols=16, rows=5)], "scratchpad rows 16380 to 16384 are outside"),
        (
            [isa.MoveIn(local=accumulator(1020), cols=16, rows=5)],
            "accumulator rows 1020 to 1024 are outside the 1024 rows",
        ),
        (
            [isa.MoveIn(local=accumulator(0), cols=17, rows=1)],
            "a row of 68 bytes is moved, at most 64 can be",
        ),
        (
            [isa.ConfigLoad(block_stride=4), isa.MoveIn(cols=32, rows=5)],
            "the block stride 4 is less than the 5 rows moved",
        ),
        ([INTO, COMPUTE], "reads columns of scratchpad row 0 that nothing has written"),
        ([LOAD, FILL, COMPUTE], "computes without a preload before it"),
        (
            [LOAD, FILL, isa.Preload(local=isa.GARBAGE,
                destination=accumulator(3, accumulate=True),
                destination_cols=1, destination_rows=1), COMPUTE],
            "adds to columns of accumulator row 3 that nothing has written",
        ),
        (
            [isa.MoveOut(dram=64, local=accumulator(9), cols=1, rows=1)],
            "reads columns of accumulator row 9 that nothing has written",
        ),
        (
            [LOAD, FILL, isa.MoveOut(dram=4095, local=0, cols=16, rows=1)],
            "DRAM bytes 0xfff to 0x100f are outside",
        ),
        (
            [LOAD, FILL, isa.ConfigStore(pool_stride=1, pool_size=1, image_rows=1, image_cols=1,
                output_rows=1, output_cols=1), isa.MoveOut(dram=64, local=0, cols=32, rows=0)],
            "pooling takes up to 16 columns, not 32",
        ),
        (
            [LOAD, FILL, isa.MoveOutScratchpad(destination=8, local=0, cols=16, rows=16)],
            "source rows from 0 and destination rows from 8 overlap",
        ),
        (
            [FILL_SUMS, isa.ConfigScales(enable=1, row=3),
             isa.MoveOut(dram=64, local=accumulator(0), cols=16, rows=1)],
            "uses multiplier 0 of table row 3, which was never loaded",
        ),
        (
            [FILL_SUMS, isa.ConfigTable(enable=1, table=3),
             isa.MoveOut(dram=64, local=accumulator(0), cols=16, rows=1)],
            "uses table 3, which was never loaded",
        ),
        (
            [LOAD, FILL, isa.MoveOut(dram=1024, local=0, cols=16, rows=1),
             isa.MoveIn(dram=1039, local=0, cols=16, rows=1)],
            "some of which were stored since the last fence",
        ),
        (
            [LOAD, FILL, isa.MoveOut(dram=1024, local=0, cols=16, rows=1),
             isa.LoadTable(dram=1024)],
            "some of which were stored since the last fence",
        ),
        (
            [FILL_SUMS, isa.MoveIn(local=accumulator(2, accumulate=True), cols=16, rows=1)],
            "adds to accumulator row 2, which was loaded since the last fence",
        ),
        ([isa.ConfigLoad(state=3)], "there are only load states 0, 1 and 2"),
    ],
)  # fmt: skip
def test_faults_say_what_went_wrong(program: list[Instruction], message: str) -> None:
    assert message in str(fault(*program))


def test_a_missing_extension_is_an_illegal_instruction() -> None:
    found = fault(isa.Fence(), isa.ConfigPad(pad=3), extensions=False)
    assert "gemmini lacks the extension zero_point" in str(found)


def test_a_fence_makes_stored_bytes_and_loaded_rows_readable() -> None:
    m = Machine(TARGET, 4096)
    m.run(isa.encode([
        LOAD, FILL, FILL_SUMS, isa.MoveOut(dram=1024, local=0, cols=16, rows=1), isa.Fence(),
        isa.MoveIn(dram=1024, local=0, cols=16, rows=1),
        isa.MoveIn(local=accumulator(2, accumulate=True), cols=16, rows=1),
    ]))  # fmt: skip


def test_hazard_and_undefined_checks_can_be_switched_off() -> None:
    m = Machine(TARGET, 4096, check_hazards=False, check_undefined=False)
    m.run(isa.encode([
        isa.MoveOut(dram=1024, local=0, cols=16, rows=1),
        isa.MoveIn(dram=1024, local=0, cols=16, rows=1),
    ]))  # fmt: skip


def test_state_persists_and_indices_count_from_the_program_s_start() -> None:
    program = isa.encode([LOAD, FILL, INTO, COMPUTE, COMPUTE])
    m = Machine(TARGET, 4096)
    m.run(program, 0, 2)
    result = m.run(program, 2, 4)
    assert (result.commands, result.macs) == (2, 4096)
    with pytest.raises(SimulatorFault) as caught:
        m.run(program, 4, nodes=lambda index: f"/conv{index}")
    assert caught.value.index == 4
    assert str(caught.value).startswith(
        "command 4: compute_new cols=16 rows=16 (from ONNX node '/conv4'): computes without"
    )
    assert isinstance(caught.value, UserError)
