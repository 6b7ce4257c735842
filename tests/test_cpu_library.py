"""Compiled libraries: what they hold, what they refuse, and what they leave behind."""

import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from cpu_cases import Array

from mcc.backends.cpu import compile_library, elementwise, emit, library_members, stages
from mcc.ir import DType, Module, Op, Region, Tensor, UserError, Value, Yield, constant, evaluate
from mcc.ops import Add, Conv, Gather, ReduceSum, Relu, Reshape
from mcc.passes import run_passes
from mcc.runtime import Target, load_target, processor_flags
from mcc.runtime.library import Library
from mcc.runtime.processor import Processor, check_processor
from mcc.runtime.table import Table

TARGET = load_target("cpu")


def tiny() -> Module:
    """relu(conv(x)) + x, and a reshape of it."""
    rng = np.random.default_rng(0)
    region = Region([Tensor(DType.F32, (1, 3, 8, 8))], ["x"])
    (x,) = region.args
    w = region.append(constant(rng.standard_normal((3, 3, 3, 3)).astype("f4"), "w"))
    total = region.append(Conv(x, w.results[0], pads=(1, 1, 1, 1)).named("total", ["/conv"]))
    relu = region.append(Relu(total.results[0]).named("relu", ["/relu"]))
    y = region.append(Add(relu.results[0], x).named("y", ["/add"]))
    flat = region.append(Reshape(y.results[0], (1, 192)).named("flat", ["/flatten"]))
    region.append(Yield((y.results[0], flat.results[0])))
    return Module("tiny", region, ["y", "flat"])


@pytest.fixture(scope="module")
def members() -> dict[str, bytes]:
    return dict(library_members(tiny(), TARGET))


@pytest.fixture(scope="module")
def library(members: dict[str, bytes]) -> Library:
    return Library(members["library.so"], members["library.json"])


def sample(seed: int = 1) -> Array:
    return np.random.default_rng(seed).standard_normal((1, 3, 8, 8)).astype("f4")


def test_outputs_and_observed_values_are_the_evaluators(library: Library) -> None:
    x = sample()
    seen: dict[str, Array] = {}
    wanted = evaluate(tiny(), {"x": x}, lambda value, array: seen.update({value.name: array}))
    for found, exact in zip(library.run([x]), wanted.values(), strict=True):
        np.testing.assert_allclose(found, exact, rtol=1e-5, atol=1e-5)
    observed = library.observe([x])
    assert list(observed) == ["x", "y", "flat"]
    for name, array in observed.items():
        np.testing.assert_allclose(array, seen[name], rtol=1e-5, atol=1e-5)


def test_the_table_names_what_is_fused_away(library: Library) -> None:
    assert {(item.name, item.into) for item in library.table.fused} == {
        ("total", "y"),
        ("relu", "y"),
    }


def test_the_table_tells_the_layout() -> None:
    module = tiny()
    for stage in stages(TARGET):
        module = run_passes(module, stage.passes)
    table = json.loads(emit(module, TARGET)["library.json"])
    axes = {entry["name"]: entry["axes"] for entry in table["values"]}
    assert any(order == [0, 2, 3, 1] for order in axes.values())


def test_results_belong_to_the_caller(library: Library) -> None:
    first, _ = library.run([sample(1)])
    kept = first.copy()
    library.run([sample(2)])
    np.testing.assert_array_equal(first, kept)
    first[:] = 0


def test_misaligned_strided_and_read_only_inputs(library: Library) -> None:
    x = sample()
    wanted = library.run([x])[0]
    memory = np.zeros(x.nbytes + 128, np.uint8)
    for offset in (1, 4, 8, 32):
        start = -memory.ctypes.data % 64 + offset
        skewed = memory[start : start + x.nbytes].view(np.uint8)
        skewed[:] = x.view(np.uint8).ravel()
        odd = np.frombuffer(skewed, np.float32).reshape(x.shape)
        np.testing.assert_array_equal(library.run([odd])[0], wanted)
    strided = np.asfortranarray(x)
    np.testing.assert_array_equal(library.run([strided])[0], wanted)
    frozen = x.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(library.run([frozen])[0], wanted)


def large() -> Module:
    """2 * x, of 80 KB, and the sum of its rows."""
    region = Region([Tensor(DType.F32, (4, 5000))], ["x"])
    (x,) = region.args
    twice = region.append(Add(x, x).named("twice", ["/add"])).results[0]
    sums = region.append(ReduceSum(twice, (1,)).named("sums", ["/sum"])).results[0]
    region.append(Yield((twice, sums)))
    return Module("large", region, ["twice", "sums"])


