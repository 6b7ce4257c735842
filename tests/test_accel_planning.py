"""Loops from repetitions, places in DRAM, and which ops the accelerator takes."""

import math
from itertools import combinations

import numpy as np
import pytest
from accel_layers import Builder, Case, Exit
from hypothesis import example, given
from hypothesis import strategies as st

from mcc.backends import ALIGNMENT, Lifetime, aligned, place
from mcc.backends.riscv_accel import link, stages, tiles
from mcc.backends.riscv_accel.memory_map import Region
from mcc.backends.riscv_accel.rolling import LoopShape, Node, Shape, lengths, roll, tile
from mcc.backends.riscv_accel.structure import Layer
from mcc.ir import Module, RewriteReport, evaluate, parse, print_module
from mcc.ops import Conv, Matmul, MaxPool, Pad, QAdd, Reshape, SumPool
from mcc.passes import run_passes
from mcc.runtime import isa
from mcc.runtime.target import load_target


def unrolled(nodes: list[Node]) -> list[tuple[int, ...]]:
    """The addresses of every tile op in order, loops counted out."""
    found: list[tuple[int, ...]] = []

    def walk(shape: Shape, constants: list[int], indices: tuple[int, ...]) -> None:
        if isinstance(shape, LoopShape):
            for i in range(shape.count):
                rest = list(constants)
                for part in shape.body:
                    walk(part, rest[: len(part.names)], (*indices, i))
                    rest = rest[len(part.names) :]
            return
        found.append(
            tuple(
                constant + sum(s * i for s, i in zip(steps, indices, strict=True))
                for constant, steps in zip(constants, shape.steps, strict=True)
            )
        )

    for node in nodes:
        walk(node.shape, list(node.constants), ())
    return found


def fence(row: int, kind: int = 0) -> Node:
    return tile(tiles.MoveIn, {"local": f"memory {kind}"}, {"row": row, "offset": 3 * row})


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2)), max_size=40))
def test_rolling_keeps_every_address_in_order(steps: list[tuple[int, int]]) -> None:
    nodes = [fence(*step) for step in steps]
    rolled = roll(nodes)
    assert unrolled(rolled) == unrolled(nodes)
    assert lengths(rolled) == len(nodes)
    assert len(rolled) <= len(nodes)


def test_two_alternating_halves_become_two_loops() -> None:
    nodes = [fence(half * 512 + 16 * part) for _ in range(10) for half in (0, 1) for part in (0, 1)]
    (only,) = roll(nodes)
    assert isinstance(only.shape, LoopShape)
    assert lengths([only]) == len(nodes)


@given(
    st.lists(st.tuples(st.integers(1, 5000), st.integers(0, 20), st.integers(0, 20)), max_size=25)
)
def test_what_lives_at_once_never_overlaps(items: list[tuple[int, int, int]]) -> None:
    lifetimes = [Lifetime(n, min(a, b), max(a, b)) for n, a, b in items]
    found = place(lifetimes, 128)
    assert found.peak >= found.lower_bound
    for i, (left, at) in enumerate(zip(lifetimes, found.offsets, strict=True)):
        assert at >= 128
        assert at % ALIGNMENT == 0
        assert at + left.nbytes <= 128 + found.peak
        for right, other in zip(lifetimes[:i], found.offsets[:i], strict=True):
            apart = at + aligned(left.nbytes) <= other or other + aligned(right.nbytes) <= at
            assert apart or not left.meets(right)


def test_a_chain_needs_its_two_largest_neighbours() -> None:
    sizes = [640, 4096, 1024, 2048, 64]
    lifetimes = [Lifetime(size, step, step + 1) for step, size in enumerate(sizes)]
    found = place(lifetimes, 64)
    assert found.peak == found.lower_bound == 4096 + 1024


def computes(case: Case, target: str) -> list[str]:
    """The products of a case's program, by mnemonic."""
    module = case.module
    for stage in stages(load_target(target))[1:]:
        module = run_passes(module, stage.passes)
    decoded = isa.decode(link(module, load_target(target)).program.commands)
    names = [instruction.mnemonic for instruction in decoded if instruction is not None]
    return [name for name in names if name.startswith("compute")]


