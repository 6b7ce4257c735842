"""Random layers: tensor ops, tiles and simulator agree in every bit."""

import numpy as np
import pytest
from accel_checks import FEW, check, lowered, small
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
from hypothesis import given
from hypothesis import strategies as st

from mcc.backends.riscv_accel import link, stages
from mcc.ir import UserError, parse, print_module
from mcc.ops import Conv
from mcc.passes import run_passes
from mcc.runtime.target import load_target


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
