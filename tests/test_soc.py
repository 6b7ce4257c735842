"""Programs on the bundled core: what a compiled model prints, and that its bits are right."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from zoo import Zoo

from mcc.backends.riscv_accel.riscv.toolchain import build_elf
from mcc.cli import run as run_command
from mcc.ir import UserError
from mcc.runtime import Program, Session, Target, load, load_target
from mcc.runtime.isa import GARBAGE, MoveIn, Preload, Stream, check_portable, scratchpad
from mcc.runtime.simulator import SimulatorFault
from mcc.runtime.soc import Elf, Segment, run_elf

pytestmark = [
    pytest.mark.skipif(find_spec("unicorn") is None, reason="needs unicorn (extra `riscv`)"),
    pytest.mark.skipif(find_spec("ziglang") is None, reason="needs ziglang (extra `riscv`)"),
]

START = """
  .section .text.start, "ax"
  .globl _start
_start:
  li t0, 0x1e000
  csrs mstatus, t0
  la t0, failed
  csrw mtvec, t0
  la sp, stack_top
  call main
  .balign 4
failed:
  csrr a0, mcause
  j board_exit
  .bss
  .balign 16
  .space 4096
stack_top:
"""
LINK = """
SECTIONS {
  . = 0x80000000;
  .text : { KEEP(*(.text.start)) *(.text*) }
  .tohost : { *(.tohost) }
  .data : { *(.data* .rodata* .sdata* .srodata*) }
  .bss : { *(.bss* .sbss*) }
  /DISCARD/ : { *(.eh_frame* .debug_* .comment) }
}
"""
HEAD = """
#include <stdint.h>
void board_exit(int code);
"""


def board(target: Target, console: str) -> Target:
    """The same machine with another console."""
    return target.model_copy(update={"board": target.board.model_copy(update={"console": console})})


def build(main: str, target: Target) -> bytes:
    """A small program around `main`."""
    from mcc.backends.riscv_accel.riscv.source import resource

    console = resource(f"board/{target.board.console}.c")
    defines = (
        f"#define MCC_UART_BASE {target.board.uart_base:#x}u\n"
        f"#define MCC_EXIT_BASE {target.board.exit_base:#x}u\n"
    )
    files = {
        "start.S": START,
        "main.c": defines + HEAD + resource("board/rocc.h") + console + main,
        "link.ld": LINK,
    }
    return build_elf(target, files)


@pytest.mark.parametrize("console", ["htif", "uart", "semihosting"])
@pytest.mark.parametrize("code", [0, 7])
def test_consoles_print_and_exit(console: str, code: int) -> None:
    target = board(load_target("gemmini"), console)
    text = f'int main(void) {{ console_write("hello\\n", 6); board_exit({code}); return 0; }}'
    seen: list[str] = []
    result = run_elf(build(text, target), target, output=seen.append)
    assert (result.console, "".join(seen), result.exit_code) == ("hello\n", "hello\n", code)


def test_the_clock_counts_instructions_and_waiting() -> None:
    target = load_target("gemmini")
    move = MoveIn(dram=64, local=scratchpad(0), cols=16, rows=16).encode()
    text = f"""
