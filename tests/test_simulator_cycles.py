"""The cycle model: its rules one by one, and against recorded hardware."""

from pathlib import Path

import numpy as np
import pytest
from cycle_model import compare, summary

from mcc.runtime import isa
from mcc.runtime.isa import Commands, accumulator
from mcc.runtime.simulator import CycleModel, Machine
from mcc.runtime.target import load_target

TARGET = load_target("riscv-accel")
LOAD = isa.ConfigLoad(stride=16)


def cycles(*programs: Commands, gap: float = 1.0, warm: bool = True) -> int:
    program = isa.concatenate(list(programs))
    model = CycleModel(TARGET, gap=gap)
    if warm:
        model.run(program)
        model.run(isa.Fence().commands())
    return model.run(program).total


def pairs(count: int, a: int, b: int, *, kept: bool = False, rows: int = 16) -> Commands:
    """`count` products of tiles at scratchpad rows `a` and `b`, all into the same results."""
    program = np.zeros(2 * count, isa.COMMAND)
    program[::2] = isa.Preload(
        local=isa.GARBAGE if kept else b, cols=16, rows=16, destination=accumulator(0),
        destination_cols=16, destination_rows=rows,
    ).encode()  # fmt: skip
    kind = isa.ComputeKept if kept else isa.ComputePreloaded
    program[1::2] = kind(local=a, cols=16, rows=rows).encode()
    return program


def moves(count: int, stride: int) -> Commands:
    """`count` tiles of 16 rows of 16 bytes."""
    config = isa.ConfigLoad(stride=stride).commands()
    rows = np.arange(count) * 16
    return isa.concatenate(
        [config, isa.MoveIn.pack(dram=64 + rows * stride, local=rows, cols=16, rows=16)]
    )


def test_new_weights_cost_the_array_s_depth() -> None:
    assert cycles(pairs(100, 0, 4096)) == pytest.approx(1600, abs=80)


def sparse_pairs(count: int, second: int) -> Commands:
    """Like `pairs` with new 2:4 weights at row 4096, the second half of A at `second`."""
    program = np.zeros(2 * count, isa.COMMAND)
    program[::2] = isa.PreloadSparse(
        local=4096, cols=16, rows=16, destination=accumulator(0), destination_cols=16,
        destination_rows=16,
    ).encode()  # fmt: skip
    program[1::2] = isa.ComputeSparsePreloaded(
        local=0, cols=16, rows=16, second=second, second_cols=16
    ).encode()
    return program


def test_a_sparse_tile_costs_what_a_dense_one_does() -> None:
    assert cycles(sparse_pairs(100, 64)) == cycles(pairs(100, 0, 4096))
    assert cycles(sparse_pairs(100, 4200)) == cycles(pairs(100, 0, 64))


def test_weights_in_the_same_bank_cost_twice() -> None:
    assert cycles(pairs(100, 0, 64)) == pytest.approx(3200, abs=100)


def test_kept_weights_cost_their_rows_down_to_the_window() -> None:
    assert cycles(pairs(100, 0, 0, kept=True)) == pytest.approx(1600, abs=80)
    assert cycles(pairs(100, 0, 0, kept=True, rows=12)) == pytest.approx(1200, abs=80)
    # Eight pairs in flight, about 58 cycles each.
    assert cycles(pairs(100, 0, 0, kept=True, rows=1)) == pytest.approx(720, abs=80)


def test_loads_cost_their_beats() -> None:
    assert cycles(moves(32, 16)) == pytest.approx(32 * 16, abs=60)
    assert cycles(moves(32, 24)) == pytest.approx(32 * 30, rel=0.1)


def test_packed_loads_cost_a_cycle_a_row_and_half_the_lines() -> None:
    packed = isa.ConfigLoad(stride=64, packed=1).commands()
    tiles = np.arange(64)
    # 64 bytes are 8 rows of the scratchpad, where they are 4 of int8.
    wide = isa.MoveIn.pack(dram=0x1000 + 1024 * tiles, local=128 * tiles % 8192, cols=128, rows=16)
    assert cycles(packed, wide) == pytest.approx(64 * 128, rel=0.02)
    assert cycles(packed, wide, warm=False) == pytest.approx(64 * 128, rel=0.02)


def test_wide_loads_cost_what_accumulating_ones_do() -> None:
    shrunk = isa.ConfigLoad(stride=64, shrink=1).commands()
    wide = isa.ConfigLoad(stride=64, shrink=1, wide=1).commands()
    rows = np.arange(32) % 8 * 64
    adding = accumulator(rows, accumulate=True)
    moves = [
        isa.MoveIn.pack(dram=0x1000, local=local, cols=16, rows=16)
        for local in (adding, accumulator(rows))
    ]
    assert cycles(wide, moves[0]) == cycles(wide, moves[1]) == cycles(shrunk, moves[0])
    assert cycles(wide, moves[0]) == pytest.approx(32 * 16 * 4.5, rel=0.05)


