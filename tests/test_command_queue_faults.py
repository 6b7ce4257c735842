"""What a machine refuses of a command queue."""

import numpy as np
import pytest
from queues import START, TARGET, command, machine, repeat, run_queue

from mcc.ir import UserError
from mcc.runtime import LayerRecord, Program, isa, load_target
from mcc.runtime.isa import Instruction, Row
from mcc.runtime.simulator import Machine, SimulatorFault

NOTHING = command(isa.Flush())


@pytest.mark.parametrize(
    ("rows", "record", "message"),
    [
        ([*NOTHING, (99, 0, 0, 0, 0, 0)], 1, "no instruction has function 99"),
        ([*NOTHING, *command(isa.RunQueue(dram=64, count=1))], 1, "a queue cannot start a queue"),
        ([*NOTHING, (isa.Step.funct7, 0, 0, 0, 1, 1)], 1, "a step has no command behind it"),
        (
            repeat([(isa.Step.funct7, 0, 0, 0, 1, 1), *repeat(NOTHING, 2)], 2),
            1,
            "a step has no command behind it",
        ),
        ([(isa.Flush.funct7, 0, 0, 8, 0, 0)], 0, "steps in loop 0 around it, there are 0"),
        (repeat(command(isa.Flush(), (0, 0), (1, 0)), 2), 1, "loop 1 around it, there are 1"),
        ([(isa.Repeat.funct7, 0, 0, 0, 2, 3), *NOTHING], 0, "repeats 2 records, behind it are 1"),
        (
            repeat([(isa.Repeat.funct7, 0, 0, 0, 2, 3), *NOTHING], 2) + NOTHING,
            1,
            "repeats 2 records, behind it are 1",
        ),
        ([(isa.Repeat.funct7, 0, 0, 0, 0, 3), *NOTHING], 0, "repeats 0 records"),
        ([(isa.Repeat.funct7, 0, 0, 0, 1, 0), *NOTHING], 0, "repeats at least once"),
    ],
)
def test_a_wrong_queue_is_refused_by_record(rows: list[Row], record: int, message: str) -> None:
    with pytest.raises(SimulatorFault) as caught:
        machine(rows).run(isa.concatenate([isa.Flush().commands(), run_queue(rows)]))
    assert message in caught.value.message
    assert (caught.value.index, caught.value.record) == (1, record)
    assert f"command 1: run_queue dram=0x800 count={len(rows)} (record {record} of its queue)" in (
        str(caught.value)
    )


def test_loops_may_nest_as_deep_as_the_machine_says() -> None:
    rows = NOTHING
    for _ in range(8):
        rows = repeat(rows, 2)
    assert machine(rows).run(run_queue(rows)).commands == 1 + 256
    rows = repeat(rows, 2)
    with pytest.raises(SimulatorFault, match="9 repeats in each other, at most 8 may be"):
        machine(rows).run(run_queue(rows))


def test_a_queue_that_never_ends_is_refused() -> None:
    rows = NOTHING
    for _ in range(8):
        rows = repeat(rows, 1 << 31)
    with pytest.raises(SimulatorFault, match=r"the queue becomes .* commands, more than"):
        machine(rows).run(run_queue(rows))


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (isa.RunQueue(dram=1 << 20, count=1), "records at 0x100000 to 0x100018 are outside the 0x"),
        (isa.RunQueue(dram=65528, count=1), "are outside the 0x10000 bytes of DRAM"),
        (isa.RunQueue(dram=(1 << 64) - 8, count=1), "are outside the 0x10000 bytes of DRAM"),
        (isa.RunQueue(dram=0, count=1), "a queue needs a DRAM address"),
        (isa.RunQueue(dram=65, count=1), "a queue lies at a multiple of 8 bytes"),
        (isa.RunQueue(dram=64, count=0), "a queue has at least one record"),
        (isa.Repeat(records=1, count=2), "only a record of a queue may say that"),
        (isa.Step(rs1=4), "only a record of a queue may say that"),
    ],
)
def test_a_wrong_start_is_refused(start: Instruction, message: str) -> None:
    with pytest.raises(SimulatorFault) as caught:
        Machine(TARGET, 1 << 16).run(start.commands())
    assert message in caught.value.message


