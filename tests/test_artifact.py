"""Artifacts: whole or refused."""

import os
import zipfile
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from mcc.ir import UserError, evaluate, weights_to_bytes
from mcc.runtime import Artifact, Manifest, Port, from_bytes, load, load_target


@pytest.fixture
def artifact() -> Artifact:
    manifest = Manifest(
        model="tiny",
        target=load_target("cpu").to_dict(),
        options={"level": "2"},
        versions={"mcc": "0.1.0"},
        inputs=(Port(name="x", dtype="f32", shape=(1, 4), low=0.0, high=1.0),),
        outputs=(Port(name="y", dtype="i8", shape=(1, 2), scale=0.5, zero=3),),
    )
    text = 'module @tiny(%x: f32[1,4]) -> ("y") {\n  yield(%x)\n}\n'
    return Artifact(manifest, {"module.mir": text.encode(), "data.bin": bytes(range(256)) * 8})


def test_an_artifact_reads_back(artifact: Artifact, tmp_path: Path) -> None:
    path = tmp_path / "tiny.mcc"
    artifact.save(path)
    back = load(path)
    assert dict(back.members) == dict(artifact.members)
    assert back.manifest.inputs == artifact.manifest.inputs
    assert back.manifest.outputs == artifact.manifest.outputs
    assert back.target == artifact.target
    assert back.module("module").output_names == ("y",)


def test_equal_artifacts_are_equal_bytes(artifact: Artifact) -> None:
    assert artifact.to_bytes() == Artifact(artifact.manifest, dict(artifact.members)).to_bytes()


SCALED = """module @scaled(%x: f32[10]) -> ("y") {
  %w = constant(@w) : f32[10]
  %y = mul(%x, %w) : f32[10]
  yield(%y)
}
"""


@pytest.mark.parametrize(
    ("format_", "member"), [(1, "module.safetensors"), (2, "weights.safetensors")]
)
def test_weights_are_found_where_the_format_puts_them(
    artifact: Artifact, format_: int, member: str
) -> None:
    w = np.arange(10, dtype=np.float32)
    members = {"module.mir": SCALED.encode(), member: weights_to_bytes({"w": w})}
    manifest = artifact.manifest.model_copy(update={"format": format_})
    back = from_bytes(Artifact(manifest, members).to_bytes())
    [y] = evaluate(back.module("module"), {"x": np.full(10, 2, np.float32)}).values()
    assert np.array_equal(y, 2 * w)


def test_an_artifact_may_come_through_a_pipe(artifact: Artifact, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = Thread(target=pipe.write_bytes, args=(artifact.to_bytes(),))
    writer.start()
    assert dict(load(pipe).members) == dict(artifact.members)
    writer.join()


def test_a_missing_member_names_those_there_are(artifact: Artifact) -> None:
    with pytest.raises(UserError, match=r"no member 'lowered.mir'\n  it has data.bin, module.mir"):
        artifact.module("lowered")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none.mcc: no such file"):
        load(tmp_path / "none.mcc")


@pytest.mark.parametrize("length", [0, 10, 200, -1])
def test_a_truncated_file_is_refused(artifact: Artifact, length: int) -> None:
    with pytest.raises(UserError, match=r"not an mcc artifact, or a damaged one"):
        from_bytes(artifact.to_bytes()[:length], "cut.mcc")


def test_a_flipped_bit_is_found_wherever_it_lies(artifact: Artifact) -> None:
    content = artifact.to_bytes()
    refused = 0
    for place in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        try:
            from_bytes(bytes(damaged))
        except UserError:
            refused += 1
    # What remains are bits that say nothing of the content, such as times of members.
    assert refused > 0.8 * len(range(0, len(content), 7))


def test_a_changed_byte_is_found(artifact: Artifact, tmp_path: Path) -> None:
    path = tmp_path / "changed.mcc"
    artifact.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["data.bin"] = b"x" + members["data.bin"][1:]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(UserError, match=r"member 'data.bin' is damaged"):
        load(path)


def test_a_removed_member_is_found(artifact: Artifact, tmp_path: Path) -> None:
    path = tmp_path / "removed.mcc"
    artifact.save(path)
    with zipfile.ZipFile(path) as archive:
        manifest = archive.read("manifest.json")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", manifest)
    with pytest.raises(UserError, match=r"member 'data.bin' is missing"):
        load(path)


def test_a_newer_format_is_refused(artifact: Artifact) -> None:
    newer = artifact.manifest.model_copy(update={"format": 99})
    with pytest.raises(
        UserError, match=r"artifact format 99, this mcc reads up to 2\n  update mcc"
    ):
        from_bytes(Artifact(newer, artifact.members).to_bytes())


def test_saving_into_a_missing_folder_writes_nothing(artifact: Artifact, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be written: there is no folder"):
        artifact.save(tmp_path / "none" / "tiny.mcc")
    assert not list(tmp_path.iterdir())
