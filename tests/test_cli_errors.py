"""What users get wrong: each mistake ends in one message, status 2, and no output.

A case is a line; files that it needs are made by `files`, once.
"""

import errno
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from mcc.cli import run

Change = Callable[[dict[str, bytes]], None]


def info(name: str, shape: list[Any], kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def model_of(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    weights: dict[str, NDArray[Any]] | None = None,
    opset: int = 17,
) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(nodes, "m", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def save_arrays(path: Path, **arrays: object) -> None:
    save: Callable[..., None] = np.savez
    save(path, **arrays)


def edited(source: Path, target: Path, change: Change, *, signed: bool) -> None:
    """A copy of an artifact with changed members; `signed` puts their checksums right."""
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    if signed:
        manifest = json.loads(members["manifest.json"])
        manifest["members"] = {
            name: hashlib.sha256(data).hexdigest()
            for name, data in members.items()
            if name != "manifest.json"
        }
        members["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def in_manifest(**values: object) -> Change:
    def change(members: dict[str, bytes]) -> None:
        manifest = json.loads(members["manifest.json"]) | values
        members["manifest.json"] = json.dumps(manifest).encode()

    return change


def replaced(member: str, old: bytes, new: bytes) -> Change:
    def change(members: dict[str, bytes]) -> None:
        assert old in members[member]
        members[member] = members[member].replace(old, new)

    return change


def becomes(member: str, data: bytes | None) -> Change:
    def change(members: dict[str, bytes]) -> None:
        if data is None:
            del members[member]
        else:
            members[member] = data

    return change


def backwards(members: dict[str, bytes]) -> None:
    """Commands that no machine takes."""
    commands = np.load(io.BytesIO(members["commands.npy"]))
    commands["rs1"] = 1 << 63
    content = io.BytesIO()
    np.save(content, commands)
    members["commands.npy"] = content.getvalue()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mistakes")
    models(folder)
    samples(folder)
    artifacts(folder)
    (folder / "folder.onnx").mkdir()
    (folder / "nontext.mir").write_bytes(b"module @m\xff")
    (folder / "yields.mir").write_text(
        'module @m(%x: f32[1]) -> ("y") {\n  %y = relu(%x) : f32[1]\n  yield(%y, %y)\n}\n'
    )
    (folder / "exits.py").write_text("import sys\nsys.exit(3)\n")
    (folder / "half.toml").write_text('name = "x"\n')
    return folder


def models(folder: Path) -> None:
    weights = np.linspace(-1, 1, 32, dtype=np.float32).reshape(8, 4)
    gemm = [helper.make_node("Gemm", ["x", "w"], ["y"], name="dense")]
    relu = helper.make_node("Relu", ["x"], ["y"], name="act")
    x, y = info("x", ["n", 8]), info("y", ["n", 4])

    def write(name: str, model: onnx.ModelProto) -> None:
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())

    write("good", model_of(gemm, [x], [y], {"w": weights}))
    nan = weights.copy()
    nan[2, 1] = np.nan
    write("nan", model_of(gemm, [x], [y], {"w": nan}))
    write("huge", model_of([relu], [info("x", [1, 2**40])], [info("y", [1, 2**40])]))
    write("zero", model_of([relu], [info("x", [1, 0])], [info("y", [1, 0])]))
    write("twice", model_of([relu], [info("x", [1])], [info("y", [1]), info("y", [1])]))
    write("open", model_of([relu], [info("x", ["n", "h"])], [info("y", ["n", "h"])]))
    write("future", model_of([relu], [info("x", [1])], [info("y", [1])], opset=999))
    named = model_of([relu], [info("x", [1])], [info("y", [1])]).SerializeToString()
    (folder / "name.onnx").write_bytes(named.replace(b"Relu", b"\xff\xfe\xfd\xfc"))
    claims = model_of(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [info("x", [1, 8])],
        [info("y", [1, 8])],
    )
    claims.graph.initializer.append(
        TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[8, 10**9], raw_data=b"\0" * 16)
    )
    write("claims", claims)
    outside = model_of(gemm, [x], [y], {"w": weights})
    outside.graph.initializer[0].ClearField("raw_data")
    outside.graph.initializer[0].data_location = TensorProto.EXTERNAL
    outside.graph.initializer[0].external_data.add(key="location", value="gone.data")
    write("outside", outside)
    (folder / "empty.onnx").touch()
    (folder / "text.onnx").write_text("no model at all\n" * 9)


def samples(folder: Path) -> None:
    x = np.linspace(0, 1, 40, dtype=np.float32).reshape(5, 8)
    save_arrays(folder / "good.npz", x=x)
    for name, value in (("nan", np.nan), ("inf", np.inf)):
        bad = x.copy()
        bad[1, 2] = value
        save_arrays(folder / f"{name}.npz", x=bad)
    save_arrays(folder / "none.npz", x=x[:0])
    save_arrays(folder / "words.npz", x=np.array(["a"] * 5))
    save_arrays(folder / "others.npz", a=x, b=x)
    save_arrays(folder / "narrow.npz", x=x[:, :3])
    save_arrays(folder / "scalar.npz", x=np.float32(1))
    (folder / "cut.npz").write_bytes((folder / "good.npz").read_bytes()[:50])
    (folder / "empty.npz").touch()
    np.save(folder / "single.npy", x)


def artifacts(folder: Path) -> None:
    good = folder / "good.mcc"
    assert run([str(folder / "good.onnx"), "--target", "gemmini", "-o", str(good)]) == 0
    changes: dict[str, Change] = {
        "empty_commands": becomes("commands.npy", b""),
        "no_image": becomes("image.npy", None),
        "junk_program": becomes("program.json", b"junk"),
        "binary_module": becomes("lowered.mir", b"\x93junk"),
        "junk_report": becomes("report.json", b"\x93junk"),
        "no_commands": replaced("program.mir", b"stop=", b"stop=9"),
        "far_outside": replaced("program.mir", b"outputs=[", b"outputs=[9"),
        "illegal": backwards,
    }
    for name, change in changes.items():
        edited(good, folder / f"{name}.mcc", change, signed=True)
    manifests: dict[str, Change] = {
        "newer": in_manifest(format=99),
        "unsigned": in_manifest(members={}),
        "no_target": in_manifest(target={}),
        "odd_type": replaced("manifest.json", b'"f32"', b'"q7"'),
        "odd_output": replaced("manifest.json", b'"name": "y"', b'"name": "z"'),
        "no_manifest": becomes("manifest.json", b"[]"),
    }
    for name, change in manifests.items():
        edited(good, folder / f"{name}.mcc", change, signed=False)
    content = bytearray(good.read_bytes())
    with zipfile.ZipFile(io.BytesIO(bytes(content))) as archive:
        member = archive.getinfo("commands.npy")
    # Behind the member's header of 30 bytes and its name: a flip there is no change of a date.
    content[member.header_offset + 30 + len(member.filename) + member.compress_size // 2] ^= 1
    (folder / "flipped.mcc").write_bytes(content)


CASES: dict[str, tuple[str, str]] = {
    # title: (command line, what the message says)
    "an empty model": ("empty.onnx", "empty.onnx: the file is empty"),
    "no model": ("text.onnx", "not an ONNX model, or cut short"),
    "a folder": ("folder.onnx", "folder.onnx: cannot be read: Is a directory"),
    "a name that is no text": ("name.onnx", "a name in it is no UTF-8 text"),
    "two outputs of a name": ("twice.onnx", "two outputs are called 'y'"),
    "too many elements": ("huge.onnx", "1,099,511,627,776 elements, more than"),
    "weights that are not there": ("claims.onnx", "claims.onnx: not a valid ONNX model"),
    "weights elsewhere": ("outside.onnx", "its weights lie in another file"),
    "a dimension of zero": ("zero.onnx", "--shape x=1x32"),
    "symbolic dimensions": ("open.onnx", "--shape x=1x32"),
    "an opset of the future": ("future.onnx", "opset 999"),
    "a weight that is NaN": ("nan.onnx --target gemmini", "dense: value 'y' is not finite"),
    "a huge shape": ("good.onnx --shape x=99999999999x8", "--shape"),
    "a shape of nothing": ("good.onnx --shape x=0x8", "cannot have the shape 0x8"),
    "a shape of letters": ("good.onnx --shape x=axb", "is not NAME=DIMS"),
    "an unknown input": ("good.onnx --shape q=1x8", "no input of the model\n  known: x"),
    "a range without end": ("good.onnx --input-range=-inf,inf", "float32 numbers"),
    "a range of one": ("good.onnx --input-range=1", "is not LOW,HIGH"),
    "no samples wanted": ("good.onnx --samples 0", "0 is not in the range x>=1"),
    "a level": ("good.onnx -O9", "there is no -O9"),
    "sparsity": ("good.onnx --passes prune{sparsity=2}", "between 0 and 1"),
    "a pipeline cut short": ("good.onnx --passes prune{", "is expected here"),
    "a plugin that exits": ("good.onnx --load exits.py", "exits.py:2: the file raises SystemExit"),
    "a plugin that is not there": ("good.onnx --load none.py", "none.py: no such file"),
    "half a target": ("good.onnx --target half.toml", "half.toml: backend: Field required"),
    "NaN among the samples": (
        "good.onnx --target gemmini --calibrate nan.npz",
        "value 'x' is not finite on calibration sample 1",
    ),
    "infinity among the samples": (
        "good.onnx --target gemmini --calibrate inf.npz",
        "is not finite on calibration sample 1",
    ),
    "no sample": ("good.onnx --target gemmini --calibrate none.npz", "x float32[0, 8]"),
    "words as samples": ("good.onnx --target gemmini --calibrate words.npz", "x <U1[5]"),
    "other inputs": ("good.onnx --target gemmini --calibrate others.npz", "several arrays"),
    "narrow samples": ("good.onnx --target gemmini --calibrate narrow.npz", "x f32[1,8]"),
    "a scalar": ("good.onnx --target gemmini --calibrate scalar.npz", "does not fit its input"),
    "samples cut short": ("good.onnx --target gemmini --calibrate cut.npz", "not a readable .npz"),
    "an empty file of samples": (
        "good.onnx --target gemmini --calibrate empty.npz",
        "not a readable .npz file",
    ),
    "a single array": (
        "good.onnx --target gemmini --calibrate single.npy",
        "that is an .npy file",
    ),
    "an empty folder": (
        "good.onnx --target gemmini --calibrate folder.onnx",
        "the folder has no samples of input 'x'",
    ),
    "no name for the samples": ("good.onnx --target gemmini --calibrate=", "names no file"),
    "a folder as output": ("good.onnx -o folder.onnx", "cannot be written: it is a folder"),
    "the model as output": ("good.onnx -o good.onnx", "would take the model's place"),
    "a header as source": (
        "good.onnx --target gemmini --emit c -o one.h",
        "one.h: --emit c writes a second file of that name\n  give the first one: -o one.c",
    ),
    "weights as text": (
        "good.onnx --emit optimized -o m.safetensors",
        "m.safetensors: a module's text cannot have this suffix",
    ),
    "no folder for the output": ("good.onnx -o none/a.mcc", "cannot be written: there is no"),
    "no folder for the outputs": (
        "run good.mcc --random -o none/a.npz",
        "cannot be written: there is no folder",
    ),
    "a command misspelled": ("verfy good.mcc", "Did you mean 'verify'?"),
    "no command at all": ("frobnicate", "Commands are compile, run, verify"),
    "letters of a command turned": ("rnu good.mcc", "Did you mean 'run'?"),
    "an artifact to compile": ("good.mcc", "good.mcc: the model is already compiled"),
    "a model to run": ("run good.onnx --random", "compile the model first: mcc good.onnx -o good"),
    "a model as samples": (
        "run good.mcc -i good.onnx",
        "good.onnx: not a readable .npz file: it is",
    ),
    "no samples there": ("run good.mcc -i missing.npz", "missing.npz: no such file of samples"),
    "no lines": ("disasm good.mcc --limit 0", "0 is not in the range x>=1"),
    "no artifact": ("run none.mcc --random", "none.mcc: no such file"),
    "a negative limit": ("run good.mcc -i good.npz --limit -1", "-1 is not in the range"),
    "no inputs to try": ("verify good.mcc --samples 0", "0 is not in the range"),
    "another original": (
        "verify good.mcc --no-onnxruntime --against open.onnx",
        "it is not the model that the artifact was compiled from",
    ),
    "an artifact as original": (
        "verify good.mcc --no-onnxruntime --against good.npz",
        "onnxruntime does not load it",
    ),
    "one bit": ("run flipped.mcc --random", "a damaged one"),
    "no commands": ("run empty_commands.mcc --random", "the accelerator program is damaged"),
    "no image": ("run no_image.mcc --random", "the accelerator program lacks 'image.npy'"),
    "no program": ("disasm junk_program.mcc", "the accelerator program is damaged"),
    "no text": ("verify binary_module.mcc", "lowered.mir: is no text"),
    "no report": ("info junk_report.mcc", "report.json: is damaged"),
    "commands past the end": ("run no_commands.mcc --random", "lies outside of the program"),
    "outputs past the end": ("run far_outside.mcc --random", "lies outside of the program"),
    "illegal commands": ("run illegal.mcc --random", "command 0"),
    "a newer artifact": ("run newer.mcc --random", "artifact format 99"),
    "unsigned members": ("run unsigned.mcc --random", "is not in the manifest"),
    "no machine": ("run no_target.mcc --random", "compile the model again"),
    "an odd type": ("run odd_type.mcc --random", "its manifest is malformed"),
    "an odd output": ("run odd_output.mcc --random", "does not compute output 'z'"),
    "no manifest": ("run no_manifest.mcc --random", "its manifest is malformed"),
    "binary text": ("opt nontext.mir", "nontext.mir: cannot be read"),
    "yields too much": ("opt yields.mir --passes dce", "yields.mir: module m names 1 outputs"),
    "a stage of another target": (
        "good.onnx --target cpu --emit tiled",
        "has no stage 'tiled'\n  known, in order: imported, optimized,",
    ),
    "commands of no layer": ("disasm good.mcc --layer none", "the program has no layer 'none'"),
    "two programs": ("run good.mcc --elf good.elf", "one program is needed"),
    "inputs of a program": ("run --elf good.elf -i good.npz", "--input is for artifacts"),
    "threads of a program": ("run --elf good.elf --threads 1", "--threads is for artifacts"),
    "another machine to run on": (
        "run good.mcc --random --target gemmini",
        "the target that it was compiled for",
    ),
    "two kinds of inputs": ("run good.mcc --random -i good.npz", "exclude each other"),
    "threads of a simulator": ("run good.mcc --random --threads 2", "--threads is for CPUs"),
    "threads of a cycle model": ("profile good.mcc --threads 2", "--threads is for CPUs"),
}


@pytest.mark.parametrize("title", list(CASES))
def test_a_mistake_is_one_message(
    files: Path,
    title: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command, message = CASES[title]
    monkeypatch.chdir(files)
    before = set(os.listdir(files))
    assert run(command.split()) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert "Traceback" not in printed.err
    assert not printed.out
    assert printed.err.count("rror: ") == 1
    assert set(os.listdir(files)) == before


def test_a_word_for_nothing_to_quantize(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, output = str(files / "good.onnx"), str(tmp_path / "a.mir")
    assert run([model, "--emit", "optimized", "-o", output, "--calibrate", "any.npz"]) == 0
    assert run([model, "--emit", "quantized", "-o", output, "--calibrate", "any.npz"]) == 0
    assert "stays float on cpu" in capsys.readouterr().err
    assert run([model, "--emit", "quantized", "-o", output, "--weight-bits", "4"]) == 0
    assert "--weight-bits change nothing" in capsys.readouterr().err.replace("\n", " ")


def test_labels_that_are_none(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = np.zeros((5, 8), np.float32)
    save_arrays(files / "labels.npz", x=x, label=np.zeros(2, int))
    assert run(["run", str(files / "good.mcc"), "-i", str(files / "labels.npz")]) == 0
    printed = capsys.readouterr()
    assert "array 'label' is int64[2], not one class number a sample" in printed.err
    assert "right" not in printed.out


def test_what_is_no_file_is_written_to_and_stays(files: Path) -> None:
    from mcc.ir import write_atomically

    pipe = files / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_atomically(pipe, b"content")
    assert os.read(reader, 100) == b"content"
    os.close(reader)
    assert pipe.is_fifo()
    pipe.unlink()
    link, real = files / "link", files / "real"
    link.symlink_to(real)
    write_atomically(link, b"content")
    assert link.is_symlink()
    assert real.read_bytes() == b"content"
    link.unlink()
    real.unlink()


def test_a_full_disk_leaves_nothing(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(old: str, new: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.chdir(files)
    before = set(os.listdir(files))
    monkeypatch.setattr(os, "replace", full)
    assert run(["good.onnx", "--target", "gemmini", "-o", "a.mcc"]) == 2
    assert set(os.listdir(files)) == before


@pytest.mark.parametrize(
    ("raised", "status", "message"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (BrokenPipeError(), 0, ""),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "No space left on device"),
        (MemoryError("Unable to allocate 8 TiB"), 2, "not enough memory: Unable to allocate 8 TiB"),
        (EOFError("no more"), 70, "EOFError: no more"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_what_stops_a_command(
    raised: BaseException,
    status: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(name: str) -> None:
        raise raised

    monkeypatch.setattr("mcc.runtime.load_target", stop)
    assert run(["targets", "gemmini"]) == status
    assert message in capsys.readouterr().err


def test_a_missing_judge_is_named(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert run(["verify", str(files / "good.mcc")]) == 2
    assert run(["verify", str(files / "good.mcc"), "--no-onnxruntime"]) == 0


def test_a_missing_cpu_compiler_is_named(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "tvm", None)
    monkeypatch.chdir(files)
    assert run(["good.onnx", "-o", "a.mcc"]) == 2
    assert "pip install 'mcc-compiler[cpu]'" in capsys.readouterr().err
    assert not (files / "a.mcc").exists()
