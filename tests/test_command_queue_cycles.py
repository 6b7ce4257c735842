"""What fetching a command queue costs."""

import pytest
from queues import TARGET, buffering, command, repeat, stream

from mcc.runtime import isa
from mcc.runtime.isa import Row
from mcc.runtime.simulator import CycleModel
from mcc.runtime.target import Target


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
