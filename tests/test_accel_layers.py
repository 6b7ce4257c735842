"""Random layers: tensor ops, tiles and simulator agree in every bit."""

import numpy as np
import pytest
from accel_layers import (
    EXITS,
    STOCK_EXITS,
    Builder,
    Case,
    Exit,
    convolutions,
    matrix_products,
    pools,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcc.backends.riscv_accel import link, stages
from mcc.backends.riscv_accel.structure import Kernel
from mcc.ir import Module, UserError, evaluate, parse, print_module
from mcc.ops import Conv
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


@FEW
@given(convolutions(STOCK_EXITS, stock=True))
def test_convolutions_on_stock_hardware(case: Case) -> None:
    check(case, "gemmini")


@FEW
@given(convolutions(EXITS, stock=False))
def test_convolutions_with_extensions(case: Case) -> None:
    check(case, "riscv-accel")


@FEW
@given(st.data(), st.sampled_from(["gemmini", "riscv-accel"]))
def test_matrix_products(data: st.DataObject, target: str) -> None:
    exits = STOCK_EXITS if target == "gemmini" else EXITS
    check(data.draw(matrix_products(exits)), target)


@FEW
@given(st.data(), st.sampled_from(["gemmini", "riscv-accel"]))
def test_pools(data: st.DataObject, target: str) -> None:
    stock = target == "gemmini"
    exits = STOCK_EXITS if stock else EXITS
    check(data.draw(pools(exits, largest=3 if stock else 6)), target)


def small(name: str) -> Target:
    """A machine of the same instructions with so little memory that everything is streamed."""
    record = load_target(name).model_dump()
    accelerator = record["accelerator"]
    accelerator["scratchpad"]["rows"] = 256
    accelerator["accumulator"]["rows"] = 48
    if accelerator["scale_rows"]:
        accelerator["scale_rows"] = 2
    return Target.from_dict(record | {"name": f"small-{name}"})


@FEW
@given(st.data(), st.sampled_from(["gemmini", "riscv-accel"]))
def test_small_memories(data: st.DataObject, name: str) -> None:
    stock = name == "gemmini"
    exits = STOCK_EXITS if stock else EXITS
    case = data.draw(convolutions(exits, stock=stock) | matrix_products(exits))
    check(case, small(name))


def test_a_layer_that_cannot_fit_says_what_is_missing() -> None:
    builder = Builder(1)
    (x,) = builder.start(x=(1, 40, 40, 16))
    conv = Conv(x, builder.weights(16, 16, 33, 33), layout="nhwc")
    case = builder.finish(Exit().apply(builder, builder.add(conv, "y.acc"), 1e6, "big"))
    with pytest.raises(UserError, match="scratchpad rows") as caught:
        lowered(case, small("gemmini"))
    assert "node of y.acc" in caught.value.where
    assert "smaller input" in caught.value.remedy


@pytest.mark.parametrize("upto", ["partitioned", "tiled"])
def test_a_stage_continues_to_the_same_commands(upto: str) -> None:
    """`--emit tiled`, then `--from tiled`: the program is the one of the straight way."""
    target = load_target("riscv-accel")
    case = _fixed_case()
    straight = link(lowered(case, target), target).program
    text = print_module(lowered(case, target, upto))
    module = parse(text.text, text.weights)
    names = [stage.name for stage in stages(target)]
    for stage in stages(target)[names.index(upto) + 1 :]:
        module = run_passes(module, stage.passes)
    again = link(module, target).program
    assert np.array_equal(straight.commands, again.commands)
    assert np.array_equal(straight.image, again.image)


def _fixed_case() -> Case:
    builder = Builder(1)
    (x,) = builder.start(x=(1, 12, 12, 20))
    conv = Conv(x, builder.weights(24, 20, 3, 3), builder.vector(24, 500), layout="nhwc")
    exit = Exit(per_channel=True, zero=3, lo=-90, hi=100, table=True)
    return builder.finish(exit.apply(builder, builder.add(conv, "y.acc"), 60000.0))
