"""Profiles: they add up to the cycles that a run reports, and say what each unit did."""

import json
from pathlib import Path

import numpy as np
import pytest
from zoo import Zoo

import mcc
from mcc.runtime import Artifact, LayerRecord, Program, ProgramRunner, Target, isa, load_target
from mcc.runtime.isa import Commands, Instruction, accumulator
from mcc.runtime.profiling import Profile, profile_program
from mcc.runtime.profiling.lanes import UNITS, Lane
from mcc.runtime.simulator import CycleModel, decode_operands, occupancy

EXAMPLES = Path(__file__).parents[1] / "examples"
MACHINE = load_target("riscv-accel")
FAST = MACHINE.model_copy(
    update={"host": MACHINE.host.model_copy(update={"cycles_per_command": 1.0})}
)
"""A host that issues a command a cycle, so that the accelerator's units show."""


@pytest.fixture(scope="module")
def digits() -> Artifact:
    return mcc.compile(
        EXAMPLES / "digits.onnx",
        target="riscv-accel",
        calibrate=EXAMPLES / "digits_calibration.npz",
    )


@pytest.fixture(scope="module")
def warm(digits: Artifact) -> Profile:
    return profile_program(Program.from_artifact(digits), digits.target)


def profiled(*parts: Commands, target: Target = FAST, cold: bool = False) -> Profile:
    """A program with one layer for each part."""
    ends = np.cumsum([len(part) for part in parts]).tolist()
    layers = tuple(
        LayerRecord(f"t{number}", (f"/node{number}",), end - len(part), end, 0)
        for number, (part, end) in enumerate(zip(parts, ends, strict=True))
    )
    program = Program(isa.concatenate(list(parts)), np.zeros(1 << 16, np.uint8), {}, layers)
    return profile_program(program, target, cold=cold)


def loads(count: int, *, stride: int = 64, cols: int = 64) -> Commands:
    config = isa.ConfigLoad(stride=stride).commands()
    rows = np.arange(count) % 16 * 64
    moves = isa.MoveIn.pack(dram=64 + rows * stride, local=rows, cols=cols, rows=16)
    return isa.concatenate([config, moves])


def stores(count: int) -> Commands:
    sums = isa.MoveIn(local=accumulator(0), cols=16, rows=16).commands()
    config = isa.ConfigStore(stride=16).commands()
    moves = isa.MoveOut.pack(
        dram=64 + np.arange(count) * 256, local=accumulator(0), cols=16, rows=16
    )
    return isa.concatenate([config, sums, moves])


def products(count: int, *, rows: int = 16) -> Commands:
    program = np.zeros(2 * count, isa.COMMAND)
    program[::2] = isa.Preload(
        local=4096, cols=16, rows=16, destination=accumulator(0), destination_cols=16,
        destination_rows=rows,
    ).encode()  # fmt: skip
    program[1::2] = isa.ComputePreloaded(local=0, cols=16, rows=rows).encode()
    return program


# What adds up.


@pytest.mark.parametrize("cold", [False, True])
def test_a_profile_is_of_the_cycles_that_a_run_takes(digits: Artifact, cold: bool) -> None:
    """Against the simulator, which runs the commands with data, launch by launch."""
    profile = profile_program(Program.from_artifact(digits), digits.target, cold=cold)
    runner = ProgramRunner.from_artifact(digits)
    feeds = {"image": np.zeros((1, 1, 8, 8), np.float32)}
    cycles = [runner.run(feeds).stats.cycles for _ in range(2)]
    assert profile.cycles == cycles[0 if cold else 1]
    assert sum(layer.cycles for layer in profile.layers) == profile.cycles


@pytest.mark.slow
def test_launches_between_ops_of_the_host_are_one_run(zoo: Zoo) -> None:
    artifact = mcc.compile(zoo.model("vit_mnist"), target="gemmini", input_range=(0.0, 1.0))
    runner = ProgramRunner.from_artifact(artifact)
    (port,) = artifact.manifest.inputs
    feeds = {port.name: np.zeros(port.shape, np.float32)}
    stats = [runner.run(feeds).stats for _ in range(2)]
    assert stats[0].launches > 5
    for cold, run in zip((True, False), stats, strict=True):
        profile = profile_program(runner.program, artifact.target, cold=cold)
        assert profile.cycles == run.cycles == sum(layer.cycles for layer in profile.layers)


