"""From a plan to a shared library: Relax for calls and memory, LLVM for the kernels."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tvm as _tvm
from tvm import relax as _relax
from tvm import tirx as _tirx

from mcc.ir import Progress

from .link import link_with, linker
from .machine import Machine, llvm_record
from .plan import Plan
from .storage import Slot
from .tir import Buffer, Writer

tvm: Any = _tvm
relax: Any = _relax
tirx: Any = _tirx

_PIPELINE = "mcc-cpu"


def build_library(
    plan: Plan,
    outputs: Sequence[Slot],
    observed: Sequence[Slot],
    machine: Machine,
    *,
    native: bool,
    progress: Progress | None = None,
) -> tuple[bytes, list[str]]:
    """The library with the Relax functions `main` and `observe`, and the kernel of each call.

    Raises:
        UserError: Where there is no linker.
    """
    command = linker(native=native, triple=machine.triple)
    _register_pipeline()
    target = tvm.target.Target(llvm_record(machine.triple, machine.cpu, machine.features))
    composer = _Composer(plan, progress)
    composer.function("main", outputs)
    composer.function("observe", observed)
    executable = relax.build(
        composer.builder.get(),
        target,
        relax_pipeline=_relax_pipeline(),
        tir_pipeline=_PIPELINE,
        exec_mode="compiled",
    )
    with tempfile.TemporaryDirectory(prefix="mcc-cpu-") as folder:
        path = Path(folder) / "library.so"
        executable.export_library(str(path), fcompile=link_with(command), workspace_dir=folder)
        return path.read_bytes(), [str(kernel.name_hint) for kernel in composer.kernels]


class _Composer:
    """Builds Relax functions over one set of kernels; equal kernels become one."""

    def __init__(self, plan: Plan, progress: Progress | None) -> None:
        self.plan = plan
        self.builder: Any = relax.BlockBuilder()
        self._constants: dict[Slot, Any] = {}
        self.kernels: list[Any] = []
        for number, call in enumerate(plan.calls):
            self.kernels.append(self._kernel(call.name, number))
            if progress is not None:
                progress("kernels", number + 1, len(plan.calls))

    def _kernel(self, name: str, number: int) -> Any:
        call = self.plan.calls[number]
        inputs = tuple(Buffer(f"a{i}", s.dtype, s.size) for i, s in enumerate(call.inputs))
        out = Buffer("out", call.output.dtype, call.output.size)
        writer = Writer()
        call.write(writer, inputs, out)
        return self.builder.add_func(writer.function([*inputs, out]), name)

    def function(self, name: str, results: Sequence[Slot]) -> None:
        """A function of the plan's inputs that returns `results`, with the calls that takes."""
        builder, plan = self.builder, self.plan
        needed = set(results)
        calls = list(zip(plan.calls, self.kernels, strict=True))
        kept: list[int] = []
        for number in reversed(range(len(calls))):
            if calls[number][0].output in needed:
                needed.update(calls[number][0].inputs)
                kept.append(number)
        places: dict[Slot, Any] = {}
        for number, slot in enumerate(plan.inputs):
            places[slot] = relax.Var(f"x{number}", _tensor(slot))
        with builder.function(name, [places[slot] for slot in plan.inputs]):
            with builder.dataflow():
                for number in reversed(kept):
                    call, kernel = calls[number]
                    arguments = [self._place(slot, places) for slot in call.inputs]
                    made = relax.call_tir(kernel, arguments, _tensor(call.output))
                    places[call.output] = builder.emit(made)
                found = relax.Tuple([self._place(slot, places) for slot in results])
                value = builder.emit_output(found)
            builder.emit_func_output(value)

    def _place(self, slot: Slot, places: dict[Slot, Any]) -> Any:
        if slot.data is None:
            return places[slot]
        if slot not in self._constants:
            self._constants[slot] = relax.const(tvm.runtime.tensor(slot.data))
        return self._constants[slot]


def _tensor(slot: Slot) -> Any:
    return relax.TensorType((slot.size,), slot.dtype)


def _relax_pipeline() -> Any:
    """Only what call_tir, memory planning and the virtual machine's code need."""
    passes = relax.transform
    return tvm.transform.Sequential(
        [
            passes.ToNonDataflow(),
            passes.RemovePurityChecking(),
            passes.CallTIRRewrite(),
            passes.StaticPlanBlockMemory(),
            passes.LowerAllocTensor(),
            passes.KillAfterLastUse(),
            passes.LowerRuntimeBuiltin(),
            passes.ComputePrimValue(),
            passes.VMShapeLower(),
            passes.AttachGlobalSymbol(),
        ]
    )


def _register_pipeline() -> None:
    """The passes that our kernels need of TVM's default for CPU code.

    Left out: common-subexpression elimination and simplification, which are super-linear in
    unrolled code and put bound values back where they are used; and flattening, since all buffers
    are flat (it would hide vector accesses, and accumulators would leave the registers).
    """
    from tvm.tirx.compilation_pipeline import PIPELINE_MAP, finalize_host_passes

    if _PIPELINE in PIPELINE_MAP:
        return
    passes = [
        tirx.transform.VerifyMemory(),
        tirx.transform.AnnotateEntryFunc(),
        tirx.transform.MakePackedAPI(),
    ]

    def pipeline() -> Any:
        device = tvm.ir.transform.Sequential
        return tvm.ir.transform.Sequential(passes), finalize_host_passes, lambda: device([])

    tirx.register_tir_pipeline(_PIPELINE, pipeline)