def depthwise_case() -> Case:
    builder = Builder(4)
    (x,) = builder.start(x=(1, 6, 18, 16))
    conv = Conv(x, builder.weights(16, 1, 3, 3), groups=16, layout="nhwc")
    return builder.finish(Exit().apply(builder, builder.add(conv, "y.acc"), 20000.0))


def test_depthwise_taps_go_two_at_a_time_where_the_machine_takes_2_4_weights() -> None:
    """3 x 3 taps over 4 x 16 pixels: 4 products each, 5 pairs of taps where they pair."""
    assert len(computes(depthwise_case(), "gemmini")) == 9 * 4
    found = computes(depthwise_case(), "riscv-accel")
    assert set(found) == {"compute_sparse_new", "compute_sparse_kept"}
    assert len(found) == 5 * 4


@pytest.mark.parametrize(("kept", "products"), [(2, 8), (3, 16)])
def test_weights_pruned_to_two_of_four_take_half_the_products(kept: int, products: int) -> None:
    builder = Builder(5)
    (x,) = builder.start(x=(16, 64))
    weights = builder.rng.integers(1, 128, (64, 64), dtype=np.int8)
    weights.reshape(16, 4, 64)[:, kept:] = 0
    product = builder.add(Matmul(x, builder.data(weights)), "y.acc")
    case = builder.finish(Exit().apply(builder, product, 20000.0))
    assert len(computes(case, "riscv-accel")) == products


def partitioned(case: Case, target: str) -> tuple[Module, dict[str, str]]:
    """The module after partitioning, and why each op left stays on the host."""
    text = print_module(case.module)
    module = parse(text.text, text.weights)
    report = RewriteReport()
    for stage in stages(load_target(target)):
        if stage.name == "partitioned":
            for step in stage.passes:
                module = step.run(module, report)
    wanted = evaluate(case.module, case.feeds)
    for name, array in evaluate(module, case.feeds).items():
        np.testing.assert_array_equal(array, wanted[name])
    return module, {op.op_name: reason for _, op, reason in report.declined}


def conv_case(exit: Exit, *, pool: bool = False, layout: str = "nhwc") -> Case:
    builder = Builder(3)
    (x,) = builder.start(x=(1, 8, 8, 8))
    assert layout in ("nhwc", "nchw")
    y = builder.add(
        Conv(
            x,
            builder.weights(16, 8, 3, 3),
            builder.vector(16, 99),
            layout="nhwc" if layout == "nhwc" else "nchw",
        ),
        "y.acc",
    )
    y = exit.apply(builder, y, 40000.0)
    if pool:
        y = builder.add(MaxPool(y, (2, 2), (2, 2), (), (), layout="nhwc"), "pooled")
    return builder.finish(y)


@pytest.mark.parametrize(
    ("exit", "reason"),
    [
        (Exit(zero=3), "an output zero point needs the extension zero_point, which gemmini lacks"),
        (Exit(hi=99), "clamping to [-128, 99] needs the extension zero_point"),
        (Exit(per_channel=True), "per-channel multipliers need the extension per_channel"),
    ],
)
def test_what_stock_hardware_cannot_do_stays_on_the_host(exit: Exit, reason: str) -> None:
    module, why = partitioned(conv_case(exit), "gemmini")
    assert not any(isinstance(op, Layer) for op in module.body)
    assert reason in why["requantize"]
    assert reason in why["conv"]
    module, why = partitioned(conv_case(exit), "riscv-accel")
    assert any(isinstance(op, Layer) for op in module.body)
    assert not why


def test_a_table_needs_its_extension() -> None:
    _, why = partitioned(conv_case(Exit(table=True)), "gemmini")
    assert why == {"lookup": "a table needs the extension lut, which gemmini lacks"}


def test_a_layout_that_was_not_changed_is_named() -> None:
    _, why = partitioned(conv_case(Exit(), layout="nchw"), "gemmini")
    assert "pass layout" in why["conv"]


def test_table_and_pool_leave_with_the_convolution() -> None:
    module, _ = partitioned(conv_case(Exit(table=True), pool=True), "riscv-accel")
    (layer,) = [op for op in module.body if isinstance(op, Layer)]
    names = [op.op_name for op in layer.body if op.op_name not in ("constant", "yield")]
    assert names == ["conv", "requantize", "lookup", "max_pool"]
    assert layer.result.name == "pooled"
    assert layer.nodes == ("node of y.acc", "node of y.looked", "node of pooled")