def test_a_compilation_reports_the_warm_profile(digits: Artifact, warm: Profile) -> None:
    report = json.loads(digits.members["report.json"])
    assert report["totals"]["cycles"] == warm.cycles
    for row, layer in zip(report["layers"], warm.layers, strict=True):
        for key in ("macs", "commands", "cycles", "utilisation", "bytes_in", "bytes_out", "bound"):
            assert row[key] == getattr(layer, key), key
    assert sum(row["commands"] for row in report["layers"]) == report["totals"]["commands"]


def test_units_and_layers_agree_on_busy_cycles(warm: Profile) -> None:
    run = CycleModel(warm.target)
    stream = warm.program.stream(warm.target)
    run.run_stream(stream)
    second = run.run_stream(stream)
    found = {unit: lane.total for unit, lane in warm.lanes.items()}
    assert found["loads"] == pytest.approx(second.load_busy, abs=1)
    assert found["array"] == pytest.approx(second.array_busy, abs=1)
    assert found["stores"] == pytest.approx(second.store_busy, abs=1)
    # The host's two, and at least a cycle for each of the queue's.
    issued, ran = len(warm.program.issued), len(warm.program.commands)
    assert issued == 2
    assert ran <= found["issue"] <= 1.5 * ran + 7 * issued
    for unit in UNITS:
        by_layer = sum(layer.busy[unit] for layer in warm.layers)
        assert by_layer == pytest.approx(found[unit]), unit
        assert all(layer.busy[unit] <= layer.cycles for layer in warm.layers), unit


def test_layers_follow_each_other(warm: Profile) -> None:
    ends = [layer.begin + layer.cycles for layer in warm.layers]
    assert [layer.begin for layer in warm.layers] == [0, *ends[:-1]]
    assert ends[-1] == warm.cycles


def test_spans_of_a_unit_are_in_order_and_inside_the_run(warm: Profile) -> None:
    for lane in warm.lanes.values():
        assert np.all(lane.end >= lane.begin)
        assert np.all(lane.begin[1:] >= lane.end[:-1])
        assert lane.begin[0] >= 0
        assert lane.end[-1] <= warm.cycles
        assert np.all(lane.busy > 0)


def test_busy_cycles_up_to_a_time_grow_evenly_inside_a_span() -> None:
    begin, end, busy = np.array([[2, 10], [6, 12], [4, 1]], np.float64)
    lane = Lane(begin, end, busy, command=np.array([0, 1]))
    at = np.array([0, 2, 3, 6, 8, 11, 12, 99], np.float64)
    assert lane.until(at).tolist() == [0, 0, 1, 4, 4, 4.5, 5, 5]
    nothing = np.zeros(0)
    empty = Lane(nothing, nothing, nothing, command=np.zeros(0, np.int64))
    assert empty.until(at).tolist() == [0] * 8


# What the columns say.


def test_bytes_are_those_that_cross_the_bus() -> None:
    bias = isa.MoveIn(dram=64, local=accumulator(0), cols=16, rows=16)
    program = isa.encode([
        isa.ConfigLoad(stride=16), isa.MoveIn(dram=64, local=0, cols=16, rows=4),
        isa.ConfigLoad(stride=0), bias,  # a row broadcast to all
        isa.ConfigLoad(stride=64), bias,
        isa.MoveIn(dram=0, local=64, cols=64, rows=16),  # padding
        isa.LoadScales(dram=64, count=10), isa.LoadTable(dram=64),
    ])  # fmt: skip
    pooled = isa.encode([
        isa.ConfigStore(stride=16),
        isa.MoveOut(dram=64, local=accumulator(0), cols=10, rows=7),
        isa.MoveOutScratchpad(destination=0, local=accumulator(0), cols=16, rows=16),
        isa.ConfigStore(stride=16, pool_stride=2, pool_size=2, image_rows=4, image_cols=4,
                        output_rows=2, output_cols=2, output_pitch=2),
        isa.MoveOut(dram=64, local=accumulator(0), cols=16, rows=0), isa.Fence(),
    ])  # fmt: skip
    first, second = profiled(program, pooled).layers
    assert (first.bytes_in, first.bytes_out) == (64 + 64 + 1024 + 40 + 256, 0)
    assert (second.bytes_in, second.bytes_out) == (0, 70 + 4 * 16)