def test_large_arrays_stay_where_they_are() -> None:
    members = library_members(large(), TARGET)
    library = Library(members["library.so"], members["library.json"])
    x = np.random.default_rng(0).standard_normal((4, 5000)).astype("f4")
    memory = np.zeros(x.nbytes + 128, np.uint8)
    kept: list[Array] = []
    for offset in (0, 1, 4, 8, 32):
        start = -memory.ctypes.data % 64 + offset
        memory[start : start + x.nbytes] = x.view(np.uint8).ravel()
        skewed = np.frombuffer(memory[start : start + x.nbytes], np.float32).reshape(x.shape)
        twice, sums = library.run([skewed])
        np.testing.assert_array_equal(twice, x + x)
        np.testing.assert_allclose(sums, (x + x).sum(1), rtol=1e-4)
        kept.append(twice)
    for other in (np.asfortranarray(x), np.repeat(x, 2, 1)[:, ::2], x):
        np.testing.assert_array_equal(library.run([other])[0], x + x)
    library.run([x * 3])
    for array in kept:
        np.testing.assert_array_equal(array, x + x)
    with pytest.raises(UserError, match=r"input 'x' is float32\[5000, 4\], .*\[4, 5000\]"):
        library.run([np.ascontiguousarray(x.T)])


def test_nan_and_infinity_pass_through(library: Library) -> None:
    x = sample()
    x[0, 0, 0, 0] = math.nan
    x[0, 1, 4, 4] = math.inf
    wanted = evaluate(tiny(), {"x": x})["y"]
    np.testing.assert_array_equal(np.isnan(library.run([x])[0]), np.isnan(wanted))


def test_wrong_inputs_are_refused(library: Library) -> None:
    with pytest.raises(UserError, match="2 inputs were given, the library takes 1"):
        library.run([sample(), sample()])
    with pytest.raises(UserError, match=r"input 'x' is float64\[1, 3, 8, 8\]"):
        library.run([sample().astype("f8")])
    with pytest.raises(UserError, match=r"takes float32\[1, 3, 8, 8\]"):
        library.run([sample()[0]])


