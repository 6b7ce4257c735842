"""The command queue: what records become, what the machine refuses, what fetching costs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcc.ir import UserError
from mcc.runtime import LayerRecord, Program, isa, load_target
from mcc.runtime.isa import Instruction, Row
from mcc.runtime.simulator import CycleModel, Machine, SimulatorFault
from mcc.runtime.target import Target

TARGET = load_target("riscv-accel")
START = 2048
"""Where records lie in these tests."""
BITS = (1 << 64) - 1


def command(one: Instruction, *steps: tuple[int, int]) -> list[Row]:
    """A record of a command, and what each loop around it adds, the innermost first."""
    return isa.stepped(*one.encode(), steps)


def repeat(body: list[Row], count: int) -> list[Row]:
    return isa.repeated(body, count)


def machine(rows: list[Row], base: int = 0) -> Machine:
    """A machine whose DRAM holds these records."""
    found = Machine(TARGET, 1 << 16, base=base)
    content = isa.records(rows).view(np.uint8)
    found.dram[START : START + content.size] = content
    return found


def run_queue(rows: list[Row]) -> isa.Commands:
    return isa.RunQueue(dram=START, count=len(rows)).commands()


def stream(rows: list[Row], target: Target = TARGET) -> isa.Stream:
    image = np.zeros(START + 24 * len(rows), np.uint8)
    image[START:] = isa.records(rows).view(np.uint8)
    return isa.count_out(run_queue(rows), image, target.machine)


def buffering(records: int) -> Target:
    """The machine with a buffer of so many records."""
    assert TARGET.queue is not None
    queue = TARGET.queue.model_copy(update={"records": records})
    changed = TARGET.machine.model_copy(update={"command_queue": queue})
    return TARGET.model_copy(update={"accelerator": changed})


# What records become.


@st.composite
def bodies(draw: st.DrawFn, depth: int = 0) -> list[Row]:
    rows: list[Row] = []
    step = st.one_of(st.just(0), st.integers(-(1 << 33), 1 << 33), st.integers(-40000, 40000))
    for _ in range(draw(st.integers(1, 3))):
        if depth < 4 and draw(st.booleans()):
            rows += repeat(draw(bodies(depth + 1)), draw(st.integers(1, 3)))
        else:
            steps = [(draw(step), draw(step)) for _ in range(depth)]
            rows += isa.stepped(isa.Flush.funct7, draw(st.integers(0, BITS)), 7, steps)
    return rows


def run_one_by_one(
    rows: list[Row], start: int, stop: int, turns: tuple[int, ...] = ()
) -> list[tuple[int, int, int, int]]:
    """The definition: (funct7, rs1, rs2, record) of every command, by walking through the loops."""
    found: list[tuple[int, int, int, int]] = []
    first = second = 0
    position = start
    while position < stop:
        funct7, loop, small, wide, rs1, rs2 = rows[position]
        position += 1
        if funct7 == isa.Repeat.funct7:
            for turn in range(rs2):
                found += run_one_by_one(rows, position, position + rs1, (turn, *turns))
            position += rs1
        elif funct7 == isa.Step.funct7:
            first, second = first + turns[loop] * rs1, second + turns[loop] * rs2
        else:
            turn = turns[loop] if turns else 0
            rs1, rs2 = rs1 + first + turn * wide, rs2 + second + turn * small
            found.append((funct7, rs1 & BITS, rs2 & BITS, position - 1))
            first = second = 0
    return found


@given(bodies(), st.integers(1, 12))
def test_loops_are_counted_out_with_their_steps(rows: list[Row], buffer: int) -> None:
    found = stream(rows, buffering(buffer))
    commands = found.commands[1:]
    got = [
        (*(int(word) for word in command), record)
        for command, record in zip(commands.tolist(), found.record[1:].tolist(), strict=True)
    ]
    assert got == run_one_by_one(rows, 0, len(rows))
    assert found.record[0] == -1
    fetch = found.fetch
    assert fetch is not None
    # Nothing is decoded that there was no room for, and in the end all has been fetched.
    assert np.all(fetch.needs <= fetch.may)
    assert fetch.needs.max() == len(fetch.lines)


def test_a_step_in_the_command_itself_saves_a_record() -> None:
    one = isa.MoveIn(dram=64, local=3, cols=16, rows=16)
    assert len(command(one, (1024, 16))) == 1
    assert len(command(one, (1024, 16), (1 << 20, 0))) == 2
    assert len(command(one, (1 << 32, 0))) == 2  # more than the 32 bits that it has for that
    assert len(command(one, (0, 1 << 16))) == 2


def copies(tiles: int) -> list[Row]:
    """Records that copy `tiles` tiles of 16 x 16 bytes from address 4096 to 8192, two at a time."""
    move_in = command(isa.MoveIn(dram=4096, cols=16, rows=16), (256, 16), (512, 32))
    move_out = command(isa.MoveOut(dram=8192, cols=16, rows=16), (256, 16), (512, 32))
    return [
        *command(isa.ConfigLoad(stride=16)),
        *command(isa.ConfigStore(stride=16)),
        *repeat(repeat([*move_in, *move_out], 2), tiles // 2),
    ]


def test_a_queue_moves_data_as_numpy_does() -> None:
    found = machine(copies(6))
    data = np.random.default_rng(1).integers(0, 256, 6 * 256, np.uint8)
    found.dram[4096 : 4096 + data.size] = data
    result = found.run(run_queue(copies(6)))
    assert np.array_equal(found.dram[8192 : 8192 + data.size], data)
    assert not found.dram[8192 + data.size :].any()
    assert result.commands == 1 + 2 + 12


def test_the_host_goes_on_behind_a_queue() -> None:
    rows = copies(2)
    found = machine(rows)
    found.dram[4096:4608] = 9
    back = isa.encode(
        [isa.Fence(), isa.MoveIn(dram=8192, local=100, cols=16, rows=1),
         isa.MoveOut(dram=12288, local=100, cols=16, rows=1)]
    )  # fmt: skip
    found.run(isa.concatenate([run_queue(rows), back]))
    assert np.all(found.dram[12288 : 12288 + 16] == 9)


def test_fences_order_what_a_queue_stores_and_loads() -> None:
    again = command(isa.MoveIn(dram=8192, local=500, cols=16, rows=16))
    with pytest.raises(SimulatorFault, match="stored since the last fence"):
        machine([*copies(2), *again]).run(run_queue([*copies(2), *again]))
    ordered = [*copies(2), *command(isa.Fence()), *again]
    machine(ordered).run(run_queue(ordered))


def test_the_readable_definition_agrees() -> None:
    state = isa.State(TARGET.machine, 1 << 16)
    rows = copies(4)
    content = isa.records(rows).view(np.uint8)
    state.dram[START : START + content.size] = content
    state.dram[4096:5120] = np.arange(1024, dtype=np.uint32).astype(np.uint8)
    isa.RunQueue(dram=START, count=len(rows)).execute(state)
    assert np.array_equal(state.dram[8192:9216], state.dram[4096:5120])


def test_records_count_addresses_from_the_base_of_memory() -> None:
    base = 0x8000_0000
    rows = [
        *command(isa.ConfigLoad(stride=16)),
        *command(isa.ConfigStore(stride=16)),
        *command(isa.MoveIn(dram=base + 4096, cols=16, rows=1)),
        *command(isa.MoveIn(dram=0, local=1, cols=16, rows=1)),
        *command(isa.MoveOut(dram=base + 8192, cols=16, rows=2)),
    ]
    found = machine(rows, base)
    found.dram[4096:4112] = 5
    found.dram[8192:8224] = 1
    found.run(run_queue(rows))
    assert found.dram[8192:8224].tolist() == [5] * 16 + [0] * 16


# What the machine refuses.

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


# What fetching costs.


def cycles(rows: list[Row], target: Target = TARGET) -> int:
    """Of a second run, when the records are in the cache."""
    model, found = CycleModel(target), stream(rows, target)
    model.run_stream(found)
    return model.run_stream(found).total


CONFIGURE = command(isa.ConfigLoad(stride=64))
"""What takes its unit no time."""


def test_a_loop_that_is_held_runs_a_command_a_cycle() -> None:
    loop = cycles(repeat(CONFIGURE * 10, 100))
    assert 1000 <= loop < 1000 + 60
    assert cycles(repeat(repeat(CONFIGURE * 10, 10), 10)) < loop + 20


def test_straight_commands_come_at_the_rate_of_the_port() -> None:
    # 24 bytes a command, 16 bytes a cycle.
    found = cycles(CONFIGURE * 2000)
    assert 3000 <= found < 3000 + 60


def test_a_body_larger_than_the_buffer_is_fetched_in_each_turn() -> None:
    rows = repeat(CONFIGURE * 100, 20)
    assert cycles(rows) < 2000 + 200
    assert cycles(rows, buffering(100)) < 2000 + 200
    assert cycles(rows, buffering(99)) >= 3000
    fetch = stream(rows, buffering(99)).fetch
    assert fetch is not None
    assert len(fetch.lines) >= 20 * 100 * 24 // 64
    # An inner loop that fits is fetched once in each turn.
    rows = repeat([*CONFIGURE * 50, *repeat(CONFIGURE * 10, 10)], 20)
    assert cycles(rows, buffering(40)) < 20 * 61 * 1.5 + 20 * 100


def test_records_in_dram_come_later_than_those_in_the_cache() -> None:
    found = stream(CONFIGURE * 2000)
    model = CycleModel(TARGET)
    cold, warm = (model.run_stream(found).total for _ in range(2))
    assert cold > warm


def test_fetches_take_their_beats_from_loads() -> None:
    moves = [
        row
        for number in range(200)
        for row in command(
            isa.MoveIn(dram=4096 + number % 16 * 1024, local=number % 16 * 64, cols=64, rows=16)
        )
    ]
    setup = command(isa.ConfigLoad(stride=64, block_stride=16))
    alone = cycles([*setup, *moves])
    # 64 beats a load, and one and a half for its record.
    assert alone == pytest.approx(200 * 65.5, rel=0.02)
    busy = [row for move in moves for row in (move, *command(isa.ConfigStore()) * 20)]
    assert cycles([*setup, *busy]) == pytest.approx(200 * (65.5 + 30), rel=0.02)


def test_the_host_is_not_asked_for_commands() -> None:
    slow = TARGET.host.model_copy(update={"cycles_per_command": 500.0})
    rows = repeat(CONFIGURE * 10, 100)
    assert cycles(rows, TARGET.model_copy(update={"host": slow})) < 500 + 1100