def test_a_flattening_reshape_goes_into_the_layer_that_reads_it() -> None:
    builder = Builder(1)
    (x,) = builder.start(x=(1, 4, 4, 8))
    pooled = builder.add(SumPool(x, (4, 4), layout="nhwc"))
    y = Exit().apply(builder, pooled, 300.0)
    flat = builder.add(Reshape(y, (1, 8)), "flat")
    product = builder.add(Matmul(flat, builder.weights(8, 10)), "z.acc")
    case = builder.finish(Exit().apply(builder, product, 20000.0, "z"))
    module, why = partitioned(case, "gemmini")
    assert not why
    assert sum(isinstance(op, Layer) for op in module.body) == 2


def test_an_image_with_few_channels_is_padded_by_the_host() -> None:
    builder = Builder(1)
    (x,) = builder.start(x=(1, 12, 12, 3))
    conv = Conv(x, builder.weights(8, 3, 3, 3), None, pads=(1, 1, 1, 1), layout="nhwc")
    case = builder.finish(Exit().apply(builder, builder.add(conv), 20000.0))
    module, why = partitioned(case, "gemmini")
    (pad,) = [op for op in module.body if isinstance(op, Pad)]
    assert pad.pads == (0, 0, 1, 0, 0, 0, 1, 0)
    assert "host pads" in why["pad"]


def test_an_add_of_two_scales_stays_on_the_host() -> None:
    builder = Builder(1)
    a, b = builder.start(a=(1, 4, 4, 8), b=(1, 4, 4, 8))
    case = builder.finish(builder.add(QAdd(a, b, 0.5, 0.25)))
    _, why = partitioned(case, "riscv-accel")
    assert "two scales" in why["qadd"]


def test_every_stage_prints_parses_and_evaluates() -> None:
    case = conv_case(Exit(per_channel=True, zero=2, table=True), pool=True)
    wanted = evaluate(case.module, case.feeds)["y0"]
    module = case.module
    for stage in stages(load_target("riscv-accel"))[1:]:
        module = run_passes(module, stage.passes)
        text = print_module(module)
        module = parse(text.text, text.weights)
        assert str(module) == text.text
        np.testing.assert_array_equal(evaluate(module, case.feeds)["y0"], wanted)
    assert math.prod(wanted.shape) == 1 * 3 * 3 * 16


@given(
    st.integers(0, 300),
    st.integers(1, 300),
    st.integers(1, 100),
    st.integers(1, 150),
    st.integers(1, 8),
)
@example(0, 12, 4, 3, 5)
def test_slots_lie_apart_inside_their_region(
    first: int, size: int, bank: int, rows: int, most: int
) -> None:
    region = Region(first, first + size, bank)
    starts = region.slots(rows, most)
    assert len(starts) == region.count(rows, most) <= most
    fitting = min(most, size // rows)
    # Fewer than fit only where several lie each within a bank, and not all that are wanted fit.
    assert len(starts) == fitting or (fitting < most and len(starts) == region.apart(rows) >= 3)
    taken = [row for start in starts for row in range(start, start + rows)]
    assert len(set(taken)) == len(taken)
    assert all(first <= row < first + size for row in taken)


def test_neighbouring_slots_lie_in_different_banks() -> None:
    starts = Region(4096, 16384, 4096).slots(1000, 5)
    assert [start // 4096 for start in starts] == [1, 2, 3, 1, 2]
    # One more than fits so: then they lie one after the other, across banks.
    assert Region(4096, 16384, 4096).slots(2400, 5) == (4096, 6496, 8896, 11296, 13696)


def test_what_sticks_out_of_a_plan_of_memory_is_placed_first() -> None:
    """None of the greedy orders reaches the bound here."""
    lines = [(4, 1, 3), (3, 5, 6), (4, 3, 5), (2, 4, 5), (2, 0, 1), (1, 1, 2)]
    lifetimes = [Lifetime(64 * size, first, last) for size, first, last in lines]
    found = place(lifetimes, 0)
    assert found.peak == found.lower_bound == 64 * 9
    for (i, a), (j, b) in combinations(enumerate(lifetimes), 2):
        first, second = sorted([(found.offsets[i], a.nbytes), (found.offsets[j], b.nbytes)])
        assert not a.meets(b) or first[0] + first[1] <= second[0]
