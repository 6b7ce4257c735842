"""Files that users may hand to mcc by mistake: models, samples, artifacts, each wrong somewhere."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
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


def models(folder: Path) -> None:
    """`good.onnx`, and models of which each has one thing wrong."""
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
    """`good.npz`, and samples that do not fit it, or are none."""
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
    """`good.mcc`, and artifacts that somebody damaged."""
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
