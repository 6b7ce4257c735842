"""From a module to artifact members: the library, and the table of what it holds."""

import gc
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mcc.backends import UNTUNED, Tuning, c_identifiers
from mcc.ir import Constant, Module, Progress, Tensor, UserError, Value
from mcc.runtime import Target

from .report import report

if TYPE_CHECKING:
    from .plan import Plan
    from .source import Source

_REMEDY = "pip install 'mcc-compiler[cpu]'"
_NAME = "model"
"""What the symbols of an artifact's library begin with."""


def library_members(
    module: Module,
    target: Target,
    progress: Progress | None = None,
    tuning: Tuning = UNTUNED,
) -> Mapping[str, bytes]:
    """`library.so`, `library.json` and `report.json`.

    Raises:
        UserError: For an op or type without a kernel, an unknown processor, no TVM, no C compiler.
    """
    from .link import toolchain

    source = lower_module(module, target, _NAME, module.name, progress, tuning)
    from .source import pool_source

    chain = toolchain(source.machine)
    with tempfile.TemporaryDirectory(prefix="mcc-cpu-") as name:
        folder = Path(name)
        files = write_files(source, folder)
        (folder / "pool.c").write_text(pool_source())
        path = chain.library(folder, [*files, "pool.c"])
        table = json.dumps(_table(module, source), indent=1).encode()
        summary = report(module, source, path.stat().st_size)
        del source  # packed weights are on disk now, and not needed twice
        gc.collect()  # kernels and plan refer to each other
        return {"library.so": path.read_bytes(), "library.json": table, "report.json": summary}


def library_files(
    module: Module,
    target: Target,
    *,
    stem: str,
    title: str,
    archive: bool,
    progress: Progress | None = None,
    tuning: Tuning = UNTUNED,
) -> Mapping[str, bytes]:
    """The model for a C program, by suffix: `.a` and `.h`, or (no `archive`) `.o`, `.h` and `.c`.

    `stem` is what the files will be called and symbols begin with; raises as `library_members`.
    """
    from .link import toolchain

    name = c_identifiers([stem.removeprefix("lib") or stem], set())[0]
    source = lower_module(module, target, name, title, progress, tuning)
    chain = toolchain(source.machine)
    header = {".h": source.header().encode()}
    with tempfile.TemporaryDirectory(prefix="mcc-cpu-") as folder_name:
        folder = Path(folder_name)
        shim, *parts = write_files(source, folder)
        if archive:
            return {".a": chain.archive(folder, [shim, *parts]), **header}
        text = source.source().replace(f'"{name}.h"', f'"{stem}.h"', 1)
        return {".o": chain.object(folder, parts), **header, ".c": text.encode()}


def lower_module(
    module: Module,
    target: Target,
    name: str,
    title: str,
    progress: Progress | None = None,
    tuning: Tuning = UNTUNED,
) -> "Source":
    """The kernels of a module, and what calls them; raises as `library_members` does."""
    _require_tvm()
    from . import kernels as rules
    from .codegen import write_kernels
    from .machine import machine_of
    from .plan import plan_module, refuse_unsupported
    from .program import arrange
    from .source import Source
    from .tuning import read_databases, tune, user_database

    del rules  # imported for what they register
    machine = machine_of(target)
    refuse_unsupported(module, machine)
    database = read_databases(tuning.database)
    if tuning.effort != "0":
        path = tuning.database or user_database()
        tune(module, target, tuning.effort, database, path, progress)
        database = read_databases(path)
    plan = plan_module(module, machine, database.blockings(machine.instruction_set))
    program = arrange(plan, [plan.slots[value] for value in module.outputs])
    kernels = write_kernels(plan, machine, program.replaced, name, progress)
    return Source(program, kernels, module, machine, name, title)


def write_files(source: "Source", folder: Path) -> list[str]:
    """Write everything that makes up a model, and name what is to be compiled and linked."""
    from .codegen import compile_kernels
    from .link import WEIGHTS_SOURCE

    name = source.name
    compile_kernels(source.kernels, source.machine, folder / "kernels.o")
    with (folder / "weights.bin").open("wb") as file:
        for slot, offset in source.weights.items():
            assert slot.data is not None
            file.seek(offset)
            slot.data.tofile(file)
    (folder / "weights.s").write_text(WEIGHTS_SOURCE.format(name=name, file="weights.bin"))
    (folder / f"{name}.h").write_text(source.header())
    (folder / f"{name}.c").write_text(source.source())
    return [f"{name}.c", "weights.s", "kernels.o"]


def compile_library(module: Module, target: Target, *, progress: Progress | None = None) -> bytes:
    """The shared library of a module; raises as `library_members` does."""
    return library_members(module, target, progress)["library.so"]


def _require_tvm() -> None:
    try:
        import tvm
    except ImportError as error:
        raise UserError(f"the cpu backend needs TVM ({error})", remedy=_REMEDY) from None
    del tvm


def _table(module: Module, source: "Source") -> dict[str, object]:
    """`library.json`: what `mcc.runtime.library.Table` reads."""
    program, machine = source.program, source.machine
    plan = program.plan
    names = _names(module)
    results = [call.output for call in plan.calls]
    slots = list(dict.fromkeys([*plan.inputs, *source.weights, *results]))
    numbers = {slot: number for number, slot in enumerate(slots)}
    needed = set(program.steps)
    return {
        "inputs": [_entry(value, names[value]) for value in module.inputs],
        "outputs": [
            _entry(value, name)
            for value, name in zip(module.outputs, module.output_names, strict=True)
        ],
        "workspace": program.workspace,
        "failures": source.messages,
        "slots": [
            {"dtype": slot.dtype, "size": slot.size, "weight": source.weights.get(slot)}
            for slot in slots
        ],
        "calls": [
            {
                "kernel": kernel.symbol,
                "value": names[origin.value],
                "nodes": origin.nodes,
                "inputs": [numbers[slot] for slot in call.inputs],
                "output": numbers[call.output],
                "replaced": program.replaced.get(number),
                "failure": source.failures.get(number, 0),
                "needed": number in needed,
            }
            for number, (call, kernel, origin) in enumerate(
                zip(plan.calls, source.kernels, plan.origins, strict=True)
            )
        ],
        "values": [
            {
                **_entry(value, names[value]),
                "slot": numbers[plan.slots[value]],
                "axes": value.axes,
            }
            for value in module.values()
            if value.name and _is_stored(value, plan)
        ],
        "fused": [
            {"name": value.name, "into": names[into]}
            for value, into in plan.fused.items()
            if value.name
        ],
        "machine": {
            "triple": machine.triple,
            "cpu": machine.cpu,
            "flags": source.flags,
        },
    }


def _is_stored(value: Value, plan: "Plan") -> bool:
    return value in plan.slots and not isinstance(value.op, Constant)


def _names(module: Module) -> dict[Value, str]:
    """Every value's own name; one without a name gets its number, as `%7`."""
    return {value: value.name or f"%{number}" for number, value in enumerate(module.values())}


def _entry(value: Value, name: str) -> dict[str, object]:
    type_ = value.type
    assert isinstance(type_, Tensor)
    return {"name": name, "dtype": str(type_.dtype), "shape": list(type_.dims)}