uint8_t data[4096] __attribute__((aligned(64)));
static uint64_t cycles(void) {{
  uint64_t t;
  __asm__ volatile("rdcycle %0" : "=r"(t));
  return t;
}}
static uint64_t retired(void) {{
  uint64_t t;
  __asm__ volatile("rdinstret %0" : "=r"(t));
  return t;
}}
int main(void) {{
  uint64_t t = cycles(), n = retired();
  ACCEL({move[0]}, data, {move[2]:#x});
  __asm__ volatile("fence" : : : "memory");
  uint64_t waited = cycles() - t, run = retired() - n;
  board_exit(waited > run + 20 && run < 20 && waited < 500 ? 0 : 1);
  return 0;
}}"""
    result = run_elf(build(text, target), target)
    assert result.exit_code == 0
    assert result.commands == 1
    assert result.cycles > result.instructions


def test_a_command_that_the_machine_refuses_stops_the_program() -> None:
    """After a fence: the index counts from the program's start."""
    target = load_target("gemmini")
    bad = Preload(local=GARBAGE, cols=16, rows=16, destination=scratchpad(4)).encode()
    text = f"""
int main(void) {{
  ACCEL(7, 0, 0);
  __asm__ volatile("fence");
  ACCEL({bad[0]}, {bad[1]:#x}, {bad[2]:#x});
  __asm__ volatile("fence");
  board_exit(0);
  return 0;
}}"""
    with pytest.raises(
        SimulatorFault, match="results must go to a row of the accumulator"
    ) as found:
        run_elf(build(text, target), target)
    assert found.value.index == 2
    assert re.search(r"command 2: preload .*\(issued at 0x8[0-9a-f]+ \(main\+0x", str(found.value))


def test_a_fault_tells_addresses_as_the_program_has_them() -> None:
    target = load_target("gemmini")
    load = MoveIn(dram=0x9000_0000, local=scratchpad(4), cols=16, rows=2).encode()
    text = f"""
int main(void) {{
  ACCEL({load[0]}, {load[1]:#x}, {load[2]:#x});
  __asm__ volatile("fence");
  board_exit(0);
  return 0;
}}"""
    with pytest.raises(SimulatorFault) as found:
        run_elf(build(text, target), target)
    said = str(found.value)
    assert said.startswith("command 0: mvin dram=0x90000000 local=sp[4] cols=16 rows=2 (issued at ")
    assert "DRAM bytes 0x10000000 to 0x10000010 are outside" in said
    assert "(in force: config_ld); DRAM addresses count from 0x80000000" in said


def test_a_trap_reaches_the_program() -> None:
    target = load_target("gemmini")
    text = 'int main(void) { __asm__ volatile(".word 0"); board_exit(0); return 0; }'
    assert run_elf(build(text, target), target).exit_code == 2  # illegal instruction


def test_what_goes_wrong_is_said() -> None:
    target = load_target("gemmini")
    with pytest.raises(UserError, match="not an ELF file"):
        run_elf(b"no", target)
    with pytest.raises(UserError, match="not a 64-bit RISC-V ELF"):
        run_elf(Path(sys.executable).resolve().read_bytes(), target)
    silent = build("int main(void) { board_exit(0); return 0; }", board(target, "uart"))
    with pytest.raises(UserError, match="no symbols `tohost` and `fromhost`"):
        run_elf(silent, target)
    hung = build('int main(void) { for (;;) __asm__ volatile("nop"); }', target)
    with pytest.raises(UserError, match=r"not ended after 10,000 instructions.*main"):
        run_elf(hung, target, limit=10_000)
    wild = build("int main(void) { return *(volatile int *)16; }", target)
    with pytest.raises(UserError, match=r"the core stops at 0x8.*main"):
        run_elf(wild, target)


@pytest.fixture(scope="module", params=["gemmini", "riscv-accel"])
def digits(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, examples: Path
) -> tuple[Target, Path]:
    """The example model as an ELF, made by the command line."""
    name = str(request.param)
    path = tmp_path_factory.mktemp("digits") / "digits.elf"
    common = ["--target", name, "--calibrate", str(examples / "digits_calibration.npz")]
    for form, file in (("elf", path), ("artifact", path.with_suffix(".mcc"))):
        arguments = [str(examples / "digits.onnx"), *common, "--emit", form, "-o", str(file)]
        assert run_command(arguments) == 0
    return load_target(name), path


@pytest.mark.slow
def test_digits_pass_and_take_what_they_say(digits: tuple[Target, Path]) -> None:
    target, path = digits
    result = run_elf(path.read_bytes(), target)
    assert result.exit_code == 0, result.console
    lines = result.console.splitlines()
    assert lines[-1] == "PASS"
    assert not any("WRONG" in line for line in lines)
    # Every layer was compared, in memory or on the chip, and so was the quantized input.
    layers = Program.from_artifact(load(path.with_suffix(".mcc"))).layers
    compared = {line.split()[1] for line in lines if line.startswith("  ok ")}
    assert compared >= {"image.q", *(layer.tensor for layer in layers)}
    assert result.cycles > result.instructions > 0


@pytest.mark.slow
def test_an_elf_says_where_it_starts_and_talks(digits: tuple[Target, Path]) -> None:
    elf = Elf.read(digits[1].read_bytes())
    assert elf.entry == elf.symbols["_start"] == 0x8000_0000
    assert elf.symbols["tohost"] % 64 == elf.symbols["fromhost"] % 64 == 0
    assert elf.float_abi


@pytest.mark.slow
def test_a_gemmini_program_issues_only_the_portable_subset(
    digits: tuple[Target, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mcc.runtime.simulator import Machine
    from mcc.runtime.simulator.machine import RunResult

    target, path = digits
    if target.name != "gemmini":
        pytest.skip("riscv-accel has extensions")
    original = Machine.run_stream
    seen = 0

    def run(self: Machine, stream: Stream, *, timing: bool) -> RunResult:
        nonlocal seen
        assert check_portable(stream.commands) is None
        seen += len(stream.commands)
        return original(self, stream, timing=timing)

    monkeypatch.setattr(Machine, "run_stream", run)
    assert run_elf(path.read_bytes(), target).exit_code == 0
    assert seen > 1000


@pytest.mark.slow
def test_outputs_are_the_simulators(digits: tuple[Target, Path], examples: Path) -> None:
    # PASS says that the core computed, bit for bit, the outputs that lie in the ELF.
    target, path = digits
    content = path.read_bytes()
    result = run_elf(content, target)
    printed = [
        int(line.rpartition("class ")[2])
        for line in result.console.splitlines()
        if line.startswith("vector")
    ]
    session = Session(path.with_suffix(".mcc"))
    with np.load(examples / "digits_calibration.npz") as file:
        images = file["image"][: len(printed)].reshape(-1, 1, 1, 8, 8).astype(np.float32)
    outputs = [session.run(None, {"image": image})[0] for image in images]
    assert result.exit_code == 0
    assert np.stack(outputs).tobytes() in content
    assert [int(np.argmax(logits)) for logits in outputs] == printed


@pytest.mark.slow
def test_the_command_line_runs_an_elf_on_the_machine_it_was_built_for(
    digits: tuple[Target, Path],
) -> None:
    target, path = digits
    command = [sys.executable, "-m", "mcc", "run", "--elf", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "PASS\nexit 0: " in done.stdout
    assert "instructions retired" in done.stdout
    assert f"cycles on {target.name}\n" in done.stdout


def test_an_elf_of_others_needs_a_target(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = load_target("gemmini")
    path = tmp_path / "other.elf"
    path.write_bytes(build("int main(void) { board_exit(0); return 0; }", target))
    assert run_command(["run", "--elf", str(path)]) == 2
    assert "other.elf: does not say for which machine it was built" in capsys.readouterr().err
    assert run_command(["run", "--elf", str(path), "--target", "gemmini"]) == 0
    assert "cycles on gemmini" in capsys.readouterr().out


@pytest.mark.slow
def test_nutshell_recognises_digits_without_floating_point(zoo: Zoo, tmp_path: Path) -> None:
    # LeNet's shape on a core without FPU, the array behind mapped registers.
    with np.load(zoo.data("mnist")) as file:
        images, labels = file["x_train"][:64], file["y_train"][:64]
    samples, path = tmp_path / "samples.npz", tmp_path / "digits.elf"
    np.savez(samples, Input3=images[:, None].astype(np.float32))
    arguments = [str(zoo.model("mnist_cnn")), "--target", "nutshell", "--calibrate", str(samples)]
    assert run_command([*arguments, "--emit", "elf", "-o", str(path)]) == 0
    elf = Elf.read(path.read_bytes())
    assert not elf.float_abi
    floating = {0x07, 0x27, 0x43, 0x47, 0x4B, 0x4F, 0x53}  # major opcodes of F and D
    code = [word for segment in elf.segments if segment.executable for word in decoded(segment)]
    assert len(code) > 1000
    assert not [word for word in code if word & 0x7F in floating]
    # Compressed c.fld, c.fsd, c.fldsp, c.fsdsp.
    assert not [w for w in code if w & 3 in (0, 2) and w >> 13 & 7 in (1, 5)]
    result = run_elf(elf.content, load_target("nutshell"))
    assert result.exit_code == 0, result.console
    lines = [line for line in result.console.splitlines() if line.startswith("vector")]
    assert [int(line.rpartition("class ")[2]) for line in lines] == list(labels[: len(lines)])


def decoded(segment: Segment) -> list[int]:
    """The instructions of a segment of code, compressed ones as 16 bits."""
    found: list[int] = []
    position = 0
    while position + 2 <= len(segment.content):
        length = 4 if segment.content[position] & 3 == 3 else 2
        word = int.from_bytes(segment.content[position : position + length], "little")
        found.append(word)
        position += length
    return found


@pytest.mark.slow
def test_four_bit_weights_pass(examples: Path, tmp_path: Path) -> None:
    path = tmp_path / "digits.elf"
    options = ["--target", "riscv-accel", "--weight-bits", "4", "--emit", "elf", "-o", str(path)]
    assert run_command([str(examples / "digits.onnx"), *options]) == 0
    result = run_elf(path.read_bytes(), load_target("riscv-accel"))
    assert result.exit_code == 0, result.console
    assert result.console.endswith("PASS\n")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["ic_resnet8", "kws_dscnn"])
@pytest.mark.parametrize("target", ["gemmini", "riscv-accel"])
def test_zoo_models_pass(model: str, target: str, zoo: Zoo, tmp_path: Path) -> None:
    path = tmp_path / "model.elf"
    arguments = [str(zoo.model(model)), "--target", target, "--emit", "elf", "-o", str(path)]
    assert run_command(arguments) == 0
    result = run_elf(path.read_bytes(), load_target(target))
    assert result.exit_code == 0, result.console
    assert result.console.endswith("PASS\n")