def test_cold_loads_cost_whole_lines() -> None:
    line = TARGET.machine.dma.l2_line_bytes / TARGET.machine.dma.dram_bytes_per_cycle
    assert cycles(moves(32, 64), warm=False) == pytest.approx(32 * 16 * line, rel=0.05)
    assert cycles(moves(32, 64)) < 32 * 40


def test_a_slow_host_bounds_short_commands() -> None:
    program = pairs(100, 0, 4096, rows=4)
    assert cycles(program, gap=25) == pytest.approx(5000, rel=0.05)


def test_config_ex_drains_the_array() -> None:
    step = isa.concatenate([isa.ConfigExecute().commands(), pairs(1, 0, 4096)])
    assert cycles(*([step] * 20)) > 20 * 50


def test_a_fence_waits_for_stores() -> None:
    program = isa.encode([
        isa.ConfigStore(stride=16),
        isa.MoveIn(local=accumulator(0), cols=16, rows=16),
        isa.MoveOut(dram=64, local=accumulator(0), cols=16, rows=16), isa.Fence(),
    ])  # fmt: skip
    with_fence, without = cycles(program), cycles(program[:-1])
    assert with_fence - without == TARGET.machine.timing.fence_after_store


def test_loads_overlap_computes_but_wait_for_rows_in_use() -> None:
    """Two tiles in turn let the next load run during the compute; one tile does not."""
    load = [isa.MoveIn.pack(dram=64, local=32 * half, cols=16, rows=16) for half in (0, 1)]
    double = [x for i in range(40) for x in (load[i % 2], pairs(1, 32 * (i % 2), 4096))]
    single = [x for _ in range(40) for x in (load[0], pairs(1, 0, 4096))]
    config = LOAD.commands()
    assert cycles(config, *double) < 0.75 * cycles(config, *single)


def test_time_and_state_persist_between_runs() -> None:
    program = isa.concatenate([moves(8, 16), pairs(20, 0, 4096), moves(8, 16)])
    whole = CycleModel(TARGET).run(program)
    model = CycleModel(TARGET)
    parts = [model.run(program[:20]), model.run(program[20:])]
    assert sum(part.total for part in parts) == pytest.approx(whole.total, abs=2)
    assert sum(part.array_busy for part in parts) == whole.array_busy


def test_times_are_in_order() -> None:
    times = CycleModel(TARGET).run(isa.concatenate([moves(20, 24), pairs(30, 0, 4096)])).times
    assert np.all(np.diff(times, axis=1) >= 0)
    assert np.all(np.diff(times[:, 0]) > 0)
    assert np.all(np.diff(times[:, 1]) > 0)


def test_a_machine_reports_cycles_unless_told_not_to() -> None:
    m = Machine(TARGET, 1 << 16)
    program = moves(8, 16)
    assert m.run(program, timing=False).cycles == 0
    result = m.run(program)
    assert result.cycles >= 8 * 16
    assert result.load_busy >= 8 * 16
    assert (result.array_busy, result.store_busy) == (0, 0)


def test_preloads_without_a_compute_end() -> None:
    """One that another replaces, and one before a fence."""
    lonely = isa.Preload(local=0, cols=16, rows=16).commands()
    fence = isa.Fence().commands()
    assert 0 < cycles(*[lonely] * 100, fence, pairs(20, 0, 4096), lonely, fence) < 4000
    assert 0 < cycles(*[lonely, fence] * 40, pairs(20, 0, 4096)) < 4000


NEAR = {
    "warm": {"host_recorded": (0.03, 0.10, 0.20), "host_modelled": (0.05, 0.13, 0.25)},
    "dcold": {"host_recorded": (0.05, 0.15, 0.30), "host_modelled": (0.08, 0.20, 0.50)},
}
"""Mean, 90th percentile and largest of the relative errors."""


@pytest.mark.parametrize("run", list(NEAR))
def test_the_model_is_near_the_hardware(shared: Path, run: str) -> None:
    comparisons = list(compare(shared / "rtl" / "streams", [], run, seeds=2))
    assert len(comparisons) >= 75
    assert all(comparison.outputs_equal for comparison in comparisons)
    for mode, (mean, p90, worst) in NEAR[run].items():
        found = summary(comparisons, mode)
        assert found["mean_abs_error"] < mean
        assert found["p90_abs_error"] < p90
        assert found["worst_abs_error"] < worst