def test_nothing_is_left_behind(members: dict[str, bytes], tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from mcc.runtime.library import Library
import numpy as np
folder = Path(sys.argv[1])
library = Library((folder / "l.so").read_bytes(), (folder / "l.json").read_text(), threads=1)
library.run([np.ones((1, 3, 8, 8), "f4")])
assert not {"tvm", "tvm_ffi"} & set(sys.modules), "running needs nothing of TVM"
"""
    (tmp_path / "l.so").write_bytes(members["library.so"])
    (tmp_path / "l.json").write_bytes(members["library.json"])
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        check=True,
        env={**os.environ, "TMPDIR": str(scratch)},
    )
    assert list(scratch.iterdir()) == []


def test_a_library_can_be_loaded_from_a_path(members: dict[str, bytes], tmp_path: Path) -> None:
    path = tmp_path / "library.so"
    path.write_bytes(members["library.so"])
    one = Library(path, members["library.json"], threads=1)
    np.testing.assert_allclose(
        one.run([sample()])[0], evaluate(tiny(), {"x": sample()})["y"], rtol=1e-4, atol=1e-5
    )
    with pytest.raises(UserError, match="0 threads"):
        Library(path, members["library.json"], threads=0)


def test_an_older_processor_is_refused(members: dict[str, bytes]) -> None:
    table = Table.from_json(members["library.json"])
    assert set(table.machine.flags) <= processor_flags()
    with pytest.raises(UserError, match=r"compiled for future; this processor lacks warp_drive"):
        check_processor(Processor(triple=table.machine.triple, cpu="future", flags=("warp_drive",)))
    with pytest.raises(UserError, match="compiled for m68k, this machine is"):
        check_processor(Processor(triple="m68k-linux-gnu", cpu="", flags=()))


def test_a_malformed_table_is_refused() -> None:
    with pytest.raises(UserError, match=r"library.json: the library's table is malformed"):
        Table.from_json("{}")


def test_unsupported_ops_and_types_are_listed_before_anything_is_built() -> None:
    class Mystery(Op, name="test_cpu_mystery"):
        """An op that no backend knows."""

        x: Value

        def infer(self) -> Tensor:
            return self.x.tensor

    region = Region([Tensor(DType.F32, (2,)), Tensor(DType.F16, (2,))], ["x", "h"])
    x, h = region.args
    odd = region.append(Mystery(x).named("odd", ["/mystery"]))
    relu = region.append(Relu(h).named("low", ["/low"]))
    region.append(Yield((odd.results[0], relu.results[0])))
    with pytest.raises(UserError) as caught:
        compile_library(Module("m", region, ["odd", "low"]), TARGET)
    text = str(caught.value)
    assert "test_cpu_mystery (ONNX node /mystery)" in text
    assert "relu (ONNX node /low): no kernels for f16" in text
    assert "known: " in text
    assert "conv" in text


def test_a_kernel_can_be_registered_from_outside() -> None:
    from mcc.backends.cpu.kernels import Expr, Writer

    class Cube(Op, name="test_cpu_cube"):
        """y = x^3."""

        x: Value

        def infer(self) -> Tensor:
            return self.x.tensor

    @elementwise(Cube)
    def cube(op: Cube, writer: Writer, x: Expr) -> Expr:
        return x * x * x

    region = Region([Tensor(DType.F32, (50,))], ["x"])
    y = region.append(Cube(region.args[0]).named("y"))
    region.append(Yield((y.results[0],)))
    members = library_members(Module("c", region, ["y"]), TARGET)
    x = np.linspace(-3, 3, 50, dtype="f4")
    library = Library(members["library.so"], members["library.json"])
    np.testing.assert_allclose(library.run([x])[0], x**3, rtol=1e-6)


def test_a_gather_outside_its_axis_is_the_users_mistake() -> None:
    region = Region([Tensor(DType.F32, (5, 2)), Tensor(DType.I64, (2,))], ["x", "i"])
    x, indices = region.args
    y = region.append(Gather(x, indices).named("y", ["/pick"]))
    region.append(Yield((y.results[0],)))
    members = library_members(Module("g", region, ["y"]), TARGET)
    library = Library(members["library.so"], members["library.json"])
    data = np.arange(10, dtype="f4").reshape(5, 2)
    np.testing.assert_array_equal(library.run([data, np.array([4, -5])])[0], data[[4, 0]])
    with pytest.raises(UserError, match=r"gather \(ONNX node /pick\): an index is outside axis 0"):
        library.run([data, np.array([0, 5])])


def test_an_unknown_processor_is_refused() -> None:
    record = TARGET.to_dict()
    record["host"] = {"isa": "native", "cpu": "pentium9"}
    with pytest.raises(UserError, match="LLVM knows no processor 'pentium9'"):
        compile_library(tiny(), Target.from_dict(record))


def test_an_older_processor_can_be_compiled_for() -> None:
    record = TARGET.to_dict()
    record["host"] = {"isa": "native", "cpu": "x86-64-v2" if os.uname().machine == "x86_64" else ""}
    members = library_members(tiny(), Target.from_dict(record))
    library = Library(members["library.so"], members["library.json"])
    assert "avx512f" not in library.table.machine.flags
    found = library.run([sample()])[0]
    np.testing.assert_allclose(found, evaluate(tiny(), {"x": sample()})["y"], rtol=1e-4, atol=1e-5)


def test_without_a_linker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from mcc.backends.cpu.link import toolchain
    from mcc.backends.cpu.machine import machine_of

    monkeypatch.setenv("PATH", str(tmp_path))

    def nothing(name: str) -> None:
        return None

    monkeypatch.setattr("importlib.util.find_spec", nothing)
    with pytest.raises(UserError, match="linking needs a C compiler; none was found"):
        toolchain(machine_of(TARGET))
    with pytest.raises(UserError, match="a C compiler for riscv64-unknown-linux-gnu; none was"):
        toolchain(machine_of(load_target("riscv64")))


def test_compiling_without_tvm() -> None:
    program = """
import sys
from mcc.ir import UserError
sys.modules["tvm"] = sys.modules["tvm_ffi"] = None
from mcc.backends.cpu import compile_library
from mcc.ir import Module, Region
from mcc.runtime import load_target
try:
    compile_library(Module("m", Region([], []), []), load_target("cpu"))
except UserError as error:
    assert "pip install 'mcc-compiler[cpu]'" in str(error), error
else:
    raise AssertionError("nothing was refused")
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_no_temporary_files_of_a_compilation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    compile_library(tiny(), TARGET)
    assert list(tmp_path.iterdir()) == []


def test_progress_is_reported() -> None:
    steps: list[tuple[str, int, int]] = []

    def progress(label: str, done: int, total: int) -> None:
        steps.append((label, done, total))

    compile_library(tiny(), TARGET, progress=progress)
    assert steps
    assert steps[-1][1] == steps[-1][2]
