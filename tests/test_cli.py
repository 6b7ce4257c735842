"""The command line: what it prints, what it writes, how it ends."""

import gc
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mcc.cli import COMMANDS, main, run
from mcc.runtime.profiling import node_label

Run = Callable[..., "Outcome"]


class Outcome:
    """A command's exit status and what it printed."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def json(self) -> dict[str, object]:
        record: dict[str, object] = json.loads(self.out)
        return record


@pytest.fixture
def mcc(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> Outcome:
        status = run([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return Outcome(status, printed.out, printed.err)

    return call


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that compiles in no time: relu(x @ w + b), with a symbolic batch."""
    weights = np.linspace(-1, 1, 32, dtype=np.float32).reshape(8, 4)
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "w", "b"], ["h"], name="dense"),
            helper.make_node("Relu", ["h"], ["y"], name="act"),
        ],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [
            onnx.numpy_helper.from_array(weights, "w"),
            onnx.numpy_helper.from_array(np.ones(4, np.float32), "b"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = tmp_path_factory.mktemp("models") / "small.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def compiled(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("artifacts") / "small.mcc"
    assert run([str(small), "--target", "riscv-accel", "-o", str(path)]) == 0
    return path


def test_help_lists_every_command(mcc: Run) -> None:
    outcome = mcc("--help")
    assert outcome.status == 0
    for name in COMMANDS:
        assert name in outcome.out


@pytest.mark.parametrize(("given", "used"), [(None, "1"), ("3", "3")])
def test_numpy_multiplies_with_one_thread_unless_told(
    given: str | None, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["mcc", "--version"])
    levels = gc.get_threshold()
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    if given is not None:
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", given)
    with pytest.raises(SystemExit):
        main()
    gc.set_threshold(*levels)  # the command line sets others
    assert os.environ["OPENBLAS_NUM_THREADS"] == used


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help(mcc: Run, name: str) -> None:
    outcome = mcc(name, "--help")
    assert outcome.status == 0
    assert outcome.out.startswith("Usage: mcc")


def test_a_model_alone_compiles(
    mcc: Run, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = mcc(small, "--target", "riscv-accel", "-O2")
    assert outcome.status == 0, outcome.err
    assert (tmp_path / "small.mcc").is_file()
    assert "real samples" in outcome.err
    for word in ("layers", "MACs", "commands", "estimated cycles", "scratchpad peak"):
        assert word in outcome.out


def test_compile_as_json(mcc: Run, small: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.mcc"
    outcome = mcc(small, "--target", "gemmini", "-o", path, "--json", "--timing")
    assert outcome.status == 0
    assert outcome.json["target"] == "gemmini"
    assert outcome.json["totals"]
    assert outcome.json["passes"]


def test_stages_are_listed_printed_and_read_back(mcc: Run, small: Path, tmp_path: Path) -> None:
    listed = mcc(small, "--target", "riscv-accel", "--emit", "help")
    names = listed.out.split()
    for stage in ("imported", "optimized", "quantized", "lowered", "tiled", "onnx"):
        assert stage in names
    printed = mcc(small, "--emit", "optimized")
    assert printed.out.startswith("module @")
    text = tmp_path / "tiled.mir"
    assert mcc(small, "--target", "riscv-accel", "--emit", "tiled", "-o", text).status == 0
    whole, resumed = tmp_path / "whole.mcc", tmp_path / "resumed.mcc"
    assert mcc(small, "--target", "riscv-accel", "-o", whole).status == 0
    outcome = mcc(text, "--target", "riscv-accel", "--from", "tiled", "-o", resumed)
    assert outcome.status == 0, outcome.err
    first, second = mcc("disasm", whole), mcc("disasm", resumed)
    assert first.out == second.out


def test_the_exported_model_runs_in_onnxruntime(mcc: Run, small: Path, tmp_path: Path) -> None:
    from reference import onnxruntime_outputs

    path = tmp_path / "q.onnx"
    outcome = mcc(small, "--quantize", "int8", "--emit", "onnx", "-o", path)
    assert outcome.status == 0, outcome.err
    x = np.random.default_rng(0).random((1, 8), np.float32)
    (exact,) = onnxruntime_outputs(small, {"x": x})
    (rounded,) = onnxruntime_outputs(path, {"x": x})
    assert np.abs(exact - rounded).max() < 0.05
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds


def test_passes_options_and_explanations(mcc: Run, small: Path) -> None:
    outcome = mcc(
        small, "--passes", "fuse-activation,dce", "--emit", "optimized", "--explain", "dce"
    )
    assert outcome.status == 0, outcome.err
    assert "relu(" not in outcome.out
    timed = mcc(small, "--emit", "optimized", "--timing", "--print-after", "dce")
    assert timed.status == 0
    assert "// after dce" in timed.out
    assert "total" in timed.out


def test_run_prints_predictions(mcc: Run, compiled: Path, tmp_path: Path) -> None:
    samples = tmp_path / "samples.npz"
    np.savez(samples, x=np.random.default_rng(1).random((5, 8), np.float32), label=np.zeros(5, int))
    results = tmp_path / "out.npz"
    outcome = mcc("run", compiled, "--input", samples, "-o", results)
    assert outcome.status == 0, outcome.err
    assert "sample 4: class" in outcome.out
    assert "of 5" in outcome.out
    assert "cycles" in outcome.out
    assert np.load(results)["y"].shape == (5, 4)
    record = mcc("run", compiled, "--input", samples, "--json").json
    assert record["samples"] == 5
    assert isinstance(record["cycles"], int)


def test_a_target_without_a_clock_counts_cycles_only(
    mcc: Run, small: Path, repository: Path, tmp_path: Path
) -> None:
    text = (repository / "runtime" / "targets" / "gemmini.toml").read_text()
    (tmp_path / "mine.toml").write_text(text.replace("clock_mhz = 1000.0", "clock_mhz = 0.0"))
    path = tmp_path / "a.mcc"
    assert mcc(small, "--target", tmp_path / "mine.toml", "-o", path).status == 0
    outcome = mcc("run", path, "--random")
    assert outcome.out.endswith(" cycles for one inference, its caches cold\n")
    assert "milliseconds" not in mcc("run", path, "--random", "--json").json


def test_run_needs_inputs(mcc: Run, compiled: Path) -> None:
    outcome = mcc("run", compiled)
    assert outcome.status == 2
    assert "no inputs are given" in outcome.err
    assert mcc("run", compiled, "--random").status == 0


def test_verify_passes_and_says_what_it_compared(mcc: Run, compiled: Path, small: Path) -> None:
    outcome = mcc("verify", compiled, "--against", small)
    assert outcome.status == 0, outcome.out
    assert "simulator against evaluator: 0 of" in outcome.out
    assert "ORT_ENABLE_ALL" in outcome.out
    assert "ORT_DISABLE_ALL" in outcome.out
    assert "SQNR" in outcome.out
    assert mcc("verify", compiled, "--json").json["passed"] is True


def test_verify_fails_on_a_machine_that_differs(mcc: Run, compiled: Path, tmp_path: Path) -> None:
    """A reference with other weights stands for a machine that computes something else."""
    from mcc.runtime import Artifact, load

    artifact = load(compiled)
    text = artifact.members["lowered.mir"].decode()
    assert "clamp" not in text
    changed = text.replace("hi=127", "hi=126").replace("requantize(", "requantize(", 1)
    changed = changed if changed != text else text.replace(" zero=", " lo=-3, zero=", 1)
    assert changed != text
    members = dict(artifact.members) | {"lowered.mir": changed.encode()}
    path = tmp_path / "wrong.mcc"
    Artifact(artifact.manifest, members).save(path)
    outcome = mcc("verify", path, "--no-onnxruntime", "--samples", "8")
    assert outcome.status == 1
    assert "FAILED" in outcome.out


def test_opt_takes_and_gives_text(mcc: Run, small: Path, tmp_path: Path) -> None:
    text = tmp_path / "small.mir"
    assert mcc(small, "--emit", "imported", "-o", text).status == 0
    outcome = mcc("opt", text, "--passes", "fuse-activation,dce")
    assert outcome.status == 0, outcome.err
    assert "relu(" not in outcome.out
    written = tmp_path / "after.mir"
    assert mcc("opt", text, "--passes", "fuse-activation", "-o", written).status == 0
    assert mcc("opt", written, "--passes", "").status == 0


def test_info_on_models_modules_and_artifacts(
    mcc: Run, small: Path, compiled: Path, tmp_path: Path
) -> None:
    text = tmp_path / "small.mir"
    assert mcc(small, "--emit", "imported", "-o", text).status == 0
    for source in (small, text):
        outcome = mcc("info", source, "--json")
        facts = outcome.json["facts"]
        assert isinstance(facts, dict)
        assert facts["MACs"] == 32
    assert "members" in mcc("info", compiled).out
    assert mcc("info", compiled, "--json").json["target"] == "riscv-accel"


def test_targets_and_passes_are_listed(mcc: Run) -> None:
    assert {"cpu", "gemmini", "riscv-accel"} <= set(mcc("targets").out.split())
    assert "dim = 16" in mcc("targets", "gemmini").out
    cpu = mcc("targets", "riscv64").out
    assert "  cpu = generic-rv64\n" in cpu
    assert "cycles_per_command" not in cpu
    assert "canonicalize" in mcc("passes").out
    assert isinstance(mcc("passes", "dce", "--json").json, list)


# What the user gets wrong: one message with the place and the remedy, and no half-written output.


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    save: Callable[..., None] = np.savez
    save(path, **arrays)


def broken(path: Path) -> Path:
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("NonMaxSuppression", ["boxes", "scores"], ["y"], name="pick"),
                helper.make_node("Bernoulli", ["scores"], ["z"], name="draw"),
            ],
            "broken",
            [
                helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, 6, 4]),
                helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 1, 6]),
            ],
            [
                helper.make_tensor_value_info("y", TensorProto.INT64, ["n", 3]),
                helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 1, 6]),
            ],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    onnx.save(model, path)
    return path