def test_dram_is_read_where_the_cache_has_nothing() -> None:
    (cold,) = profiled(loads(16), cold=True).layers
    (warm,) = profiled(loads(16)).layers
    assert cold.bytes_in == warm.bytes_in == cold.dram_bytes == 16384
    # Lines are replaced at random, also where ways are empty.
    assert 0 < warm.dram_bytes < 0.4 * cold.dram_bytes
    assert warm.cycles < cold.cycles


@pytest.mark.parametrize(
    ("bound", "program"),
    [
        ("loads", loads(100)),
        ("stores", stores(100)),
        ("array", isa.concatenate([loads(2), products(200)])),
        ("issue", isa.concatenate([isa.ConfigLoad(stride=64).commands()] * 400)),
        ("fences", isa.concatenate([stores(1), isa.Fence().commands()] * 20)),
        ("waits", isa.concatenate([isa.ConfigExecute().commands(), products(1)] * 40)),
    ],
)
def test_a_layer_is_bound_by_what_its_program_lays_on(bound: str, program: Commands) -> None:
    (layer,) = profiled(program).layers
    assert layer.bound == bound


def test_a_slow_host_bounds_short_products() -> None:
    program = isa.concatenate([loads(2), products(200, rows=4)])
    (layer,) = profiled(program, target=MACHINE).layers
    assert layer.bound == "array"  # new weights take the array longer than two commands the host
    host = MACHINE.host.model_copy(update={"cycles_per_command": 12.0})
    (layer,) = profiled(program, target=MACHINE.model_copy(update={"host": host})).layers
    assert layer.bound == "issue"


def test_a_program_without_layers_has_an_empty_profile() -> None:
    profile = profiled()
    assert (profile.cycles, profile.layers, profile.utilisation) == (0, (), 0.0)


# Rows in use.


def used(*program: Instruction) -> list[tuple[int, int]]:
    """Rows of scratchpad and accumulator that are in use after each command."""
    rows = occupancy(decode_operands(isa.encode(list(program))), MACHINE.machine)
    # A command's last use ends with it.
    before = np.cumsum(rows.taken, axis=0) - np.cumsum(rows.left, axis=0)
    assert not before[-1].any()
    return [(int(a), int(b)) for a, b in before]


INTO = isa.Preload(
    local=100,
    cols=16,
    rows=16,
    destination=accumulator(0),
    destination_cols=16,
    destination_rows=16,
)


def test_rows_are_in_use_from_what_writes_them_to_their_last_reader() -> None:
    assert used(
        isa.MoveIn(local=0, cols=16, rows=16),
        isa.MoveIn(local=100, cols=16, rows=16),
        INTO,  # the last to need the weights
        isa.ComputePreloaded(local=0, cols=16, rows=16),
        isa.MoveOut(dram=64, local=accumulator(0), cols=16, rows=12),
        isa.MoveOut(dram=64, local=accumulator(12), cols=16, rows=4),
    ) == [(16, 0), (32, 0), (16, 16), (0, 16), (0, 4), (0, 0)]


def test_rows_written_again_count_once() -> None:
    assert used(
        isa.MoveIn(local=0, cols=16, rows=16),
        isa.MoveIn(local=0, cols=16, rows=16),
        isa.MoveOut(dram=64, local=0, cols=16, rows=16),
    ) == [(0, 0), (16, 0), (0, 0)]  # nobody needed the first


def test_blocks_strides_and_pooling_name_their_rows() -> None:
    assert used(
        isa.ConfigLoad(state=1, block_stride=40),
        isa.MoveIn2(local=0, cols=48, rows=4),  # of 12 rows these are needed: 0 to 3, 40, 42
        isa.ConfigExecute(a_stride=2, c_stride=3),
        isa.Preload(destination=accumulator(8), destination_cols=16, destination_rows=2),
        isa.ComputeKept(local=40, cols=16, rows=2),
        isa.MoveOutScratchpad(
            destination=200, row_stride=5, block_stride=100, local=0, cols=32, rows=4
        ),
        isa.ConfigPool(mode=1, image_rows=2, image_cols=4, output_rows=1, output_cols=2),
        isa.MoveOut(dram=64, local=200, cols=16),  # 200 to 207, of which two were written
        isa.MoveOut(dram=64, local=accumulator(8), cols=16, rows=4),  # the same image
    ) == [(0, 0), (6, 0), (6, 0), (6, 2), (4, 2), (2, 2), (2, 2), (0, 2), (0, 0)]
