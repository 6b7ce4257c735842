"""Tuning: what is measured, what is remembered, and that no bit of a result depends on it."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from cpu_cases import Array, attach
from hypothesis import given, settings
from hypothesis import strategies as st
from processors import native_without

from mcc.backends import Tuning
from mcc.backends.cpu import library_members
from mcc.backends.cpu.blocking import Blocking
from mcc.backends.cpu.compile import lower_module
from mcc.backends.cpu.problem import Problem
from mcc.backends.cpu.tuning import Database, Entry, Task, measure, read_databases, user_database
from mcc.cli import run as mcc
from mcc.ir import DType, Module, Region, Tensor, UserError, Value, Yield, constant, evaluate
from mcc.ops import Conv, Matmul
from mcc.runtime import Target, load_target, processor_flags
from mcc.runtime.library import Library

TARGET = native_without("amx-tile", "amx-int8", "amx-bf16")
"""This processor, which multiplies in vectors: those are what is tuned."""
TILES = load_target("cpu")
needs_tiles = pytest.mark.skipif(
    "amx_int8" not in processor_flags(), reason="this processor has no AMX for bytes"
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home for caches of this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "mcc" / "tuning.json"


def layers(dtype: DType = DType.F32) -> Module:
    """A convolution, a depthwise one and a product."""
    rng = np.random.default_rng(0)

    def numbers(*shape: int) -> Array:
        if dtype is DType.F32:
            return rng.standard_normal(shape).astype("f4")
        return rng.integers(-100, 100, shape).astype("i1")

    region = Region([Tensor(dtype, (1, 9, 10, 24)), Tensor(dtype, (11, 20))], ["x", "a"])
    x, a = region.args
    w = attach(region, constant(numbers(40, 24, 3, 3)))
    conv = attach(region, Conv(x, w, pads=(1, 1, 1, 1), layout="nhwc"), "conv")
    deep = attach(region, constant(numbers(24, 1, 3, 3)))
    depthwise = attach(region, Conv(x, deep, groups=24, layout="nhwc"), "depthwise")
    product = attach(region, Matmul(a, attach(region, constant(numbers(20, 70)))), "product")
    region.append(Yield((conv, depthwise, product)))
    return Module("layers", region, ["conv", "depthwise", "product"])


def problems(target: Target, module: Module) -> dict[Problem, list[Blocking]]:
    plan = lower_module(module, target, "m", "m").program.plan
    return {problem: list(candidates) for problem, candidates in plan.problems.items()}


def instruction_set(target: Target = TARGET) -> str:
    return lower_module(layers(), target, "m", "m").machine.instruction_set


def test_problems_are_records_that_travel() -> None:
    found = problems(TARGET, layers())
    assert [problem.key for problem in found] == [
        "conv f32[1,9,10,24] f32[40,24,3,3] pads=1,1,1,1 groups=1 layout=nhwc",
        "conv f32[1,9,10,24] f32[24,1,3,3] groups=24 layout=nhwc",
        "matmul f32[11,20] f32[20,70]",
    ]
    for problem, candidates in found.items():
        task = Task(problem, tuple(candidates[:4]), TARGET, "quick")
        assert pickle.loads(pickle.dumps(task)) == task
        assert len(set(candidates)) == len(candidates) > 3


def test_a_task_measures_its_candidates() -> None:
    problem, candidates = next(iter(problems(TARGET, layers()).items()))
    entry = measure(Task(problem, (candidates[0], candidates[-1]), TARGET, "quick"))
    assert entry.blocking in (candidates[0], candidates[-1])
    assert entry.effort == "quick"
    assert entry.gain >= 1


def test_what_is_tuned_is_used_and_not_measured_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, int, int]] = []

    def progress(what: str, done: int, total: int) -> None:
        if what == "tuning":
            steps.append((what, done, total))

    measured: list[Task] = []

    def last(task: Task) -> Entry:
        measured.append(task)
        if len(measured) == 2:
            raise KeyboardInterrupt
        chosen = task.candidates[-1]
        return Entry(
            tile=chosen.tile, vectors=chosen.vectors, rows=chosen.rows, effort=task.effort, gain=2
        )

    monkeypatch.setattr("mcc.backends.cpu.tuning.tasks.measure", last)
    quick = Tuning("quick")
    with pytest.raises(KeyboardInterrupt):
        library_members(layers(), TARGET, progress, quick)
    assert steps == [("tuning", 1, 3)]
    # It goes on where it stopped.
    source = lower_module(layers(), TARGET, "m", "m", progress, quick)
    assert steps[1:] == [("tuning", 1, 2), ("tuning", 2, 2)]
    assert all(len(task.candidates) == 4 for task in measured)
    written = Database.model_validate_json(cache.read_text()).blockings(instruction_set())
    assert cache == user_database()
    for problem, candidates in source.program.plan.problems.items():
        assert written[problem.key] == candidates[3]
    count = len(measured)
    lower_module(layers(), TARGET, "m", "m", progress, quick)
    assert len(measured) == count
    # More effort replaces what little effort found.
    lower_module(layers(), TARGET, "m", "m", progress, Tuning("full"))
    assert len(measured) == count + 3
    assert len(measured[-1].candidates) == 10


def test_a_named_database_is_used_in_the_place_of_the_user_s(cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "shared.json"
    module = layers()
    (first, candidates), *_ = problems(TARGET, module).items()
    other = candidates[2]
    entry = Entry(tile=other.tile, vectors=other.vectors, rows=other.rows, effort="full", gain=1.5)
    database = Database(entries={instruction_set(): {first.key: entry}})
    path.write_text(database.model_dump_json())
    assert read_databases(path).blockings(instruction_set())[first.key] == other
    kernel = lower_module(module, TARGET, "m", "m", None, Tuning("0", path)).kernels[1]
    plain = lower_module(module, TARGET, "m", "m").kernels[1]
    assert kernel.symbol == plain.symbol == "m_conv_1"
    assert kernel.function.node.script() != plain.function.node.script()
    # What was no faster than the cost model's choice does not bind it.
    even = entry.model_copy(update={"gain": 1.0})
    path.write_text(Database(entries={instruction_set(): {first.key: even}}).model_dump_json())
    assert first.key not in read_databases(path).blockings(instruction_set())
    assert not cache.exists()


def test_a_block_that_does_not_fit_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "shared.json"
    key = next(iter(problems(TARGET, layers()))).key
    entry = {"tile": 1000, "vectors": 1000, "rows": 7, "effort": "full", "gain": 9}
    path.write_text(json.dumps({"format": 1, "entries": {instruction_set(): {key: entry}}}))
    library_members(layers(), TARGET, None, Tuning("0", path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "the tuning database is malformed"),
        ('{"format": 99}', "tuning database of format 99, this mcc reads up to 1"),
    ],
)
def test_a_wrong_database_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "shared.json"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_databases(path)
    assert str(path) in str(caught.value)


def test_mistakes_of_the_command_line(
    tmp_path: Path, examples: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(next(examples.glob("*.onnx")))
    output = ["-o", str(tmp_path / "x")]
    cases = {
        ("--target", "riscv64"): "--tune measures on this machine, which cannot run code for",
        ("--target", "gemmini"): "there is nothing to tune for gemmini",
        ("--tuning-database", str(tmp_path / "no" / "file.json")): "cannot be written",
    }
    for options, message in cases.items():
        assert mcc([model, "--tune", "quick", *options, *output]) == 2
        assert message in capsys.readouterr().err


def test_a_home_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="there is no place for tuning results"):
        library_members(layers(), TARGET, None, Tuning("quick"))


@st.composite
def choices(draw: st.DrawFn) -> list[int]:
    return draw(st.lists(st.integers(0, 10_000), min_size=3, max_size=3))


def chosen(target: Target, module: Module, numbers: list[int], path: Path) -> Tuning:
    """A database that picks any candidates."""
    entries: dict[str, Entry] = {}
    for (problem, candidates), number in zip(
        problems(target, module).items(), numbers, strict=True
    ):
        block = candidates[number % len(candidates)]
        entries[problem.key] = Entry(
            tile=block.tile, vectors=block.vectors, rows=block.rows, effort="full", gain=2
        )
    path.write_text(Database(entries={instruction_set(target): entries}).model_dump_json())
    return Tuning("0", path)


def outputs(target: Target, module: Module, tuning: Tuning, feeds: list[Array]) -> list[Array]:
    members = library_members(module, target, None, tuning)
    return Library(members["library.so"], members["library.json"], 1).run(feeds)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tuning")


def tiled_layers() -> Module:
    """A convolution and products of bytes that are worth tile registers."""
    rng = np.random.default_rng(0)
    region = Region([Tensor(DType.U8, (1, 21, 20, 64)), Tensor(DType.I8, (90, 200))], ["x", "a"])
    x, a = region.args

    def weights(*shape: int) -> Value:
        return attach(region, constant(rng.integers(-127, 128, shape).astype("i1")))

    conv = Conv(x, weights(70, 64, 3, 3), pads=(1, 1, 1, 1), layout="nhwc")
    results = [
        attach(region, conv, "conv"),
        attach(region, Matmul(a, weights(200, 70)), "product"),
        attach(region, Matmul(x, weights(64, 32)), "rows"),
    ]
    region.append(Yield(tuple(results)))
    return Module("tiled", region, ["conv", "product", "rows"])


@needs_tiles
def test_blocks_of_tiles_are_tuned(tmp_path: Path) -> None:
    found = problems(TILES, tiled_layers())
    assert [problem.key for problem in found] == [
        "conv u8[1,21,20,64] i8[70,64,3,3] pads=1,1,1,1 groups=1 layout=nhwc in tiles",
        "matmul i8[90,200] i8[200,70] in tiles",
        "matmul u8[1,21,20,64] i8[64,32] in tiles",
    ]
    for problem, candidates in found.items():
        assert len(set(candidates)) == len(candidates) >= 4
        assert all(block.tile <= 16 for block in candidates)
        entry = measure(Task(problem, (candidates[0], candidates[-1]), TILES, "quick"))
        assert entry.blocking in (candidates[0], candidates[-1])
    # They bind tiles only: the same bytes in vectors are another problem.
    assert not set(found) & set(problems(TARGET, tiled_layers()))


@needs_tiles
@pytest.mark.slow
@given(choices())
@settings(max_examples=12, deadline=None)
def test_no_choice_of_tiles_changes_a_bit(folder: Path, numbers: list[int]) -> None:
    rng = np.random.default_rng(6)
    module = tiled_layers()
    x = rng.integers(0, 256, (1, 21, 20, 64)).astype("u1")
    a = rng.integers(-128, 128, (90, 200)).astype("i1")
    tuning = chosen(TILES, module, numbers, folder / "tiles.json")
    wanted = evaluate(module, {"x": x, "a": a})
    for found, exact in zip(outputs(TILES, module, tuning, [x, a]), wanted.values(), strict=True):
        np.testing.assert_array_equal(found, exact)


@pytest.mark.slow
@given(choices())
@settings(max_examples=12, deadline=None)
def test_no_choice_changes_a_bit(folder: Path, numbers: list[int]) -> None:
    rng = np.random.default_rng(5)
    target = TARGET
    module = layers(DType.I8)
    feeds = [rng.integers(-128, 128, value.tensor.dims).astype("i1") for value in module.inputs]
    tuning = chosen(target, module, numbers, folder / "integers.json")
    wanted = evaluate(module, {"x": feeds[0], "a": feeds[1]})
    for found, exact in zip(outputs(target, module, tuning, feeds), wanted.values(), strict=True):
        np.testing.assert_array_equal(found, exact)
    # Each float is the sum of its products in one order, whatever the block.
    module = layers()
    floats = [rng.standard_normal(value.tensor.dims).astype("f4") for value in module.inputs]
    tuning = chosen(TARGET, module, numbers, folder / "floats.json")
    plain = outputs(TARGET, module, Tuning(), floats)
    for found, same in zip(outputs(TARGET, module, tuning, floats), plain, strict=True):
        np.testing.assert_array_equal(found, same)
