"""What every compiled case must satisfy: tiles, simulator and evaluator agree in every bit."""

import numpy as np
from accel_layers import Case
from hypothesis import HealthCheck, settings

from mcc.backends.riscv_accel import link, stages
from mcc.backends.riscv_accel.structure import Kernel
from mcc.ir import Module, evaluate, parse, print_module
from mcc.passes import run_passes
from mcc.runtime.isa import check_portable
from mcc.runtime.program import Program, ProgramRunner
from mcc.runtime.target import Target, load_target

FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def lowered(case: Case, target: Target, upto: str = "configured") -> Module:
    """The case's module after a stage; the layout is NHWC already."""
    text = print_module(case.module)
    module = parse(text.text, text.weights)
    for stage in stages(target):
        if stage.name != "layout":
            module = run_passes(module, stage.passes)
        if stage.name == upto:
            break
    return module


def check(case: Case, machine: str | Target) -> None:
    target = load_target(machine) if isinstance(machine, str) else machine
    wanted = evaluate(case.module, case.feeds)
    module = lowered(case, target)
    assert any(isinstance(op, Kernel) for op in module.body)

    tiled = evaluate(module, case.feeds)
    for name, array in wanted.items():
        np.testing.assert_array_equal(tiled[name], array, "the tiles differ from the tensor ops")

    linked = link(module, target)
    again = Program.from_members(linked.program.to_members())
    runner = ProgramRunner(again, linked.module, target)
    # The second run finds the first one's leftovers in every memory.
    for _ in range(2):
        found, stats = runner.run(case.feeds)
        assert stats.commands == len(again.commands)
        for name, array in wanted.items():
            np.testing.assert_array_equal(found[name], array, "the simulator differs")
    if not target.extensions:
        assert check_portable(again.commands) is None

    text = print_module(module)
    assert parse(text.text, text.weights) == module


def small(name: str) -> Target:
    """A machine of the same instructions with so little memory that everything is streamed."""
    record = load_target(name).model_dump()
    accelerator = record["accelerator"]
    accelerator["scratchpad"]["rows"] = 256
    accelerator["accumulator"]["rows"] = 48
    if accelerator["scale_rows"]:
        accelerator["scale_rows"] = 2
    return Target.from_dict(record | {"name": f"small-{name}"})
