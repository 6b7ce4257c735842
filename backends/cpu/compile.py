"""From a module to artifact members: the library, and the table of what it holds."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mcc.ir import Constant, Module, Progress, Tensor, UserError, Value
from mcc.runtime import Target

from .report import report

if TYPE_CHECKING:
    from .plan import Plan

_REMEDY = "pip install 'mcc-compiler[cpu]'"


def library_members(
    module: Module, target: Target, progress: Progress | None = None
) -> Mapping[str, bytes]:
    """`library.so`, `library.json` and `report.json`.

    Raises:
        UserError: For an op or type without a kernel, an unknown processor, no TVM, no linker.
    """
    _require_tvm()
    from . import kernels
    from .build import build_library
    from .machine import machine_of
    from .plan import plan_module, refuse_unsupported

    del kernels  # imported for its rules
    refuse_unsupported(module)
    machine = machine_of(target)
    plan = plan_module(module, machine)
    stored = [value for value in module.values() if value.name and _is_stored(value, plan)]
    observed = list(dict.fromkeys(plan.slots[value] for value in stored))
    numbers = {slot: number for number, slot in enumerate(observed)}
    names = _names(module)
    native = not target.host.triple
    outputs = [plan.slots[value] for value in module.outputs]
    library, called = build_library(
        plan, outputs, observed, machine, native=native, progress=progress
    )
    table: dict[str, object] = {
        "inputs": [_entry(value, names[value]) for value in module.inputs],
        "outputs": [
            _entry(value, name)
            for value, name in zip(module.outputs, module.output_names, strict=True)
        ],
        "values": [
            {
                **_entry(value, names[value]),
                "result": numbers[plan.slots[value]],
                "axes": value.axes,
            }
            for value in stored
        ],
        "fused": [
            {"name": value.name, "into": names[into]}
            for value, into in plan.fused.items()
            if value.name
        ],
        "calls": [
            {
                "kernel": kernel,
                "value": names[origin.value],
                "nodes": origin.nodes,
                "arrays": [(slot.dtype, slot.size) for slot in (*call.inputs, call.output)],
            }
            for kernel, call, origin in zip(called, plan.calls, plan.origins, strict=True)
        ],
        "machine": {
            "triple": machine.triple,
            "cpu": machine.cpu,
            "flags": sorted({*machine.flags, *plan.flags}),
        },
    }
    return {
        "library.so": library,
        "library.json": json.dumps(table, indent=1).encode(),
        "report.json": report(module, len(set(called)), library),
    }


def compile_library(module: Module, target: Target, *, progress: Progress | None = None) -> bytes:
    """The shared library of a module; raises as `library_members` does."""
    return library_members(module, target, progress)["library.so"]


def _require_tvm() -> None:
    try:
        import tvm
    except ImportError as error:
        raise UserError(f"the cpu backend needs TVM ({error})", remedy=_REMEDY) from None
    del tvm


def _is_stored(value: Value, plan: "Plan") -> bool:
    return value in plan.slots and not isinstance(value.op, Constant)


def _names(module: Module) -> dict[Value, str]:
    """Every value's own name; one without a name gets its number, as `%7`."""
    return {value: value.name or f"%{number}" for number, value in enumerate(module.values())}


def _entry(value: Value, name: str) -> dict[str, object]:
    type_ = value.type
    assert isinstance(type_, Tensor)
    return {"name": name, "dtype": str(type_.dtype), "shape": list(type_.dims)}
