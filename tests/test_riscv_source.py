"""The C form of a program: loops rolled, one header and one source, and what is refused."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from mcc.backends import comment_text, string_literal
from mcc.backends.riscv_accel.riscv.literals import float_literal
from mcc.backends.riscv_accel.riscv.rolled import statement
from mcc.backends.riscv_accel.riscv.source import resource
from mcc.backends.riscv_accel.riscv.toolchain import build_elf, toolchain_for
from mcc.cli import run as run_command
from mcc.ir import UserError
from mcc.runtime import load_target
from mcc.runtime.isa import Fence, MoveIn, scratchpad
from mcc.runtime.soc import run_elf

needs_compiler = pytest.mark.skipif(
    find_spec("ziglang") is None or find_spec("unicorn") is None,
    reason="needs ziglang and unicorn (extra `riscv`)",
)


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory, examples: Path) -> Path:
    """The example model as `digits.c` and `digits.h`, int8 in and out; the folder."""
    folder = tmp_path_factory.mktemp("c")
    arguments = [str(examples / "digits.onnx"), "--target", "gemmini", "--io", "int8"]
    assert run_command([*arguments, "--emit", "c", "-o", str(folder / "digits.c")]) == 0
    return folder


def test_one_header_says_how_to_call(generated: Path) -> None:
    header = (generated / "digits.h").read_text()
    assert "void model_run(const int8_t *image, int8_t *logits);" in header
    assert "#define MODEL_IMAGE_SIZE 64" in header
    assert "#define MODEL_LOGITS_SIZE 10" in header
    assert re.search(r"arena of the accelerator +\d+ \(lower bound \d+\)", header)
    assert "image: int8_t 1x1x8x8: real = " in header
    assert sorted(path.name for path in generated.iterdir()) == ["digits.c", "digits.h"]


def test_loops_stay_loops(generated: Path) -> None:
    source = (generated / "digits.c").read_text()
    issued = len(re.findall(r"^ +ACCEL\(", source, re.MULTILINE))
    loops = len(re.findall(r"^ +for \(uint64_t i\d", source, re.MULTILINE))
    assert loops > 20
    assert 100 < issued < 700  # of about 1,200 commands
    assert '#include "digits.h"' in source
    assert "from /stem/stem.0/Conv" in source
    assert not re.search(r"#include (?!<std(int|def)\.h>|\"digits\.h\")", source)


@needs_compiler
@pytest.mark.slow
def test_a_program_of_ones_own_embeds_it(generated: Path) -> None:
    target = load_target("gemmini")
    main = """
