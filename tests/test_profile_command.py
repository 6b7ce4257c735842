"""`mcc profile`: its table, its files, and what it refuses."""

import importlib.util
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from test_profile_trace import check_trace

import mcc
from mcc.cli import run
from mcc.ir import UserError
from mcc.runtime import load
from mcc.runtime.profiling import check_picture

EXAMPLES = Path(__file__).parents[1] / "examples"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits, for the accelerator and for the CPU."""
    folder = tmp_path_factory.mktemp("profiles")
    for target, name in (("riscv-accel", "accel.mcc"), ("cpu", "cpu.mcc")):
        artifact = mcc.compile(
            EXAMPLES / "digits.onnx",
            target=target,
            calibrate=EXAMPLES / "digits_calibration.npz",
        )
        artifact.save(folder / name)
    return folder


@pytest.fixture
def profile(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        status = run(["profile", *map(str, arguments)])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


def test_the_table_has_a_row_for_each_layer_and_sums(folder: Path, profile: Run) -> None:
    status, out, _ = profile(folder / "accel.mcc")
    assert status == 0
    report = json.loads(load(folder / "accel.mcc").members["report.json"])
    lines = out.splitlines()
    assert lines[0] == "digits on riscv-accel, a warm (second) inference"
    assert lines[1].split() == [
        "layer",
        "cycles",
        "share",
        "array",
        "in",
        "out",
        "commands",
        "bound",
        "by",
    ]
    rows = lines[2 : 2 + len(report["layers"])]
    for row, layer in zip(rows, report["layers"], strict=True):
        assert row.startswith(layer["nodes"][0])
        assert f" {layer['cycles']:,} " in row
        assert row.split()[-1] == layer["bound"]
    total = lines[2 + len(rows)].split()
    assert total[:2] == ["total", f"{report['totals']['cycles']:,}"]
    assert "on the host, not in these cycles: 4 ops" in lines
    assert "  quantize (image.q): the edge to float: the host quantizes" in lines


def test_more_is_said_with_v(folder: Path, profile: Run) -> None:
    _, out, _ = profile(folder / "accel.mcc", "-v")
    lines = out.splitlines()
    start = lines.index("busy, of a layer's cycles")
    head, first = lines[start + 1 : start + 3]
    assert re.split("  +", head) == [
        "layer",
        "from DRAM",
        "issue",
        "loads",
        "array",
        "stores",
        "at fences",
    ]
    assert re.fullmatch(r"/stem/stem.0/Conv \(\+2\) +[\d.]+ (Ki)?B( +\d+\.\d %){5}", first)
    assert lines[2].startswith("/stem/stem.0/Conv, /stem/stem.1/BatchNormalization, /Relu ")


def test_json_has_the_numbers(folder: Path, profile: Run) -> None:
    status, out, _ = profile(folder / "accel.mcc", "--json")
    record = json.loads(out)
    assert status == 0
    assert (record["model"], record["target"], record["run"]) == ("digits", "riscv-accel", "warm")
    assert sum(layer["cycles"] for layer in record["layers"]) == record["cycles"]
    assert sum(layer["share"] for layer in record["layers"]) == pytest.approx(1.0)
    assert sum(layer["macs"] for layer in record["layers"]) == record["macs"]
    assert set(record["busy"]) == {"issue", "loads", "array", "stores"}
    assert [op["op"] for op in record["host"]] == ["quantize", "reshape", "pad", "dequantize"]
    cold = json.loads(profile(folder / "accel.mcc", "--json", "--cold")[1])
    assert cold["run"] == "cold"
    assert cold["cycles"] > record["cycles"]


def test_one_run_takes_the_cold_cycles(
    folder: Path, profile: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    cold = json.loads(profile(folder / "accel.mcc", "--json", "--cold")[1])["cycles"]
    assert run(["run", str(folder / "accel.mcc"), "--random"]) == 0
    wanted = f"simulated: {cold:,} cycles for one inference, its caches cold; "
    assert wanted in capsys.readouterr().out


def test_a_trace_and_a_picture_are_written(folder: Path, tmp_path: Path, profile: Run) -> None:
    pytest.importorskip("matplotlib")
    trace, picture = tmp_path / "trace.json", tmp_path / "roofline.svg"
    status, out, _ = profile(
        folder / "accel.mcc", "--trace", trace, "--roofline", picture, "--json"
    )
    assert status == 0
    assert json.loads(out)["written"] == [str(trace), str(picture)]
    check_trace(trace.read_bytes())
    root = ElementTree.fromstring(picture.read_bytes())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    texts = {"".join(e.itertext()).strip() for e in root.iter("{http://www.w3.org/2000/svg}text")}
    assert "MACs a cycle" in texts
    assert "MACs for each byte to and from memory" in texts
    assert "array: 256 MACs a cycle" in texts
    assert "array, 2:4 weights: 512 MACs a cycle" in texts
    assert "bus: 16 bytes a cycle" in texts
    assert "bound by array" in texts
    shown = " ".join(texts).replace("\N{NO-BREAK SPACE}", " ")
    assert "/residual/first/first.0/Conv" in shown
    assert "(warm)" in shown


def test_a_picture_can_be_a_png(folder: Path, tmp_path: Path, profile: Run) -> None:
    pytest.importorskip("matplotlib")
    status, out, _ = profile(folder / "accel.mcc", "--roofline", tmp_path / "r.PNG")
    assert status == 0
    assert out.splitlines()[-1] == f"wrote {tmp_path / 'r.PNG'}"
    assert (tmp_path / "r.PNG").read_bytes().startswith(b"\x89PNG")


def test_the_cpu_s_kernels_are_timed(folder: Path, profile: Run) -> None:
    status, out, _ = profile(folder / "cpu.mcc", "--json", "--threads", 1)
    record = json.loads(out)
    assert status == 0
    assert record["microseconds"] > 0
    kernels = record["kernels"]
    assert all(kernel["microseconds"] > 0 for kernel in kernels)
    assert sum(kernel["share"] for kernel in kernels) == pytest.approx(1.0)
    nodes = {node for kernel in kernels for node in kernel["nodes"]}
    assert {"/stem/stem.0/Conv", "/residual/Relu", "/classify/Gemm"} <= nodes
    status, out, _ = profile(folder / "cpu.mcc")
    assert status == 0
    lines = out.splitlines()
    assert lines[1].split() == ["layer", "kernel", "µs", "share"]
    assert len(lines) == len(kernels) + 4
    assert lines[-1].startswith("an inference takes ")


# What is refused.


@pytest.mark.parametrize("option", [["--cold"], ["--trace", "t.json"], ["--roofline", "r.svg"]])
def test_a_cpu_artifact_has_no_cycles(folder: Path, profile: Run, option: list[str]) -> None:
    status, _, err = profile(folder / "cpu.mcc", *option)
    assert status == 2
    assert f"{option[0]} is for accelerators, and this artifact is for the CPU" in err
    assert "leave it out, or compile with --target riscv-accel" in err


@pytest.mark.parametrize("name", ["r.pdf", "r"])
def test_other_pictures_are_refused(folder: Path, profile: Run, name: str) -> None:
    status, _, err = profile(folder / "accel.mcc", "--roofline", name)
    assert status == 2
    assert "a roofline is drawn as .svg or .png, not as " in err
    assert "give for example --roofline r.svg" in err


def test_a_picture_needs_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> None:
        del name

    monkeypatch.setattr(importlib.util, "find_spec", nothing)
    with pytest.raises(UserError, match=r"needs matplotlib\n.*mcc-compiler\[profile\]"):
        check_picture(Path("r.svg"))


def test_a_place_that_cannot_be_written_is_said_first(folder: Path, profile: Run) -> None:
    status, _, err = profile(folder / "accel.mcc", "--trace", "/nowhere/trace.json")
    assert status == 2
    assert "/nowhere/trace.json" in err


def test_a_missing_artifact_is_said(profile: Run) -> None:
    status, _, err = profile("missing.mcc")
    assert status == 2
    assert "missing.mcc" in err


def test_kernels_are_timed_as_an_inference_calls_them(folder: Path) -> None:
    """Every kernel that the table names is in the library, and computes what observers see."""
    from mcc.runtime.library import Library

    artifact = load(folder / "cpu.mcc")
    library = Library(artifact.members["library.so"], artifact.members["library.json"], 1)
    arrays = {number: library.array(number) for number, _ in enumerate(library.table.slots)}
    feeds = [np.ones(entry.shape, "f4") for entry in library.table.inputs]
    for number, array in enumerate(feeds):
        arrays[number][:] = array.reshape(-1)
    for call in library.table.calls:
        if call.replaced is not None:
            arrays[call.output][:] = arrays[call.inputs[call.replaced]]
        assert not library.bind(call, arrays)()
    seen = library.observe(feeds)
    for entry in library.table.values:
        np.testing.assert_array_equal(arrays[entry.slot], seen[entry.name].reshape(-1))
