"""`--emit lib`: a model inside a C program, on this machine and, in an emulator, on others."""

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from cpu_cases import Array, attach, difference

from mcc.backends.cpu import library_files, library_members
from mcc.cli import run as mcc
from mcc.ir import DType, Module, Region, Tensor, UserError, Yield, constant, evaluate
from mcc.ops import Add, Conv, Gather, Matmul, Relu, Reshape, Softmax
from mcc.runtime import load_target
from mcc.runtime.library import Library
from mcc.runtime.processor import check_processor
from mcc.runtime.table import Table

RUN = """
#include <stdio.h>
#include <stdlib.h>
#include "net.h"

/* Tasks in the order that is least like one thread's. */
static void backwards(void *context, void (*body)(void *, int32_t, int32_t), void *frame,
                      int32_t tasks)
{
    ++*(int *)context;
    for (int32_t task = tasks; task-- > 0;)
        body(frame, task, tasks);
}

static void *room(size_t bytes, int offset)
{
    return (char *)aligned_alloc(64, (bytes + 127) / 64 * 64) + offset;
}

static float *xs, *ys[2];
static int64_t *is, *js[2];

static int wrong(int status)
{
    int failed = status != 0;
    for (int i = 0; i < NET_Y_SIZE; i++)
        failed |= ys[0][i] != ys[1][i] && (ys[0][i] == ys[0][i] || ys[1][i] == ys[1][i]);
    for (int i = 0; i < NET_J_SIZE; i++)
        failed |= js[0][i] != js[1][i];
    for (int i = 0; i < NET_Y_SIZE; i++)
        ys[1][i] = -1;
    return failed;
}

int main(void)
{
    int launches = 0;
    /* 4 and 8 bytes off a cache line: as little as the elements themselves need. */
    xs = room(NET_X_SIZE * 4, 4), is = room(NET_I_SIZE * 8, 8);
    for (int k = 0; k < 2; k++)
        ys[k] = room(NET_Y_SIZE * 4, 4), js[k] = room(NET_J_SIZE * 8, 8);
    void *workspace = room(NET_WORKSPACE_BYTES, 0);
    FILE *in = fopen("in.bin", "rb"), *out = fopen("out.bin", "wb");
    if (!in || !out || fread(xs, 4, NET_X_SIZE, in) != NET_X_SIZE ||
        fread(is, 8, NET_I_SIZE, in) != NET_I_SIZE)
        return 10;
    int status = net_run(xs, is, ys[0], js[0]);
    if (status) {
        puts(net_message(status));
        return 1;
    }
    if (wrong(net_run_in(xs, is, ys[1], js[1], workspace)))
        return 2;
    const void *const inputs[] = {xs, is};
    void *const outputs[] = {ys[1], js[1]};
    struct net_team team = {TASKS, backwards, &launches};
    if (wrong(net_call(inputs, outputs, workspace, &team)) || launches < LAUNCHES)
        return 3;
    status = net_run_in(xs, is, ys[1], js[1], (char *)workspace + 32);
    if (!status || !net_message(status)[0] || net_message(-1)[0] || net_message(99)[0])
        return 4;
    fwrite(ys[0], 4, NET_Y_SIZE, out);
    fwrite(js[0], 8, NET_J_SIZE, out);
    fclose(out);
    return 0;
}
"""
TASKS = 4


def network() -> Module:
    """Convolutions, one large enough to be shared, a product, a softmax, integers, a gather."""
    rng = np.random.default_rng(0)
    region = Region([Tensor(DType.F32, (1, 16, 18, 16)), Tensor(DType.I64, (5,))], ["x", "i"])
    x, i = region.args
    wide = attach(region, constant(0.1 * rng.standard_normal((32, 16, 5, 5)).astype("f4")))
    back = attach(region, constant(0.1 * rng.standard_normal((16, 32, 1, 1)).astype("f4")))
    first = attach(region, Relu(attach(region, Conv(x, wide, pads=(2, 2, 2, 2), layout="nhwc"))))
    total = attach(region, Add(attach(region, Conv(first, back, layout="nhwc")), x), "total")
    rows = attach(region, Reshape(total, (288, 16)), "rows")
    picked = attach(region, Gather(rows, i).named("picked", ["/pick"]))
    w = attach(region, constant(rng.standard_normal((16, 21)).astype("f4")))
    y = attach(region, Softmax(attach(region, Matmul(picked, w)), axis=1), "y")
    j = attach(region, Add(i, i), "j")
    region.append(Yield((y, j)))
    return Module("net", region, ["y", "j"])


