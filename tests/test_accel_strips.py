"""Two layers as one, in strips of rows: which ones, and that every bit stays."""

import pytest
from accel_checks import FEW, check, lowered
from accel_layers import Case
from accel_shapes import cached, expansion, made
from hypothesis import given
from hypothesis import strategies as st

from mcc.backends.riscv_accel import Partition, link
from mcc.backends.riscv_accel.chaining import ChainLayers
from mcc.backends.riscv_accel.chains import in_strips
from mcc.backends.riscv_accel.layers import Chain, read_layer
from mcc.backends.riscv_accel.machines import remembered
from mcc.backends.riscv_accel.strips import Chained
from mcc.backends.riscv_accel.structure import Layer
from mcc.ir import RewriteReport
from mcc.passes import run_passes
from mcc.runtime import Target, load_target

TARGETS = ["gemmini", "riscv-accel"]


@pytest.mark.parametrize("name", TARGETS)
def test_what_exceeds_the_cache_never_lies_there_whole(name: str) -> None:
    case, target = expansion(), cached(name, 8192)
    module = lowered(case, target)
    assert made(module) == ["deep", "back"]
    apart = link(lowered(case, load_target("gemmini")), load_target("gemmini"))
    # Both wide tensors, where now the image lies beside one and a few rows of the other.
    assert link(module, target).activations.peak < apart.activations.peak - 24 * 20 * 20
    check(case, target)


def test_what_fits_the_cache_stays_two_layers() -> None:
    assert made(lowered(expansion(), load_target("gemmini"))) == ["wide", "deep", "back"]


def test_what_others_read_stays_a_tensor() -> None:
    case, target = expansion(leaves=True), cached("gemmini", 8192)
    assert made(lowered(case, target)) == ["wide", "deep", "back"]


def test_why_layers_stay_apart_is_said() -> None:
    case, target = expansion(), cached("gemmini", 8192)
    report = RewriteReport()
    chain = ChainLayers(target=remembered(target))
    chain.run(run_passes(case.module, [Partition(target=remembered(target))]), report)
    assert report.fired == {"chain": 1}
    reasons = {op.results[0].name: reason for _, op, reason in report.declined}
    assert "no grouped convolution" in reasons["back"]


def planned(case: Case, target: Target) -> Chained:
    """How the only chain of a case runs."""
    passes = [Partition(target=remembered(target)), ChainLayers(target=remembered(target))]
    layers = [op for op in run_passes(case.module, passes).body if isinstance(op, Layer)]
    (chain,) = [found for found in map(read_layer, layers) if isinstance(found, Chain)]
    plan = in_strips(chain, target)
    assert plan is not None
    return plan


@pytest.mark.parametrize("name", TARGETS)
def test_products_take_turns_where_sums_move_to_the_scratchpad(name: str) -> None:
    target = cached(name, 8192)
    plan = planned(expansion(), target)
    assert (plan.rounds > 0) == target.has("move_out_scratchpad")


def test_what_has_no_room_for_turns_runs_in_bands() -> None:
    """A row of both wide tensors exceeds half of the accumulator."""
    case, target = expansion((9, 300), (16, 32)), cached("riscv-accel", 8192)
    plan = planned(case, target)
    assert plan.strips.on_chip
    assert not plan.rounds
    check(case, target)


def test_input_of_the_next_strip_waits_until_this_one_is_read() -> None:
    """One block in one part: the strip after the next takes the place of the one under way."""
    check(expansion((25, 20), (16, 16), (1, 1), (1, 1), 0), cached("riscv-accel", 2048))


@pytest.mark.slow
@FEW
@given(
    st.sampled_from(TARGETS),
    st.tuples(st.integers(9, 30), st.integers(5, 30)),
    st.tuples(st.sampled_from([16, 24, 40]), st.sampled_from([16, 20, 48, 64, 80])),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.sampled_from([0, 0, -128, 5]),
)
def test_strips_of_any_shape_are_right(
    name: str,
    size: tuple[int, int],
    channels: tuple[int, int],
    window: tuple[int, int],
    stride: tuple[int, int],
    pad: int,
) -> None:
    check(expansion(size, channels, window, stride, pad), cached(name, 2048))
