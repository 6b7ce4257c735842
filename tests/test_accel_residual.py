"""Residuals that are moved into the accumulator (extension wide_move_in), not multiplied."""

import numpy as np
import pytest
from accel_checks import FEW, check
from accel_shapes import residual, wide_moves
from hypothesis import given
from hypothesis import strategies as st

from mcc.backends.riscv_accel.tiling import Cut
from mcc.runtime import Target, load_target

TARGET = load_target("riscv-accel")


def without(extension: str) -> Target:
    """The default machine with one extension less."""
    record = TARGET.model_dump()
    kept = [name for name in TARGET.machine.extensions if name != extension]
    record["accelerator"]["extensions"] = kept
    return Target.from_dict(record | {"name": f"without-{extension}"})


def test_one_factor_is_a_move_where_the_array_has_most_to_do() -> None:
    same = residual(np.full(64, 200))
    assert wide_moves(same, TARGET) > 0
    assert wide_moves(same, without("wide_move_in")) == 0
    assert wide_moves(residual(np.arange(64) + 1), TARGET) == 0


def test_a_layer_that_waits_for_its_loads_multiplies_the_residual() -> None:
    assert wide_moves(residual(np.full(64, 100), size=28, kernel=1, channels=16), TARGET) == 0


@pytest.mark.parametrize("factor", [1, 127, 254, -3])
@pytest.mark.parametrize("machine", [TARGET, without("wide_move_in")], ids=["moved", "multiplied"])
def test_the_way_of_a_residual_changes_no_bit(factor: int, machine: Target) -> None:
    check(residual(np.full(40, factor), size=9, channels=24), machine)


@FEW
@given(
    size=st.integers(1, 20), kernel=st.sampled_from([1, 3]), outputs=st.integers(1, 80),
    factor=st.integers(-300, 300).filter(bool), seed=st.integers(0, 99),
)  # fmt: skip
def test_moved_residuals_are_exact(
    size: int, kernel: int, outputs: int, factor: int, seed: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # Nothing else to choose from.
        patch.setattr(Cut, "diagonal_rows", property(lambda cut: 0 if cut.added else 1 << 20))
        case = residual(np.full(outputs, factor), size=size, kernel=kernel, channels=20, seed=seed)
        assert wide_moves(case, TARGET) > 0
        check(case, TARGET)