def integers() -> Module:
    """Products of bytes, of which every bit is defined."""
    rng = np.random.default_rng(1)
    region = Region([Tensor(DType.I8, (1, 9, 7, 12))], ["x"])
    kernel = rng.integers(-128, 128, (24, 12, 3, 3)).astype("i1")
    w = attach(region, constant(kernel))
    conv = attach(region, Conv(region.args[0], w, pads=(1, 1, 1, 1), layout="nhwc"), "y")
    region.append(Yield((conv,)))
    return Module("ints", region, ["y"])


def sample() -> tuple[Array, Array]:
    x = np.random.default_rng(2).standard_normal((1, 16, 18, 16)).astype("f4")
    return x, np.array([0, 287, -1, 100, 33])


def session(module: Module, *inputs: Array) -> list[Array]:
    members = library_members(module, load_target("cpu"))
    return Library(members["library.so"], members["library.json"], 1).run(inputs)


def write(folder: Path, files: dict[str, bytes], stem: str, inputs: Sequence[Array]) -> None:
    for suffix, content in files.items():
        (folder / f"{stem}{suffix}").write_bytes(content)
    (folder / "main.c").write_text(RUN)
    (folder / "in.bin").write_bytes(b"".join(array.tobytes() for array in inputs))


def build(folder: Path, compiler: Sequence[str], *files: str, launches: int = 1) -> None:
    defines = [f"-DTASKS={TASKS}", f"-DLAUNCHES={launches}"]
    line = [*compiler, "-std=c11", "-O1", "-Wall", "-Wextra", *defines, "main.c", *files]
    done = subprocess.run([*line, "-o", "program"], cwd=folder, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    assert "warning" not in done.stderr, done.stderr


def results(folder: Path) -> list[Array]:
    raw = (folder / "out.bin").read_bytes()
    return [
        np.frombuffer(raw[: 5 * 21 * 4], "f4").reshape(5, 21),
        np.frombuffer(raw[5 * 21 * 4 :], "i8"),
    ]


@pytest.fixture(params=["cc", "zig"])
def compiler(request: pytest.FixtureRequest) -> list[str]:
    if request.param == "cc":
        if shutil.which("cc") is None:
            pytest.skip("needs a C compiler called cc")
        return ["cc"]
    return zig()


def zig() -> list[str]:
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("needs the wheel ziglang")
    return [sys.executable, "-m", "ziglang", "cc"]


@pytest.mark.slow
@pytest.mark.parametrize("archive", [False, True], ids=["folder", "archive"])
def test_a_c_program_computes_the_session_s_bits(
    tmp_path: Path, compiler: list[str], archive: bool
) -> None:
    target = load_target("cpu")
    files = dict(library_files(network(), target, stem="net", title="a net", archive=archive))
    assert list(files) == ([".a", ".h"] if archive else [".o", ".h", ".c"])
    write(tmp_path, files, "net", sample())
    build(tmp_path, compiler, *(["net.a"] if archive else ["net.c", "net.o"]), "-lm")
    done = subprocess.run(["./program"], cwd=tmp_path, capture_output=True, text=True)
    assert not done.returncode, done.stdout
    for found, wanted in zip(results(tmp_path), session(network(), *sample()), strict=True):
        np.testing.assert_array_equal(found, wanted)
    # An index outside its axis is told by number and message.
    x, _ = sample()
    (tmp_path / "in.bin").write_bytes(x.tobytes() + np.array([0, 288, 0, 0, 0]).tobytes())
    done = subprocess.run(["./program"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "gather (ONNX node /pick): an index is outside axis 0 of extent 288" in done.stdout


def test_the_object_needs_only_the_c_library(tmp_path: Path) -> None:
    if shutil.which("nm") is None:
        pytest.skip("needs nm")
    target = load_target("cpu")
    files = library_files(network(), target, stem="libnet", title="a net", archive=False)
    (tmp_path / "net.o").write_bytes(files[".o"])
    listed = subprocess.run(["nm", "net.o"], cwd=tmp_path, capture_output=True, text=True).stdout
    needed = {line.split()[-1] for line in listed.splitlines() if " U " in line}
    assert needed <= {"memcpy", "memset", "memmove"}
    # Two models in one program: what others can see begins with this one's name.
    public = {line.split()[-1] for line in listed.splitlines() if " T " in line or " R " in line}
    assert public
    assert all(name.startswith("net_") for name in public)


MAIN_OF_INTEGERS = """
#include <stdio.h>
#include "ints.h"
static int8_t x[INTS_X_SIZE];
static int32_t y[INTS_Y_SIZE];
int main(void)
{
    FILE *in = fopen("in.bin", "rb"), *out = fopen("out.bin", "wb");
    if (!in || !out || fread(x, 1, sizeof x, in) != sizeof x || ints_run(x, y))
        return 1;
    fwrite(y, 1, sizeof y, out);
    return fclose(out);
}
"""
EMULATORS = {
    "aarch64": (["qemu-aarch64"], "aarch64-linux-musl"),
    "riscv64": (["qemu-riscv64", "-cpu", "rv64,v=true,vlen=128"], "riscv64-linux-musl"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", EMULATORS)
def test_a_cross_compiled_model_runs_in_an_emulator(tmp_path: Path, name: str) -> None:
    emulator, triple = EMULATORS[name]
    if shutil.which(emulator[0]) is None:
        pytest.skip(f"needs {emulator[0]} (apt install qemu-user)")
    compiler = [*zig(), "-target", triple, "-static"]
    target = load_target(name)
    files = dict(library_files(network(), target, stem="net", title="net", archive=True))
    write(tmp_path, files, "net", sample())
    build(tmp_path, compiler, "net.a", "-lm")
    done = subprocess.run([*emulator, "./program"], cwd=tmp_path, capture_output=True, text=True)
    assert not done.returncode, (done.returncode, done.stdout, done.stderr)
    wanted = evaluate(network(), dict(zip(("x", "i"), sample(), strict=True)))
    y, j = results(tmp_path)
    assert not difference(y, wanted["y"], 1e-4)
    np.testing.assert_array_equal(j, wanted["j"])

    x = np.random.default_rng(3).integers(-128, 128, (1, 9, 7, 12)).astype("i1")
    files = dict(library_files(integers(), target, stem="ints", title="ints", archive=False))
    write(tmp_path, files, "ints", [x])
    (tmp_path / "main.c").write_text(MAIN_OF_INTEGERS)
    build(tmp_path, compiler, "ints.c", "ints.o")
    subprocess.run([*emulator, "./program"], cwd=tmp_path, check=True)
    exact = evaluate(integers(), {"x": x})["y"]
    found = np.frombuffer((tmp_path / "out.bin").read_bytes(), "i4").reshape(exact.shape)
    np.testing.assert_array_equal(found, exact)


@pytest.mark.parametrize("name", EMULATORS)
def test_a_cross_compiled_artifact_is_for_its_machine(name: str) -> None:
    zig()
    members = library_members(integers(), load_target(name))
    machine = int.from_bytes(members["library.so"][18:20], "little")
    assert machine == {"aarch64": 183, "riscv64": 243}[name]
    table = Table.from_json(members["library.json"])
    assert set(table.machine.flags) >= {"aarch64": {"asimddp"}, "riscv64": {"v"}}[name]
    with pytest.raises(UserError, match=f"the model was compiled for {name}, this machine is"):
        check_processor(table.machine)


@pytest.mark.parametrize("name", ["x86-64", "x86-64-v3"])
def test_older_pcs_are_targets(name: str) -> None:
    target = load_target(name)
    members = library_members(network(), target)
    table = Table.from_json(members["library.json"])
    assert ("avx2" in table.machine.flags) == (name == "x86-64-v3")
    assert "avx512f" not in table.machine.flags
    try:
        check_processor(table.machine)
    except UserError as error:
        pytest.skip(f"cannot run here: {error}")
    wanted = evaluate(network(), dict(zip(("x", "i"), sample(), strict=True)))
    found = Library(members["library.so"], members["library.json"], 2).run(sample())
    for array, exact in zip(found, wanted.values(), strict=True):
        assert not difference(array, exact, 1e-4 if array.dtype == np.float32 else 0.0)


def test_where_the_files_go(
    tmp_path: Path, examples: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(next(examples.glob("*.onnx")))
    stem = Path(model).stem
    assert mcc([model, "--emit", "lib", "-o", str(tmp_path / "new")]) == 0
    names = {path.name for path in (tmp_path / "new").iterdir()}
    assert names == {f"{stem}.o", f"{stem}.h", f"{stem}.c"}
    assert mcc([model, "--emit", "lib", "-o", str(tmp_path / "libdigits.a")]) == 0
    header = (tmp_path / "libdigits.h").read_text()
    assert "int digits_run(" in header
    capsys.readouterr()
    assert mcc([model, "--emit", "lib", "-o", str(tmp_path / "no" / "folder")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert mcc([model, "--emit", "lib"]) == 2
    assert "--emit lib needs a file" in capsys.readouterr().err
    assert mcc([model, "--emit", "artifact", "-o", str(tmp_path / "new")]) == 2
    assert "it is a folder" in capsys.readouterr().err
