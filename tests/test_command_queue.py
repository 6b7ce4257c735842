"""What records of a command queue become."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from queues import BITS, START, TARGET, buffering, command, machine, repeat, run_queue, stream

from mcc.runtime import isa
from mcc.runtime.isa import Row
from mcc.runtime.simulator import SimulatorFault


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
