"""The way out of the simulated accumulator against numpy: scales, tables, pooling."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import OUT, TABLES, A, get, load_accumulator, machine, put, requantize, run

from mcc.runtime import isa
from mcc.runtime.isa import Instruction, accumulator, scratchpad


@pytest.mark.parametrize("scale", [0.5, 0.25, 1.0, 0.0123, 1e-7, 3.7e4])
def test_move_out_rounds_half_to_even_and_saturates(scale: float) -> None:
    rng = np.random.default_rng(3)
    sums = np.concatenate([
        np.arange(-64, 64),  # ties at 0.5 and 0.25
        rng.integers(-(2**31), 2**31 - 1, 96),
        [2**24 + 1, 2**24 + 3, -(2**24) - 1, 2**31 - 1, -(2**31), 0, 255, -257],
        np.zeros(8),
    ]).astype(np.int32).reshape(-1, 16)  # fmt: skip
    m = machine()
    run(m, [
        *load_accumulator(m, sums),
        isa.ConfigStore(stride=16, scale=scale),
        isa.MoveOut(dram=OUT, local=accumulator(0), cols=16, rows=len(sums)),
    ])  # fmt: skip
    assert np.array_equal(get(m, OUT, *sums.shape), requantize(sums, np.float32(scale)))


@settings(max_examples=25, deadline=None)
@given(
    zero=st.integers(-128, 127), bounds=st.tuples(st.integers(-128, 127), st.integers(-128, 127)),
    seed=st.integers(0, 999),
)  # fmt: skip
def test_zero_point_clamp_and_per_column_scales(
    zero: int, bounds: tuple[int, int], seed: int
) -> None:
    low, high = sorted(bounds)
    rng = np.random.default_rng(seed)
    sums = rng.integers(-(2**20), 2**20, (4, 32)).astype(np.int32)
    scales = (2.0 ** rng.uniform(-16, -10, 32)).astype(np.float32)
    m = machine()
    put(m, TABLES, scales)
    run(m, [
        *load_accumulator(m, sums[:, :16].copy()),
    ])  # fmt: skip
    run(m, load_accumulator(m, sums[:, 16:].copy(), at=16))
    run(m, [
        isa.LoadScales(dram=TABLES, row=7, count=32),
        isa.ConfigScales(enable=1, row=7),
        isa.ConfigRequantize(zero=zero, low=low, high=high),
        isa.ConfigStore(stride=32, scale=99.0),
        isa.MoveOut(dram=OUT, local=accumulator(0), cols=32, rows=4),
        isa.ConfigScales(enable=0),
        isa.ConfigStore(stride=32, scale=0.0001),
        isa.MoveOut(dram=OUT + 128, local=accumulator(0), cols=32, rows=4),
    ])  # fmt: skip
    assert np.array_equal(get(m, OUT, 4, 32), requantize(sums, scales, zero, low, high))
    one = requantize(sums, np.float32(0.0001), zero, low, high)
    assert np.array_equal(get(m, OUT + 128, 4, 32), one)


def test_table_at_move_out() -> None:
    rng = np.random.default_rng(5)
    sums = rng.integers(-3000, 3000, (16, 16)).astype(np.int32)
    table = rng.integers(-128, 128, 256).astype(np.int8)
    m = machine()
    put(m, TABLES, table)
    run(m, [
        *load_accumulator(m, sums),
        isa.LoadTable(dram=TABLES, table=2),
        isa.ConfigTable(enable=1, table=2),
        isa.ConfigStore(stride=16, scale=0.05),
        isa.MoveOut(dram=OUT, local=accumulator(0), cols=16, rows=16),
    ])  # fmt: skip
    expected = table[requantize(sums, np.float32(0.05)).view(np.uint8)]
    assert np.array_equal(get(m, OUT, 16, 16), expected)


def pooled(
    image: npt.NDArray[np.int64], size: tuple[int, int], stride: tuple[int, int],
    pad: tuple[int, int], output: tuple[int, int], fill: int, average: bool,
) -> npt.NDArray[np.int64]:  # fmt: skip
    rows, cols, channels = image.shape
    big = np.full((rows + 60, cols + 60, channels), fill, np.int64)
    big[30 : 30 + rows, 30 : 30 + cols] = image
    out = np.empty((*output, channels), np.int64)
    for i in range(output[0]):
        for j in range(output[1]):
            top, left = 30 + i * stride[0] - pad[0], 30 + j * stride[1] - pad[1]
            window = big[top : top + size[0], left : left + size[1]]
            out[i, j] = window.sum(axis=(0, 1)) if average else window.max(axis=(0, 1))
    return out


def test_stock_max_pool_pads_with_zero() -> None:
    rng = np.random.default_rng(6)
    sums = rng.integers(-3000, 3000, (6 * 5, 16)).astype(np.int32)
    m = machine()
    run(m, [
        *load_accumulator(m, sums),
        isa.ConfigStore(stride=16, scale=0.05, activation=1, pool_stride=2, pool_size=3,
                        pool_up=1, pool_left=1, output_rows=3, output_cols=3, output_pitch=4,
                        image_rows=6, image_cols=5),
        isa.MoveOut(dram=OUT, local=accumulator(0), cols=16, rows=0),
    ])  # fmt: skip
    image = requantize(np.maximum(sums, 0), np.float32(0.05)).reshape(6, 5, 16).astype(np.int64)
    expected = pooled(image, (3, 3), (2, 2), (1, 1), (3, 3), 0, average=False)
    assert np.array_equal(get(m, OUT, 3, 4, 16)[:, :3], expected)


@settings(max_examples=25, deadline=None)
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 15)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    from_scratchpad=st.booleans(), average=st.booleans(), seed=st.integers(0, 999),
)  # fmt: skip
def test_wide_pooling(
    size: tuple[int, int], stride: tuple[int, int], from_scratchpad: bool, average: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows, cols, channels = 7, 9, 12
    pad = (int(rng.integers(0, size[0])), int(rng.integers(0, size[1])))
    output = (3, 2)
    fill = int(rng.integers(-128, 128)) if average else -128
    scale = np.float32(1 / (size[0] * size[1]) if average else 0.05)
    offset = -size[0] * size[1] * fill if average else 0
    zero = 3
    m = machine()
    program: list[Instruction]
    if from_scratchpad:
        image = rng.integers(-128, 128, (rows, cols, channels)).astype(np.int64)
        put(m, A, image.astype(np.int8))
        program = [isa.ConfigLoad(stride=channels)]
        for row in range(rows):
            program.append(
                isa.MoveIn(
                    dram=A + row * cols * channels, local=100 + row * cols,
                    cols=channels, rows=cols,
                )
            )  # fmt: skip
        local = scratchpad(100)
    else:
        image = rng.integers(-3000, 3000, (rows, cols, channels)).astype(np.int64)
        program = load_accumulator(m, image.astype(np.int32).reshape(-1, channels), at=32)
        local = accumulator(32)
    run(m, [
        *program,
        isa.ConfigRequantize(zero=zero, pad=fill),
        isa.ConfigStore(stride=channels, scale=float(scale)),
        isa.ConfigPool(
            mode=2 if average else 1, height=size[0], width=size[1], stride_rows=stride[0],
            stride_cols=stride[1], pad_up=pad[0], pad_left=pad[1], output_pitch=output[1],
            offset=offset, output_rows=output[0], output_cols=output[1], image_rows=rows,
            image_cols=cols,
        ),
        isa.MoveOut(dram=OUT, local=local, cols=channels, rows=0),
    ])  # fmt: skip
    if average:
        total = pooled(image, size, stride, pad, output, fill, average=True) + offset
        expected = requantize(total.astype(np.int32), scale, zero)
    else:
        if not from_scratchpad:
            image = requantize(image.astype(np.int32), scale, zero).astype(np.int64)
        expected = pooled(image, size, stride, pad, output, fill, average=False).astype(np.int8)
    assert np.array_equal(get(m, OUT, *output, channels), expected)


def test_move_out_to_the_scratchpad_feeds_a_compute() -> None:
    rng = np.random.default_rng(9)
    sums = rng.integers(-3000, 3000, (32, 16)).astype(np.int32)
    m = machine()
    run(m, load_accumulator(m, sums))
    run(m, [
        isa.ConfigStore(scale=0.05),
        isa.ConfigRequantize(zero=5),
        # Columns 0..15 are rows 0..15, columns 16..31 are rows 16..31.
        isa.MoveOutScratchpad(destination=50, row_stride=2, block_stride=1, local=accumulator(0),
                              cols=32, rows=16),
        isa.MoveOut(dram=OUT, local=scratchpad(50), cols=16, rows=16),
    ])  # fmt: skip
    expected = requantize(sums, np.float32(0.05), 5)
    assert np.array_equal(m.scratchpad[50:82:2], expected[:16])
    assert np.array_equal(m.scratchpad[51:82:2], expected[16:])
