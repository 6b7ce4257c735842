"""Loops in hardware: against recorded streams, in faults, in time."""

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from looped import DRAM, TARGET, A, B, C, D, matmul, put
from rtl_streams import differing_outputs, new_machine, read_streams

from mcc.runtime import isa
from mcc.runtime.isa import Instruction, State
from mcc.runtime.simulator import CycleModel, Machine, SimulatorFault

# Against the hardware.


def test_recorded_loops_unroll_into_the_recorded_commands(shared: Path) -> None:
    """All are there, and nearly all in their place: which comes first is a matter of timing."""
    compared = 0
    for stream in read_streams(shared / "rtl" / "streams"):
        if stream.form == "explicit":
            continue
        unroller = isa.Unroller(TARGET.machine)
        unroller.unroll(stream.commands)  # the recorded run is a second one, in the other half
        found = isa.disassemble(unroller.unroll(stream.commands).commands).splitlines()
        recorded = isa.disassemble(stream.unrolled).splitlines()
        assert Counter(found) == Counter(recorded), stream.name
        places: dict[str, list[int]] = defaultdict(list)
        for place, line in enumerate(recorded):
            places[line].append(place)
        moved = [abs(place - places[line].pop(0)) for place, line in enumerate(found)]
        assert max(moved) <= 16, stream.name
        assert np.mean(moved) < 0.5, stream.name
        compared += 1
    assert compared >= 7


def test_recorded_loops_give_the_recorded_outputs(shared: Path) -> None:
    for stream in read_streams(shared / "rtl" / "streams"):
        if stream.form == "explicit":
            continue
        machine = new_machine(TARGET, stream)
        for _ in range(2):  # in each half of the memories
            machine.run(stream.setup)
            machine.run(stream.commands)
            assert differing_outputs(machine, stream) == [], stream.name


# In the simulator.


def test_the_oracle_agrees() -> None:
    """`execute` of the instruction classes, one by one."""
    rng = np.random.default_rng(1)
    m, state = Machine(TARGET, DRAM), State(TARGET.machine, DRAM)
    for at, size in ((A, 40 * 50), (B, 50 * 70), (D, 320)):
        put(m, at, rng.integers(-40, 40, size, np.int8))
    state.dram[:] = m.dram
    program = [*matmul(40, 70, 50), isa.Fence(), *matmul(40, 70, 50, bias=False, c=C + 4096)]
    m.run(isa.encode(program))
    for instruction in program:
        instruction.execute(state)
    np.testing.assert_array_equal(m.dram, state.dram)
    np.testing.assert_array_equal(m.accumulator, state.accumulator)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (matmul(800, 16, 16), "the loop needs 800 accumulator rows, and has 512 (half of them)"),
        (
            matmul(256, 256, 512),
            "the loop needs 16384 scratchpad rows, and has 8192 (half of them)",
        ),
        ([isa.LoopWs()], "a loop needs at least one tile each way (loop_ws_bounds)"),
        ([isa.LoopWs(resadd=1)], "a loop needs at least one tile each way (loop_ws_bounds)"),
        ([isa.LoopConvWs()], "a loop needs at least one pixel, channel and tap"),
    ],
)
def test_loops_that_cannot_run_say_why(program: list[Instruction], message: str) -> None:
    with pytest.raises(SimulatorFault) as caught:
        Machine(TARGET, DRAM).run(isa.encode(program), nodes=lambda index: f"/conv{index}")
    last = len(program) - 1
    assert caught.value.index == last
    assert message in str(caught.value)
    assert f"(from ONNX node '/conv{last}')" in str(caught.value)


def test_a_fault_inside_a_loop_names_both() -> None:
    program = [isa.Fence(), *matmul(16, 16, 16)]
    with pytest.raises(SimulatorFault) as caught:
        Machine(TARGET, 0x30000).run(isa.encode(program))
    assert caught.value.index == len(program) - 1
    assert str(caught.value).startswith(
        "command 11: loop_ws accumulate=1, at its mvin3 dram=0x40000 local=acc[0] cols=16 rows=16: "
        "DRAM bytes 0x40000 to 0x40040 are outside"
    )


def test_an_illegal_command_inside_a_loop_names_both() -> None:
    program = matmul(16, 16, 16)
    program[-1] = isa.LoopWs(full_c=1)
    with pytest.raises(SimulatorFault, match=r"at its mvout .*full-width move-out is not portable"):
        Machine(TARGET, DRAM).run(isa.encode(program))


def test_lean_machines_refuse_loops_for_convolutions() -> None:
    illegal = isa.check_portable(isa.encode([isa.LoopWs(), isa.LoopConvConfig1()]))
    assert illegal is not None
    assert (illegal.index, illegal.reason) == (1, "gemmini lacks the extension loop_conv")


# In time.


def test_a_loop_takes_what_its_commands_take() -> None:
    program = isa.encode(matmul(64, 64, 64))
    unrolled = isa.Unroller(TARGET.machine).unroll(program).commands
    loop = CycleModel(TARGET, gap=3).run(program).total
    assert loop == pytest.approx(CycleModel(TARGET, gap=1).run(unrolled).total, abs=40)
    # A command of the host's each, they would take its time.
    assert CycleModel(TARGET, gap=25).run(unrolled).total > 1.5 * loop


def test_times_are_those_of_the_host_s_commands() -> None:
    program = isa.encode([*matmul(64, 64, 64), isa.Fence()])
    run = CycleModel(TARGET, gap=3).run(program)
    times = run.times
    assert times.shape == (12, 4)
    assert np.isfinite(times).all()
    assert (np.diff(times[:, 0]) >= 0).all()
    assert times[10, 3] < times[11, 3] == run.total
    assert times[10, 3] - times[10, 0] > 1000  # from its first command to its last one's end
    assert (times[5:10] == times[4, 0]).all()  # what configures it goes no further
    assert times[10, 0] >= times[4, 0] + 6 * 3  # and is paid for before it


def test_two_loops_overlap() -> None:
    one = matmul(64, 64, 64)
    two = isa.encode([*one, *one[5:]])
    model, twice = CycleModel(TARGET), CycleModel(TARGET)
    model.run(isa.encode(one))
    twice.run(two)
    assert twice.run(two).total < 1.9 * model.run(isa.encode(one)).total
    origin = isa.Unroller(TARGET.machine).unroll(two).origin
    assert (np.diff(origin) < 0).any()  # the second's moves come between the first's products


def test_a_machine_times_loops_as_the_model_does() -> None:
    program = isa.encode([*matmul(48, 48, 48), isa.Fence()])
    m, model = Machine(TARGET, DRAM), CycleModel(TARGET)
    for _ in range(2):
        assert m.run(program).cycles == model.run(program).total
