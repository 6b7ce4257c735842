"""The host's C kernels, built for this machine and called as the generated code calls them."""

import ctypes
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcc.backends import C_TYPES
from mcc.backends.riscv_accel.riscv.calls import HostCode
from mcc.backends.riscv_accel.riscv.literals import array_literal
from mcc.backends.riscv_accel.riscv.source import KERNELS, resource
from mcc.backends.riscv_accel.riscv.values import root
from mcc.ir import Array, Constant, Module, Value, Yield, constant_of, evaluate

FLAGS = ("-std=c11", "-O1", "-ffp-contract=off", "-fno-builtin", "-shared", "-fPIC", "-w")


def compiler() -> str:
    """A C compiler for this machine; skips where there is none."""
    found = shutil.which("cc")
    if found is None:
        pytest.skip("needs a C compiler (`cc`) to build the kernels for this machine")
    return found


class Cases:
    """Many small modules in one library: add all, build once, then run each."""

    def __init__(self, *, shifts: bool = False) -> None:
        self.modules: list[Module] = []
        self.texts: list[str] = []
        self.shifts = shifts
        self.library: ctypes.CDLL | None = None

    def add(self, module: Module) -> int:
        """A module's number."""
        number = len(self.modules)
        names = {value: f"((uint8_t *)in[{i}])" for i, value in enumerate(module.inputs)}
        data: list[str] = []
        buffers = 0
        for op in module.body:
            if isinstance(op, Yield):
                continue
            value = op.results[0]
            if isinstance(op, Constant):
                array = constant_of(value)
                assert array is not None
                name = f"c{number}_{len(data)}"
                data.append(
                    array_literal(f"static const {C_TYPES[value.tensor.dtype]} {name}", array)
                )
                names[value] = name
            elif root(value) is value:
                names[value] = f"(room + {buffers})"
                buffers += -(-value.tensor.nbytes // 64) * 64 + 64

        def place(value: Value) -> str:
            return names[root(value)]

        code = HostCode(place, shifts=self.shifts)
        ops = [op for op in module.body if not isinstance(op, Constant | Yield)]
        lines = [line for op in ops for line in code.call(op)]
        output = module.outputs[0]
        lines.append(f"mcc_move({output.tensor.nbytes}, {place(output)}, out);")
        body = "\n  ".join(lines)
        scope = "\n  ".join(code.data)
        self.texts.append(
            "\n".join(data)
            + f"\nvoid case{number}(void **in, uint8_t *out) {{\n"
            + f"  static uint8_t room[{max(64, buffers)}] __attribute__((aligned(64)));\n"
            + f"  (void)in, (void)room;\n  {scope}\n  {body}\n}}\n"
        )
        self.modules.append(module)
        return number

    def build(self, folder: Path) -> None:
        """Compile everything that was added."""
        parts = [resource("kernels/base.h"), *(resource(f"kernels/{n}.c") for n in KERNELS)]
        source = folder / "cases.c"
        source.write_text("\n".join([*parts, *self.texts]))
        library = folder / "cases.so"
        subprocess.run([compiler(), *FLAGS, "-o", str(library), str(source)], check=True)
        self.library = ctypes.CDLL(str(library))

    def run(self, number: int, feeds: Mapping[str, Array]) -> Array:
        """The output of a case's C code."""
        module = self.modules[number]
        arrays = [np.ascontiguousarray(feeds[value.name]) for value in module.inputs]
        pointers = (ctypes.c_void_p * max(1, len(arrays)))(*(a.ctypes.data for a in arrays))
        output = module.outputs[0].tensor
        result = np.zeros(output.dims, output.dtype.numpy)
        function: Any = getattr(self.library, f"case{number}")
        function(pointers, ctypes.c_void_p(result.ctypes.data))
        return result

    def expected(self, number: int, feeds: Mapping[str, Array]) -> Array:
        """The output by definition."""
        module = self.modules[number]
        return evaluate(module, feeds)[module.output_names[0]]
