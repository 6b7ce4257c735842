"""The shipped example, whole: compiled, saved, loaded, run, verified, exported, on every target."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Literal, cast

import numpy as np
import pytest
from onnx import helper
from onnx_models import Array, model_of
from reference import onnxruntime_outputs

import mcc
from mcc.backends.onnx import export
from mcc.cli import run
from mcc.driver import Compilation
from mcc.ir import Constant, evaluate, parse, print_module, weights_from_bytes
from mcc.options import Options
from mcc.runtime import WEIGHTS, Artifact, isa
from mcc.runtime import target as target_module
from mcc.runtime.program import Program
from mcc.verify import verify

Way = tuple[str, Literal["none", "int8"], Literal["strict", "portable"]]
WAYS: list[Way] = [
    ("cpu", "none", "strict"),
    ("cpu", "int8", "strict"),
    ("riscv-accel", "int8", "strict"),
    ("riscv-accel", "int8", "portable"),
    ("gemmini", "int8", "strict"),
    ("gemmini", "int8", "portable"),
]
QUANTIZED = [way for way in WAYS if way[1] == "int8"]


@pytest.fixture(scope="module")
def images(examples: Path) -> Array:
    with np.load(examples / "digits_samples.npz") as file:
        return cast("Array", file["image"])


@pytest.fixture(scope="module")
def compiled(examples: Path) -> Callable[[Way], Artifact]:
    @cache
    def make(way: Way) -> Artifact:
        target, quantize, mode = way
        return mcc.compile(
            examples / "digits.onnx",
            target=target,
            quantize=quantize,
            mode=mode,
            calibrate=examples / "digits_calibration.npz",
            samples=16,
        )

    return make


Make = Callable[[Way], Artifact]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_saved_artifact_computes_what_the_evaluator_does(
    compiled: Make, way: Way, images: Array, tmp_path: Path
) -> None:
    path = tmp_path / "digits.mcc"
    artifact = compiled(way)
    artifact.save(path)
    session = mcc.Session(path)
    assert [port.name for port in session.get_inputs()] == ["image"]
    lowered = artifact.module("lowered")
    for image in images[:3]:
        [logits] = session.run(None, {"image": image[None]})
        wanted = evaluate(lowered, {"image": image[None]})["logits"]
        if way[1] == "none":
            np.testing.assert_allclose(logits, wanted, rtol=1e-4, atol=1e-5)
        else:
            np.testing.assert_array_equal(logits, wanted)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_nothing_differs(compiled: Make, way: Way, images: Array) -> None:
    found = verify(compiled(way), [{"image": image[None]} for image in images[:2]])
    assert found.passed
    assert sum(check.differing for check in found.machine) == 0
    integers = [check for check in found.machine if check.dtype == "int8"]
    assert bool(integers) == (way[1] == "int8")
    for setting, checks in found.onnxruntime.items():
        # The example has one average, over 2 x 2; every other op is promised to be equal.
        assert sum(check.differing for check in checks) == 0, setting


@pytest.mark.parametrize("way", QUANTIZED, ids=str)
def test_the_exported_model_gives_the_same_in_onnxruntime(
    compiled: Make, way: Way, images: Array
) -> None:
    artifact = compiled(way)
    model = export(artifact.module("module")).SerializeToString()
    session = mcc.Session(artifact)
    for image in images[:4]:
        feeds = {"image": image[None]}
        [judged] = onnxruntime_outputs(model, feeds, integers=True)
        np.testing.assert_array_equal(session.run(None, feeds)[0], judged)


def test_a_batch_is_looped_over(compiled: Make, images: Array) -> None:
    ways: tuple[Way, ...] = (("cpu", "none", "strict"), ("gemmini", "int8", "strict"))
    for way in ways:
        session = mcc.Session(compiled(way))
        [together] = session.run(None, {"image": images[:5]})
        alone = [session.run(["logits"], {"image": image[None]})[0] for image in images[:5]]
        np.testing.assert_array_equal(together, np.concatenate(alone))
        assert session.run(None, {"image": images[:0]})[0].shape == (0, 10)


@pytest.mark.parametrize("target", ["cpu", "gemmini"])
def test_integer_inputs_and_outputs(
    examples: Path, images: Array, target: str, compiled: Make
) -> None:
    artifact = mcc.compile(
        examples / "digits.onnx",
        target=target,
        quantize="int8",
        io="int8",
        calibrate=examples / "digits_calibration.npz",
        samples=16,
    )
    [image], [logits] = artifact.manifest.inputs, artifact.manifest.outputs
    assert (image.dtype, logits.dtype) == ("i8", "i8")
    assert image.scale is not None
    assert logits.scale is not None
    quantized = np.clip(np.rint(images[:1] / image.scale) + (image.zero or 0), -128, 127)
    [found] = mcc.Session(artifact).run(None, {"image": quantized.astype(np.int8)})
    real = (found.astype(np.float32) - np.float32(logits.zero or 0)) * np.float32(logits.scale)
    [wanted] = mcc.Session(compiled((target, "int8", "strict"))).run(None, {"image": images[:1]})
    np.testing.assert_array_equal(real, wanted)
    checked = verify(
        artifact, [{"image": quantized.astype(np.int8)}], against=examples / "digits.onnx"
    )
    assert checked.passed
    assert all(not check.differing for checks in checked.onnxruntime.values() for check in checks)
    assert checked.against[0].same_argmax == 1


def test_float_samples_run_on_integer_inputs(examples: Path, tmp_path: Path) -> None:
    path = tmp_path / "io.mcc"
    calibrate = ("--calibrate", str(examples / "digits_calibration.npz"), "--samples", "16")
    made = run(
        [
            str(examples / "digits.onnx"),
            *("--target", "gemmini", "--io", "int8"),
            *calibrate,
            *("-o", str(path), "--json"),
        ]
    )
    assert made == 0
    assert run(["run", str(path), "-i", str(examples / "digits_samples.npz"), "--limit", "3"]) == 0


def test_gemminis_stream_is_the_portable_subset(compiled: Make) -> None:
    ways: tuple[Way, ...] = (("gemmini", "int8", "strict"), ("gemmini", "int8", "portable"))
    for way in ways:
        program = Program.from_artifact(compiled(way))
        assert isa.check_portable(program.commands) is None
        text = isa.disassemble(program.commands)
        np.testing.assert_array_equal(isa.assemble(text), program.commands)


@pytest.mark.parametrize(("target", "quantize"), [("cpu", "none"), ("gemmini", "int8")])
def test_every_stage_prints_parses_and_goes_on(
    examples: Path, target: str, quantize: Literal["none", "int8"]
) -> None:
    options = Options(target=target, quantize=quantize, calibrate=None, samples=2)
    compilation = Compilation(options)
    texts: dict[str, tuple[str, dict[str, Array]]] = {}
    for stage, module in compilation.walk(examples / "digits.onnx"):
        printed = print_module(module)
        texts[stage] = (printed.text, dict(printed.weights))
        again = print_module(parse(printed.text, printed.weights))
        assert again.text == printed.text, stage
    assert list(texts) == compilation.stage_names()
    whole = compilation.artifact(examples / "digits.onnx")
    for stage, (text, weights) in texts.items():
        if target == "cpu" and stage not in ("imported", "lowered"):
            continue  # one whole and one late start are enough to wait for
        resumed = Compilation(
            Options(target=target, quantize=quantize, samples=2, start=stage)
        ).artifact(parse(text, weights))
        if target == "gemmini":
            assert resumed.members["commands.npy"] == whole.members["commands.npy"], stage
            assert resumed.members["image.npy"] == whole.members["image.npy"], stage
        else:
            feeds = {"image": np.full((1, 1, 8, 8), 0.5, np.float32)}
            np.testing.assert_array_equal(
                mcc.Session(resumed).run(None, feeds)[0], mcc.Session(whole).run(None, feeds)[0]
            )


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_weights_are_stored_once(compiled: Make, way: Way) -> None:
    artifact = compiled(way)
    files = [name for name in artifact.members if name.endswith(".safetensors")]
    assert files == [WEIGHTS]
    arrays = weights_from_bytes(artifact.member(WEIGHTS), WEIGHTS)
    contents = {(str(array.dtype), array.shape, array.tobytes()) for array in arrays.values()}
    assert len(contents) == len(arrays)
    used = {
        op.data.name
        for name in ("module", "lowered")
        for op in artifact.module(name).body
        if isinstance(op, Constant)
    }
    assert arrays.keys() <= used


def test_what_the_host_computes_with_is_stored_with_the_weights(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = rng.standard_normal((12, 16)).astype(np.float32)
    feeds: dict[str, Array] = {"words": np.array([3, 11, 0], np.int64)}
    weights = {"table": table, "w": rng.standard_normal((16, 16)).astype(np.float32)}
    nodes = [
        helper.make_node("Gather", ["table", "words"], ["rows"]),
        helper.make_node("Softmax", ["rows"], ["shares"]),
        helper.make_node("MatMul", ["shares", "w"], ["y"]),
    ]
    artifact = mcc.compile(model_of(nodes, feeds, ["y"], weights), target="gemmini")
    arrays = weights_from_bytes(artifact.member(WEIGHTS), WEIGHTS)
    assert sum(array.shape == table.shape for array in arrays.values()) == 1
    program = artifact.module("program")
    assert any(isinstance(op, Constant) and op.data.array.shape == (12, 16) for op in program.body)
    artifact.save(tmp_path / "words.mcc")
    [y] = mcc.Session(tmp_path / "words.mcc").run(None, feeds)
    assert np.array_equal(y, evaluate(artifact.module("lowered"), feeds)["y"])


def test_the_same_model_gives_the_same_bytes(examples: Path, compiled: Make) -> None:
    again = mcc.compile(
        examples / "digits.onnx",
        target="gemmini",
        quantize="int8",
        calibrate=examples / "digits_calibration.npz",
        samples=16,
    )
    first = compiled(("gemmini", "int8", "strict"))
    assert dict(again.members) == dict(first.members)


def test_a_queue_of_any_size_gives_the_same_bits(
    compiled: Make, images: Array, examples: Path, tmp_path: Path
) -> None:
    shipped = Path(target_module.__file__).parent / "targets" / "riscv-accel.toml"
    text = shipped.read_text(encoding="utf-8")
    small = text.replace("records = 128", "records = 3").replace("loops = 8", "loops = 1")
    assert small != text
    target = tmp_path / "small.toml"
    target.write_text(small, encoding="utf-8")
    calibration = examples / "digits_calibration.npz"
    artifact = mcc.compile(
        examples / "digits.onnx", target=str(target), calibrate=calibration, samples=16
    )
    nested = Program.from_artifact(compiled(("riscv-accel", "int8", "strict")))
    flat = Program.from_artifact(artifact)
    assert _records(flat) > _records(nested)
    feeds = {"image": images[:1]}
    [wanted] = evaluate(artifact.module("lowered"), feeds).values()
    np.testing.assert_array_equal(mcc.Session(artifact).run(None, feeds)[0], wanted)


def _records(program: Program) -> int:
    return sum(layer.records[1] for layer in program.layers)
