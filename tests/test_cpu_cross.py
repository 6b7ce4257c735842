"""Products of bytes on ARM and RISC-V: which instructions they use, and that no bit is off."""

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from cpu_cases import Array, attach

from mcc.backends.cpu import library_files
from mcc.backends.cpu.codegen import compile_kernels
from mcc.backends.cpu.compile import lower_module
from mcc.ir import DType, Module, Region, Tensor, Yield, constant, evaluate
from mcc.ops import Conv, Matmul
from mcc.runtime import Target, load_target


@dataclass(frozen=True)
class Encoding:
    """The bits of an instruction that do not name registers."""

    mask: int
    value: int

    def count(self, code: bytes, step: int) -> int:
        """How often it occurs in machine code whose instructions begin at multiples of `step`."""
        words = [code[at:].ljust(4, b"\0") for at in range(0, len(code), step)]
        return sum(int.from_bytes(w[:4], "little") & self.mask == self.value for w in words)


# Arm Architecture Reference Manual, C7.2: vectors of 16 bytes.
SDOT = Encoding(0xFFE0FC00, 0x4E809400)
USDOT = Encoding(0xFFE0FC00, 0x4E809C00)
# RISC-V "V" 1.0: funct6 111101, OPMVX.
VWMACC_VX = Encoding(0xFE00707F, 0xF6006057)


@dataclass(frozen=True)
class Machine:
    target: str
    features: tuple[str, ...]
    emulator: tuple[str, ...]
    triple: str
    step: int
    wanted: tuple[Encoding, ...]
    others: tuple[Encoding, ...] = ()


_ARM = ("aarch64", ("qemu-aarch64",), "aarch64-linux-musl")
_RISCV = ("qemu-riscv64", "-cpu")
MACHINES = {
    "dotprod": Machine(_ARM[0], (), *_ARM[1:], 4, (SDOT,), (USDOT,)),
    "i8mm": Machine(_ARM[0], ("+i8mm",), *_ARM[1:], 4, (SDOT, USDOT)),
    "neon": Machine(_ARM[0], ("-dotprod",), *_ARM[1:], 4, (), (SDOT, USDOT)),
    "vector": Machine(
        "riscv64", (), (*_RISCV, "rv64,v=true,vlen=128"), "riscv64-linux-musl", 2, (VWMACC_VX,)
    ),
    "long vector": Machine(
        "riscv64", (), (*_RISCV, "rv64,v=true,vlen=256"), "riscv64-linux-musl", 2, (VWMACC_VX,)
    ),
}

MAIN = """
#include <stdio.h>
#include "bytes.h"
static int8_t x[BYTES_X_SIZE];
static uint8_t u[BYTES_U_SIZE];
static int32_t a[BYTES_A_SIZE], b[BYTES_B_SIZE], c[BYTES_C_SIZE], d[BYTES_D_SIZE], e[BYTES_E_SIZE];
int main(void)
{
    FILE *in = fopen("in.bin", "rb"), *out = fopen("out.bin", "wb");
    if (!in || !out || fread(x, 1, sizeof x, in) != sizeof x ||
        fread(u, 1, sizeof u, in) != sizeof u || bytes_run(x, u, a, b, c, d, e))
        return 1;
    fwrite(a, 1, sizeof a, out), fwrite(b, 1, sizeof b, out);
    fwrite(c, 1, sizeof c, out), fwrite(d, 1, sizeof d, out);
    fwrite(e, 1, sizeof e, out);
    return fclose(out);
}
"""


def products() -> tuple[Module, list[Array]]:
    """Convolutions and matrix products of signed and unsigned bytes; depths that are no multiple
    of four, and the extreme values."""
    rng = np.random.default_rng(0)
    x = rng.integers(-128, 128, (1, 6, 5, 38)).astype("i1")
    u = rng.integers(0, 256, (7, 38)).astype("u1")
    x[0, 0], u[0] = -128, 255
    region = Region([Tensor(DType.of(array), array.shape) for array in (x, u)], ["x", "u"])

    def weights(*shape: int) -> Array:
        drawn = rng.integers(-128, 128, shape).astype("i1")
        drawn[0] = -128
        return drawn

    signed, unsigned = region.args
    kernel, matrix = (
        attach(region, constant(weights(*shape))) for shape in ((21, 38, 3, 3), (38, 37))
    )
    grouped = attach(region, constant(weights(12, 19, 2, 2)))
    depthwise = attach(region, constant(weights(38, 1, 3, 3)))
    results = [
        attach(region, Conv(signed, kernel, pads=(1, 1, 1, 1), layout="nhwc"), "a"),
        attach(region, Matmul(signed, matrix), "b"),
        attach(region, Matmul(unsigned, matrix), "c"),
        attach(region, Conv(signed, grouped, groups=2, layout="nhwc"), "d"),
        attach(region, Conv(signed, depthwise, groups=38, layout="nhwc"), "e"),
    ]
    region.append(Yield(tuple(results)))
    return Module("bytes", region, ["a", "b", "c", "d", "e"]), [x, u]


def target_of(machine: Machine) -> Target:
    target = load_target(machine.target)
    features = (*target.host.features, *machine.features)
    return target.model_copy(update={"host": target.host.model_copy(update={"features": features})})


@pytest.mark.parametrize("name", MACHINES)
def test_kernels_use_the_processor_s_products(tmp_path: Path, name: str) -> None:
    machine = MACHINES[name]
    module, _ = products()
    source = lower_module(module, target_of(machine), "bytes", "bytes")
    compile_kernels(source.kernels, source.machine, tmp_path / "kernels.o")
    code = (tmp_path / "kernels.o").read_bytes()
    for encoding in machine.wanted:
        assert encoding.count(code, machine.step) >= 16
    for encoding in machine.others:
        assert not encoding.count(code, machine.step)


@pytest.mark.slow
@pytest.mark.parametrize("name", MACHINES)
def test_every_bit_is_the_definition_s(tmp_path: Path, name: str) -> None:
    machine = MACHINES[name]
    if shutil.which(machine.emulator[0]) is None:
        pytest.skip(f"needs {machine.emulator[0]} (apt install qemu-user)")
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("needs the wheel ziglang")
    module, inputs = products()
    files = library_files(module, target_of(machine), stem="bytes", title="b", archive=False)
    for suffix, content in files.items():
        (tmp_path / f"bytes{suffix}").write_bytes(content)
    (tmp_path / "main.c").write_text(MAIN)
    (tmp_path / "in.bin").write_bytes(b"".join(array.tobytes() for array in inputs))
    compiler = [sys.executable, "-m", "ziglang", "cc", "-target", machine.triple, "-static", "-O1"]
    run(tmp_path, [*compiler, "main.c", "bytes.c", "bytes.o", "-o", "program"])
    run(tmp_path, [*machine.emulator, "./program"])
    exact = evaluate(module, dict(zip(("x", "u"), inputs, strict=True)))
    found = np.frombuffer((tmp_path / "out.bin").read_bytes(), "i4")
    wanted = np.concatenate([exact[name].ravel() for name in module.output_names])
    np.testing.assert_array_equal(found, wanted)


def run(folder: Path, line: Sequence[str]) -> None:
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True)
    assert not done.returncode, done.stderr
