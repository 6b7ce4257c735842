"""What users get wrong: each mistake ends in one message, status 2, and no output.

A case is a line; files that it needs are made by `files`, once.
"""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from mistakes import artifacts, models, samples, save_arrays

from mcc.cli import run


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
