"""Layers that the shipped models do not have, as programs on the bundled core."""

from importlib.util import find_spec

import numpy as np
import pytest
from accel_checks import lowered
from accel_layers import Case
from accel_shapes import cached, expansion, made, residual, wide_moves

from mcc.backends.riscv_accel.riscv.programs import elf, source_of
from mcc.runtime import Target, load_target
from mcc.runtime.soc import run_elf

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("unicorn") is None, reason="needs unicorn (extra `riscv`)"),
    pytest.mark.skipif(find_spec("ziglang") is None, reason="needs ziglang (extra `riscv`)"),
]


def passes(case: Case, target: Target) -> list[str]:
    """Runs the case as an ELF that compares with the evaluator; the tensors that it compared."""
    source = source_of(lowered(case, target), target, "case")
    result = run_elf(elf(source, case.module, [case.feeds]), target)
    assert result.exit_code == 0, result.console
    assert result.console.endswith("PASS\n")
    lines = result.console.splitlines()
    return [line.split()[1] for line in lines if line.startswith("  ok ")]


def test_a_residual_that_is_moved_into_the_accumulator() -> None:
    case, target = residual(np.full(64, 200)), load_target("riscv-accel")
    assert wide_moves(case, target) > 0
    assert "y" in passes(case, target)


@pytest.mark.parametrize("name", ["gemmini", "riscv-accel"])
def test_layers_in_strips(name: str) -> None:
    case, target = expansion(), cached(name, 8192)
    assert made(lowered(case, target)) == ["deep", "back"]
    assert passes(case, target) == ["deep", "back"]
