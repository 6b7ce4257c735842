"""Target files: what ships, and what a wrong one says."""

import json
import re
from pathlib import Path

import pytest

from mcc.ir import UserError
from mcc.runtime.accelerator import EXTENSIONS
from mcc.runtime.target import Target, load_target, target_names

SHIPPED = Path(__file__).resolve().parents[1] / "runtime" / "targets"


def test_the_shipped_targets_load() -> None:
    assert {"cpu", "gemmini", "riscv-accel"} <= set(target_names())
    for name in target_names():
        assert load_target(name).name == name


def test_gemmini_has_no_extension_and_riscv_accel_has_all() -> None:
    assert load_target("gemmini").extensions == frozenset()
    some_gemminis = {"loop_conv", "pixel_repeats"}  # no program of ours needs them
    ours = frozenset(EXTENSIONS) - some_gemminis
    assert load_target("riscv-accel").extensions == ours
    assert load_target("riscv-accel").has("lut")
    assert not load_target("gemmini").has("lut")


def test_the_page_has_every_extension(repository: Path) -> None:
    text = (repository / "docs" / "accelerator.md").read_text()
    section = text.partition("\n## Extensions\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(EXTENSIONS)


def test_memory_sizes_are_gemmini_s() -> None:
    machine = load_target("gemmini").machine
    assert machine.scratchpad.total_bytes == 256 * 1024
    assert machine.accumulator.total_bytes == 64 * 1024


@pytest.mark.parametrize("name", ["cpu", "gemmini", "riscv-accel"])
def test_a_record_survives_json(name: str) -> None:
    target = load_target(name)
    assert Target.from_dict(json.loads(json.dumps(target.to_dict()))) == target


def test_a_target_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_target("cpu").name = "other"


def test_a_file_is_loaded_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text((SHIPPED / "gemmini.toml").read_text().replace('"gemmini"', '"mine"'))
    assert load_target(path).name == "mine"
    assert load_target(str(path)).machine == load_target("gemmini").machine


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"unknown target 'gemini'; known: aarch64, cpu, gemmini"):
        load_target("gemini")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(UserError, match=r"nowhere/machine.toml: cannot read the target file"):
        load_target("nowhere/machine.toml")


def test_the_cpu_has_no_accelerator() -> None:
    with pytest.raises(UserError, match="target cpu has no accelerator"):
        _ = load_target("cpu").machine


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("dim = 16", "dim = ", "not a TOML file"),
        ("dim = 16", 'dim = "16"', "accelerator.dim: Input should be a valid integer"),
        ("dim = 16", "dim = 16\nwidth = 3", "accelerator.width: Extra inputs are not permitted"),
        ("dim = 16\n", "", "accelerator.dim: Field required"),
        ("row_bytes = 16", "row_bytes = 32", "scratchpad.row_bytes must be dim"),
        ("row_bytes = 64", "row_bytes = 32", r"accumulator.row_bytes must be 4 \* dim"),
        ("extensions = []", 'extensions = ["turbo"]', "unknown extension 'turbo'; known: per_ch"),
        ("extensions = []", 'extensions = ["lut"]', "extension lut needs tables"),
        ("extensions = []", 'extensions = ["per_channel"]', "per_channel needs scale_rows"),
        ('"riscv_accel"', '"cpu"', "only it may have one"),
        ("max_move_bytes = 64", "max_move_bytes = 60", "max_move_bytes must be a multiple of dim"),
    ],
)
def test_a_bad_file_names_the_file_and_the_field(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    text = (SHIPPED / "gemmini.toml").read_text()
    assert old in text
    path = tmp_path / "bad.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=rf"bad\.toml: .*{message}"):
        load_target(path)
