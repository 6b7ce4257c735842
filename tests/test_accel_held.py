"""Which activations stay in the scratchpad, and that they are found there."""

import numpy as np
from accel_checks import check, lowered, small
from accel_layers import Builder, Case, Exit
from hypothesis import given
from hypothesis import strategies as st

from mcc.backends.riscv_accel import link
from mcc.backends.riscv_accel.structure import Ready
from mcc.backends.riscv_accel.tiles import Fence
from mcc.ir import Module, Value, evaluate
from mcc.ops import Conv, SumPool
from mcc.runtime import Frame, ProgramRunner, load_target


def chain(*, size: int = 12, leaves: bool = False) -> Case:
    """Three 3x3 convolutions; the last also adds what the first makes."""
    builder = Builder(7)
    (x,) = builder.start(x=(1, size, size, 16))
    results: list[Value] = []
    for name in "abc":
        sums = Conv(
            results[-1] if results else x,
            builder.weights(16, 16, 3, 3),
            builder.vector(16, 3000),
            results[0] if name == "c" else None,
            builder.vector(16, 90) if name == "c" else None,
            pads=(1, 1, 1, 1),
            layout="nhwc",
        )
        exit = Exit(per_channel=True, zero=-3)
        results.append(exit.apply(builder, builder.add(sums, f"{name}.acc"), 60000.0, name))
    return builder.finish(results[-1], *(results[:1] if leaves else ()))


def framed(module: Module) -> dict[str, bool]:
    """Each layer's tensor: whether it stays on the chip."""
    return {op.tensor: bool(op.frame) for op in module.ops() if isinstance(op, Ready)}


def test_a_chain_stays_on_the_chip_and_needs_no_fence() -> None:
    case, target = chain(), load_target("riscv-accel")
    module = lowered(case, target)
    assert framed(module) == {"a": True, "b": True, "c": False}
    assert not any(isinstance(op, Fence) for op in module.ops())
    check(case, target)


def test_stock_hardware_sends_everything_to_dram() -> None:
    builder = Builder(7)
    (x,) = builder.start(x=(1, 8, 8, 16))
    for name in "ab":
        sums = builder.add(Conv(x, builder.weights(16, 16, 3, 3), layout="nhwc"), f"{name}.acc")
        x = Exit().apply(builder, sums, 60000.0, name)
    assert not any(framed(lowered(builder.finish(x), load_target("gemmini"))).values())


def test_a_global_sum_takes_its_pixels_where_they_lie() -> None:
    """5x5 pixels: two pieces of weights, the second one not full."""
    builder = Builder(7)
    (x,) = builder.start(x=(1, 5, 5, 16))
    sums = builder.add(Conv(x, builder.weights(33, 16, 1, 1), layout="nhwc"), "a.acc")
    y = Exit().apply(builder, sums, 20000.0, "a")
    y = Exit().apply(builder, builder.add(SumPool(y, (5, 5), layout="nhwc")), 400.0, "b")
    case, target = builder.finish(y), load_target("riscv-accel")
    assert framed(lowered(case, target)) == {"a": True, "b": False}
    check(case, target)


def test_what_leaves_the_kernel_goes_to_dram() -> None:
    case, target = chain(leaves=True), load_target("riscv-accel")
    assert framed(lowered(case, target)) == {"a": False, "b": True, "c": False}
    check(case, target)


def test_what_does_not_fit_goes_to_dram() -> None:
    """Of 1024 rows three banks of four may hold activations: not two images of 23 x 22 rows."""
    case, target = chain(size=21), small("riscv-accel")
    assert framed(lowered(case, target)) == {"a": True, "b": False, "c": False}
    check(case, target)


def test_readers_that_want_different_padding_read_from_dram() -> None:
    builder = Builder(7)
    (x,) = builder.start(x=(1, 8, 8, 16))
    results = [x]
    for name, pad in (("a", 0), ("b", 5), ("c", -128)):
        source = results[0] if name == "a" else results[1]
        sums = Conv(
            source,
            builder.weights(16, 16, 3, 3),
            pads=(1, 1, 1, 1),
            pad_value=pad,
            layout="nhwc",
        )
        results.append(Exit().apply(builder, builder.add(sums, f"{name}.acc"), 60000.0, name))
    case, target = builder.finish(*results[2:]), load_target("riscv-accel")
    assert not any(framed(lowered(case, target)).values())
    check(case, target)


def test_observers_see_what_stays_on_the_chip() -> None:
    case, target = chain(), load_target("riscv-accel")
    wanted: dict[str, np.ndarray] = {}
    evaluate(case.module, case.feeds, lambda value, array: wanted.update({value.name: array}))
    linked = link(lowered(case, target), target)
    seen: dict[str, np.ndarray] = {}
    runner = ProgramRunner(linked.program, linked.module, target)
    runner.run(case.feeds, lambda name, array: seen.update({name: array}))
    for name in "abc":
        np.testing.assert_array_equal(seen[name], wanted[name])


@given(
    st.integers(1, 9), st.integers(1, 9), st.integers(1, 3), st.integers(1, 3), st.integers(1, 40)
)
def test_a_frame_has_a_row_for_each_pixel(
    height: int, width: int, down: int, right: int, channels: int
) -> None:
    pitch = -(-width // right) + 2
    plane = (-(-height // down) + 2) * pitch + 1
    frame = Frame(5, height, width, down, right, 1, 1, pitch, plane)
    rows = [frame.row(row, col) for row in range(height) for col in range(width)]
    assert len(set(rows)) == height * width
    assert all(0 <= row < frame.block_rows for row in rows)
    blocks = -(-channels // 16)
    image = np.random.default_rng(1).integers(-128, 128, (height * width, 16 * blocks), np.int8)
    scratchpad = np.zeros((5 + blocks * frame.block_rows, 16), np.int8)
    for pixel, row in zip(image, rows, strict=True):
        for block in range(blocks):
            place = 5 + block * frame.block_rows + row
            scratchpad[place] = pixel[16 * block : 16 * block + 16]
    read = frame.read(scratchpad, (1, height, width, channels))
    np.testing.assert_array_equal(read, image[:, :channels].reshape(read.shape))
