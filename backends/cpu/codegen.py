"""From kernel calls to machine code: TVM's tensor IR through LLVM, one object file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tvm as _tvm
import tvm_ffi as _ffi
from tvm import tirx as _tirx

from mcc.ir import Progress

from .machine import Machine, llvm_record
from .plan import Call, Plan
from .tir import Buffer, Function, Writer

tvm: Any = _tvm
ffi: Any = _ffi
tirx: Any = _tirx


@dataclass(frozen=True)
class Kernel:
    """A kernel with the name of its C function."""

    symbol: str
    function: Function


def write_kernels(
    plan: Plan,
    machine: Machine,
    replaced: Mapping[int, int],
    prefix: str,
    progress: Progress | None,
) -> list[Kernel]:
    """The kernel of each call of a plan; calls that compute the same share one.

    Where `replaced` names an input of a call, the kernel finds it in the output's memory.
    """
    known: dict[int, list[Kernel]] = {}
    named: dict[str, int] = {}
    kernels: list[Kernel] = []
    for number, call in enumerate(plan.calls):
        function = write_kernel(call, machine, replaced.get(number))
        alike = known.setdefault(ffi.structural_hash(function.node), [])
        found = [k for k in alike if ffi.structural_equal(k.function.node, function.node)]
        if not found:
            count = named[call.name] = named.get(call.name, 0) + 1
            found = [Kernel(f"{prefix}_{call.name}_{count}", function)]
            alike += found
        kernels += found
        if progress is not None:
            progress("kernels", number + 1, len(plan.calls))
    return kernels


def write_kernel(call: Call, machine: Machine, replaced: int | None = None) -> Function:
    """The kernel of one call, where `replaced` names an input that lies in the output's memory."""
    out = Buffer("out", call.output.dtype, call.output.size)
    inputs = [Buffer(f"a{i}", slot.dtype, slot.size) for i, slot in enumerate(call.inputs)]
    parameters = [buffer for i, buffer in enumerate(inputs) if i != replaced]
    if replaced is not None:
        inputs[replaced] = out
    writer = Writer(estimates=machine.estimates)
    call.write(writer, tuple(inputs), out)
    return writer.function([*parameters, out])


def compile_kernels(kernels: Sequence[Kernel], machine: Machine, path: Path) -> None:
    """Write an object file with the distinct ones of `kernels`; it needs nothing but libm.

    Of TVM's passes for CPU code only the lowering of arithmetic is run. Common-subexpression
    elimination and simplification are super-linear in unrolled code and put bound values back where
    they are used; flattening would hide vector accesses of our flat buffers.
    """
    target = tvm.target.Target(llvm_record(machine.triple, machine.cpu, machine.features))
    distinct = {kernel.symbol: kernel.function.node for kernel in kernels}
    module = tvm.IRModule(
        {symbol: node.with_attr("global_symbol", symbol) for symbol, node in distinct.items()}
    )
    module = tirx.transform.BindTarget(target.with_host(target))(module)
    module = tirx.transform.LowerIntrin()(module)
    tvm.get_global_func("target.build.llvm")(module, target).write_to_file(str(path), "o")
