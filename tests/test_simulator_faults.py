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
KEEP = isa.Preload(destination=accumulator(0), destination_cols=16, destination_rows=16)
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
        ([INTO, COMPUTE], "reads columns of scratchpad row 0 as weights that nothing has written"),
        (
            [KEEP, isa.ComputeKept(local=5, cols=16, rows=16)],
            "reads columns of scratchpad row 5 that nothing has written",
        ),
        (
            [KEEP, isa.ComputeKept(local=16380, cols=16, rows=16)],
            "scratchpad rows 16380 to 16395 are outside the 16384 rows there are",
        ),
        (
            [LOAD, FILL, isa.ConfigExecute(a_stride=3), KEEP,
             isa.ComputeKept(local=16360, cols=16, rows=16)],
            "scratchpad rows 16360 to 16405 are outside the 16384 rows there are",
        ),
        (
            [isa.Preload(local=16380, cols=16, rows=16), COMPUTE],
            "scratchpad rows 16380 to 16395 are outside the 16384 rows there are",
        ),
        (
            [LOAD, FILL, isa.ConfigExecute(c_stride=2), isa.Preload(
                local=0, cols=16, rows=16, destination=accumulator(1000), destination_cols=16,
                destination_rows=16), COMPUTE],
            "accumulator rows 1000 to 1030 are outside the 1024 rows there are",
        ),
        (
            [isa.MoveOut(dram=64, local=accumulator(1024), cols=16, rows=1)],
            "accumulator rows 1024 to 1024 are outside the 1024 rows there are",
        ),
        (
            [isa.MoveOut(dram=64, local=16384, cols=16, rows=1)],
            "scratchpad rows 16384 to 16384 are outside the 16384 rows there are",
        ),
        (
            [FILL_SUMS, isa.MoveOutScratchpad(
                destination=16383, local=accumulator(0), cols=16, rows=2)],
            "scratchpad rows 16384 to 16384 are outside the 16384 rows there are",
        ),
        (
            [FILL_SUMS, isa.MoveIn(local=accumulator(16), cols=16, rows=1),
             isa.ConfigScales(enable=1, row=63), isa.LoadScales(dram=64, row=63, count=16),
             isa.MoveOut(dram=64, local=accumulator(0), cols=32, rows=1)],
            "uses row 64 of the multiplier table, which has 64 rows",
        ),
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
        (
            [FILL_SUMS, FILL_SUMS, isa.MoveOut(dram=64, local=accumulator(3), cols=16, rows=1)],
            "uses accumulator row 3, which two loads wrote with nothing in between to order them",
        ),
        (
            [FILL_SUMS, FILL_SUMS, isa.Fence(),  # too late
             isa.MoveIn(local=accumulator(2, accumulate=True), cols=16, rows=1)],
            "uses accumulator row 2, which two loads wrote with nothing in between to order them",
        ),
        (
            [FILL_SUMS, FILL_SUMS, LOAD, FILL, isa.Preload(local=0, cols=16, rows=16,
                destination=accumulator(0, accumulate=True), destination_cols=16,
                destination_rows=16), COMPUTE],
            "uses accumulator row 0, which two loads wrote with nothing in between to order them",
        ),
        ([isa.ConfigLoad(state=3)], "there are only load states 0, 1 and 2"),
        ([isa.ConfigLoad(packed=1, shrink=1)], "packed excludes shrink and repeats"),
        ([isa.ConfigLoad(wide=1)], "wide says how int8 is scaled, so it needs shrink"),
        (
            [isa.ConfigLoad(packed=1), FILL_SUMS],
            "moves packed 4-bit values into the accumulator, which takes none",
        ),
        (
            [isa.ConfigLoad(shrink=1, wide=1), FILL],
            "moves into the scratchpad with a load state that is wide",
        ),
        (
            [isa.ConfigLoad(), isa.MoveIn(cols=65, rows=1)],
            "a row of 65 bytes is moved, at most 64 can be",
        ),
    ],
)  # fmt: skip
def test_faults_say_what_went_wrong(program: list[Instruction], message: str) -> None:
    assert message in str(fault(*program))


def test_a_missing_extension_is_an_illegal_instruction() -> None:
    found = fault(isa.Fence(), isa.ConfigPad(pad=3), extensions=False)
    assert "gemmini lacks the extension zero_point" in str(found)
    found = fault(isa.ConfigLoad(packed=1), extensions=False)
    assert "packed needs the extension int4" in str(found)
    found = fault(isa.ConfigLoad(wide=1, shrink=1), extensions=False)
    assert "wide needs the extension wide_move_in" in str(found)


@pytest.mark.parametrize("funct7", [22, 99, 125])
def test_an_unknown_function_number_is_refused_before_anything_runs(funct7: int) -> None:
    program = isa.encode([isa.Fence(), isa.MoveIn(local=0, cols=16, rows=1)])
    program[0] = (funct7, 1, 0xAB)
    m = Machine(TARGET, 4096)
    with pytest.raises(SimulatorFault) as caught:
        m.run(program, nodes=lambda index: f"/conv{index}")
    assert caught.value.index == 0
    assert str(caught.value).startswith(
        f"command 0: raw funct7={funct7} rs1=0x1 rs2=0xab (from ONNX node '/conv0'): "
        "no such instruction"
    )
    assert not m.scratchpad.any()


ORDERED = [
    ("a fence", [isa.Fence()]),
    ("a compute", [LOAD, FILL, INTO, COMPUTE]),
    ("a move-out", [isa.MoveOut(dram=64, local=accumulator(0), cols=16, rows=16)]),
]


@pytest.mark.parametrize("between", [steps for _, steps in ORDERED], ids=[n for n, _ in ORDERED])
@pytest.mark.parametrize("accumulate", [False, True])
def test_loads_to_the_same_rows_are_ordered_by_what_stands_between(
    between: list[Instruction], accumulate: bool
) -> None:
    again = isa.MoveIn(local=accumulator(0, accumulate=accumulate), cols=16, rows=16)
    out = isa.MoveOut(dram=64, local=accumulator(0), cols=16, rows=16)
    Machine(TARGET, 4096).run(isa.encode([FILL_SUMS, *between, again, out]))


def test_a_fault_tells_the_state_that_the_command_depends_on() -> None:
    state = fault(isa.ConfigLoad(stride=4000), isa.MoveIn(dram=64, cols=16, rows=3)).state
    assert state == ("config_ld stride=4000",)
    weights = isa.Preload(local=8, cols=4, rows=4)
    found = fault(isa.ConfigExecute(a_stride=2), weights, COMPUTE)
    assert found.state == ("config_ex a_stride=2", "preload local=sp[8] cols=4 rows=4")
    assert (
        str(found)
        .partition("\n")[0]
        .endswith("(in force: config_ex a_stride=2; preload local=sp[8] cols=4 rows=4)")
    )
    move = isa.MoveOut(dram=64, local=accumulator(9), cols=1, rows=1)
    assert fault(isa.ConfigTable(enable=1), isa.ConfigRequantize(zero=3), move).state == (
        "config_st",
        "config_requant zero=3",
        "config_table enable=1",
    )
    # Padding depends on the load state's pad byte too.
    padded = isa.MoveIn2(local=16383, cols=16, rows=3)
    assert fault(isa.ConfigPad(state=1, pad=7), padded).state == (
        "config_ld state=1",
        "config_pad state=1 pad=7",
    )


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