def test_mistakes_end_with_a_message_and_status_two(
    mcc: Run, small: Path, compiled: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(small.read_bytes()[:60])
    damaged = tmp_path / "damaged.mcc"
    damaged.write_bytes(compiled.read_bytes()[:300])
    wrong: dict[str, dict[str, np.ndarray]] = {
        "name": {"other": np.zeros((2, 3), np.float32), "more": np.zeros((2, 9), np.int64)},
        "shape": {"x": np.zeros((2, 7), np.float32)},
    }
    for name, arrays in wrong.items():
        save_arrays(tmp_path / f"{name}.npz", arrays)
    text = tmp_path / "bad.mir"
    text.write_text('module @m(%x: f32[1]) -> ("y") {\n  %y = nope(%x) : f32[1]\n  yield(%y)\n}\n')
    output = tmp_path / "out.mcc"
    accel = ("--target", "riscv-accel", "-o", output)
    cases: dict[str, tuple[tuple[object, ...], tuple[str, ...]]] = {
        "missing model": (("none.onnx",), ("none.onnx", "no such file")),
        "truncated model": ((cut, *accel), ("cut.onnx",)),
        "unknown ops": (
            (broken(tmp_path / "broken.onnx"), *accel),
            ("NonMaxSuppression", "pick", "opset 17"),
        ),
        "missing calibration": (
            (small, *accel, "--calibrate", tmp_path / "none.npz"),
            ("none.npz", "no such file of samples"),
        ),
        "calibration shape": (
            (small, *accel, "--calibrate", tmp_path / "shape.npz"),
            ("shape.npz", "x f32[1,8]"),
        ),
        "unknown target": ((small, "--target", "tpu"), ("tpu", "gemmini")),
        "unknown pass": ((small, "--passes", "fuse-rely"), ("fuse-rely", "known")),
        "unknown stage": ((small, "--emit", "tilde"), ("tilde", "optimized")),
        "unknown level": ((small, "-O7"), ("-O7", "-O2")),
        "unknown start": ((small, "--from", "nowhere"), ("nowhere", "optimized")),
        "start without text": ((small, "--from", "lowered"), ("lowered", ".mir")),
        "range": ((small, *accel, "--input-range", "3,1"), ("3,1",)),
        "no folder": ((small, "-o", tmp_path / "no" / "a.mcc", *accel[:2]), ("cannot be written",)),
        "damaged artifact": (("run", damaged, "--random"), ("damaged.mcc", "compile the model")),
        "no artifact": (("run", small, "--random"), ("small.onnx", "not an mcc artifact")),
        "wrong input name": (
            ("run", compiled, "--input", tmp_path / "name.npz"),
            ("name.npz", "'x'"),
        ),
        "wrong input shape": (
            ("run", compiled, "--input", tmp_path / "shape.npz"),
            ("shape.npz", "x f32[1,8]"),
        ),
        "unknown op in text": (("opt", text, "--passes", "dce"), ("bad.mir:2:", "unknown op")),
    }
    for title, (arguments, words) in cases.items():
        outcome = mcc(*arguments)
        assert outcome.status == 2, f"{title}: {outcome.err}"
        assert "Traceback" not in outcome.err, title
        for word in words:
            assert word in outcome.err, f"{title}: {word!r} is not in\n{outcome.err}"
        assert not output.exists(), title
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_mistake_as_json(mcc: Run, small: Path) -> None:
    outcome = mcc(small, "--target", "tpu", "--json")
    assert outcome.status == 2
    error = str(outcome.json["error"])
    assert "tpu" in error
    assert "gemmini" in error


def test_a_wrong_option_is_a_usage_error(mcc: Run, small: Path) -> None:
    outcome = mcc(small, "--quantise", "int8")
    assert outcome.status == 2
    assert "--quantize" in outcome.err


def test_our_own_bug_is_a_traceback(mcc: Run, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mcc.driver import Compilation

    def fail(self: object, source: object) -> None:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(Compilation, "artifact", fail)
    outcome = mcc(small)
    assert outcome.status == 70
    assert "ZeroDivisionError: on purpose" in outcome.err
    assert "This is a bug in mcc" in outcome.err


def test_a_label_of_nodes_names_the_first_and_counts_the_rest() -> None:
    fused = "model/activation/Relu;model/conv2d/BiasAdd"
    assert node_label((fused, "pool")) == "model/activation/Relu (+1)"
    assert node_label((fused,)) == "model/activation/Relu"
    assert node_label((";odd",)) == ";odd"
    assert node_label((fused, "pool"), whole=True) == f"{fused}, pool"