def test_a_machine_without_the_extension_has_no_queue() -> None:
    with pytest.raises(SimulatorFault, match="gemmini lacks the extension command_queue"):
        Machine(load_target("gemmini"), 1 << 16).run(run_queue(NOTHING))


def test_a_command_that_goes_wrong_is_told_with_its_record_and_node() -> None:
    rows = [
        *command(isa.ConfigLoad(stride=16)),
        *repeat(command(isa.MoveIn(dram=64, cols=16, rows=1), (0, 8000)), 4),
    ]
    image = np.zeros(START + 24 * len(rows), np.uint8)
    image[START:] = isa.records(rows).view(np.uint8)
    layers = (LayerRecord("t", ("/conv",), 1, 6, 0, (START, len(rows))),)
    program = Program(run_queue(rows), image, {}, layers)
    with pytest.raises(SimulatorFault) as caught:
        machine(rows).run(program.issued, nodes=program.node_of)
    # Row 0, 8000, 16000, 24000: the last is not there.
    assert caught.value.index == 5
    assert "command 5: mvin dram=0x40 local=sp[24000] cols=16 rows=1" in str(caught.value)
    assert "(record 2 of its queue) (from ONNX node '/conv')" in str(caught.value)


def storing(address: int, rows: int = 1) -> list[Row]:
    """A queue that stores `rows` of 16 bytes, from `address` on."""
    return [
        *command(isa.ConfigStore(stride=16)),
        *command(isa.MoveIn(dram=4096, cols=16, rows=16)),
        *command(isa.MoveOut(dram=address, cols=16, rows=rows)),
    ]


LENGTH = isa.RECORD.itemsize * len(storing(0))


@pytest.mark.parametrize("address", [START - 15, START, START + LENGTH - 1])
def test_a_queue_must_not_overwrite_itself(address: int) -> None:
    found = machine(storing(address))
    records = found.dram[START : START + LENGTH].copy()
    with pytest.raises(SimulatorFault) as caught:
        found.run(run_queue(storing(address)))
    assert str(caught.value).startswith(
        f"command 3: mvout dram={address:#x} cols=16 rows=1 (record 2 of its queue): stores to "
        f"DRAM bytes {address:#x} to {address + 16:#x}, which hold records of a queue "
        "that is not done"
    )
    assert np.array_equal(found.dram[START : START + LENGTH], records)


@pytest.mark.parametrize("address", [START - 16, START + LENGTH])
def test_a_queue_may_store_beside_itself(address: int) -> None:
    machine(storing(address)).run(run_queue(storing(address)))


def test_records_may_be_overwritten_once_they_are_done() -> None:
    rows = storing(8192)
    found = machine(rows)
    other = START + 512
    found.dram[other : other + LENGTH] = found.dram[START : START + LENGTH]
    first, second = (isa.RunQueue(dram=at, count=len(rows)).commands() for at in (START, other))
    over_first = isa.MoveOut(dram=START, cols=16, rows=1).commands()
    found.run(isa.concatenate([first, over_first, second]))
    assert not found.dram[START : START + 16].any()
    found.dram[START : START + LENGTH] = found.dram[other : other + LENGTH]
    # A run reads its queues at its start, whatever fences say.
    again = isa.concatenate([second, over_first, isa.Fence.pack(), first])
    with pytest.raises(SimulatorFault, match="records of a queue that is not done") as caught:
        found.run(again)
    assert (caught.value.index, caught.value.record) == (len(rows) + 1, -1)


def test_a_command_of_another_extension_is_refused_in_the_queue_too() -> None:
    rows = [*NOTHING, *repeat(command(isa.LoopConvWs()), 2)]
    with pytest.raises(SimulatorFault, match="lacks the extension loop_conv") as caught:
        machine(rows).run(run_queue(rows))
    assert (caught.value.index, caught.value.record) == (2, 2)


def test_a_damaged_program_says_so() -> None:
    program = Program(run_queue(NOTHING), np.zeros(64, np.uint8), {}, ())
    with pytest.raises(UserError, match="the accelerator program is damaged: records at 0x800"):
        _ = program.commands