#include "digits.h"
void board_exit(int code);
int main(void) {
  static int8_t image[MODEL_IMAGE_SIZE], logits[MODEL_LOGITS_SIZE], again[MODEL_LOGITS_SIZE];
  for (int i = 0; i < MODEL_IMAGE_SIZE; i++) image[i] = (int8_t)(i * 37);
  model_run(image, logits);
  model_run(image, again);
  int different = 0, spread = 0;
  for (int i = 0; i < MODEL_LOGITS_SIZE; i++) {
    different += logits[i] != again[i];
    spread |= logits[i] ^ logits[0];
  }
  return different || !spread;
}
void board_trap(void) { board_exit(3); }
"""
    files = {
        "digits.c": (generated / "digits.c").read_text(),
        "digits.h": (generated / "digits.h").read_text(),
        "main.c": main,
        "htif.c": "#include <stdint.h>\n" + resource("board/htif.c"),
        "start.S": resource("board/start.S"),
        "link.ld": resource("board/link.ld").replace("RAM_BASE", "0x80000000"),
    }
    result = run_elf(build_elf(target, files), target)
    assert result.exit_code == 0
    assert result.commands > 1000


@needs_compiler
@pytest.mark.parametrize(
    ("target", "io", "options"),
    [
        ("gemmini", "float", []),
        ("riscv-accel", "int8", ["-DMODEL_OBSERVE_ON_CHIP"]),
        ("nutshell", "int8", []),
    ],
)
def test_a_strict_compiler_has_nothing_to_say(
    target: str, io: str, options: list[str], examples: Path, tmp_path: Path
) -> None:
    path = tmp_path / "digits.c"
    model = [str(examples / "digits.onnx"), "--target", target, "--io", io]
    assert run_command([*model, "--emit", "c", "-o", str(path)]) == 0
    strict = ["-std=c11", "-ffreestanding", "-Wall", "-Wextra", "-Werror", *options]
    strict.append("-DMCC_ACCELERATOR_BASE=0x40800000u")
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "riscv64-freestanding-none"]
    done = subprocess.run(
        [*command, *strict, "-O1", "-c", str(path), "-o", str(tmp_path / "digits.o")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_queue_is_started_by_one_command(examples: Path, tmp_path: Path) -> None:
    path = tmp_path / "digits.c"
    model = [str(examples / "digits.onnx"), "--target", "riscv-accel", "--io", "int8"]
    assert run_command([*model, "--emit", "c", "-o", str(path)]) == 0
    text = path.read_text()
    (launch,) = re.findall(r"static void launch\d+\(STEP_PARAMETERS\) \{\n(.*?)\n\}", text, re.S)
    (records,) = re.findall(r"model_queue\[(\d+)\]\[3\]", text)
    commands = [line.strip() for line in launch.splitlines() if "ACCEL" in line]
    assert commands == ["ACCEL_FENCE();", f"ACCEL(43, QUEUE(0), {records}u);", "ACCEL_FENCE();"]
    # Where somebody observes, the layers' parts make up the whole.
    parts = re.findall(r"ACCEL\(43, QUEUE\((\d+)\), (\d+)u\);", text.replace(launch, ""))
    places = [int(place) for place, _ in parts]
    counts = [int(count) for _, count in parts]
    assert len(parts) > 5
    assert places == [24 * before for before in np.cumsum([0, *counts[:-1]])]
    assert sum(counts) <= int(records)


def test_a_statement_is_affine_in_the_loops() -> None:
    rows = np.arange(3)[:, None] * 16 + np.arange(2) * 64
    moves = MoveIn.pack(dram=4096 + rows * 16, local=scratchpad(rows), cols=16, rows=16)
    assert statement(moves, 1 << 20) == (
        "ACCEL(2, WEIGHTS(4096) + 0x100u * i0 + 0x400u * i1, "
        "0x10001000000000u + 0x10u * i0 + 0x40u * i1);"
    )
    assert statement(moves[:1, :1], 1024).startswith("ACCEL(2, ARENA(3072), 0x")
    assert statement(Fence.pack(), 0) == "ACCEL_FENCE();"
    falling = MoveIn.pack(dram=8192 - np.arange(4) * 64, cols=16, rows=1)
    assert statement(falling, 0).startswith("ACCEL(2, ARENA(8192) - 0x40u * i0, ")


def test_commands_that_no_formula_gives_are_refused() -> None:
    odd = MoveIn.pack(dram=np.array([64, 128, 256]), cols=16, rows=1)
    with pytest.raises(ValueError, match="not affine"):
        statement(odd, 0)
    mixed = MoveIn.pack(dram=np.array([0, 64]), cols=16, rows=1)
    with pytest.raises(ValueError, match="an address in some iterations only"):
        statement(mixed, 0)


def test_numbers_and_names_as_c() -> None:
    assert float_literal(0.1) == "0x1.99999a0000000p-4f"
    assert float_literal(-np.inf) == "-__builtin_inff()"
    assert comment_text("a*/b/*c") == "a* /b/ *c"
    assert string_literal('naïve"') == '"na?ve?"'


def test_what_the_command_line_refuses(
    examples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = [str(examples / "digits.onnx"), "--target", "gemmini"]
    assert run_command([*model, "--emit", "c"]) == 2
    assert "--emit c needs a file" in capsys.readouterr().err
    configured = tmp_path / "digits.mir"
    assert run_command([*model, "--emit", "configured", "-o", str(configured)]) == 0
    late = [str(configured), "--target", "gemmini", "--from", "configured"]
    assert run_command([*late, "--emit", "elf", "-o", str(tmp_path / "x.elf")]) == 2
    assert "needs the lowered module for its test vectors" in capsys.readouterr().err
    assert run_command(["run"]) == 2
    assert "one program is needed" in capsys.readouterr().err
    assert run_command(["run", "--elf", str(tmp_path / "none.elf")]) == 2
    assert "none.elf: cannot be read" in capsys.readouterr().err


def test_an_unknown_core_is_refused() -> None:
    target = load_target("gemmini")
    odd = target.model_copy(update={"host": target.host.model_copy(update={"isa": "rv32gc"})})
    with pytest.raises(UserError, match="'rv32gc' is not one this mcc can build for"):
        toolchain_for(odd)


def test_without_a_compiler_it_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from mcc.backends.riscv_accel.riscv import toolchain

    def no_package(name: str) -> None:
        del name

    def no_program(name: str) -> None:
        del name

    monkeypatch.setattr(toolchain, "find_spec", no_package)
    monkeypatch.setattr("shutil.which", no_program)
    with pytest.raises(UserError, match=r"no RISC-V compiler(.|\n)*mcc-compiler\[riscv\]"):
        toolchain_for(load_target("gemmini"))
