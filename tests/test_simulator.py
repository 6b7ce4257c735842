"""The simulator against numpy: products, moves, the move-out pipe, pooling, tables."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcc.runtime import isa
from mcc.runtime.isa import Instruction, State, accumulator, scratchpad
from mcc.runtime.simulator import Machine
from mcc.runtime.target import load_target

TARGET = load_target("riscv-accel")
DRAM = 1 << 16
A, B, D, OUT = 0x1000, 0x2000, 0x3000, 0x4000
TABLES = 0x8000

Int8 = npt.NDArray[np.int8]
Int32 = npt.NDArray[np.int32]


def machine() -> Machine:
    return Machine(TARGET, DRAM)


def run(m: Machine, program: Sequence[Instruction]) -> None:
    m.run(isa.encode(list(program)))


def put(m: Machine, at: int, values: npt.NDArray[np.generic]) -> None:
    data = np.frombuffer(values.tobytes(), np.uint8)
    m.dram[at : at + data.size] = data


def get(m: Machine, at: int, *shape: int) -> Int8:
    size = int(np.prod(shape))
    return np.array(m.dram[at : at + size].view(np.int8).reshape(shape), np.int8)


def requantize(
    sums: Int32, scale: npt.NDArray[np.float32] | np.float32, zero: int = 0,
    low: int = -128, high: int = 127,
) -> Int8:  # fmt: skip
    """NUMERICS: clamp(rne(float32(acc) * m) + z), in float32 steps."""
    rounded = np.rint(sums.astype(np.float32) * scale).astype(np.float64)
    return np.asarray(np.clip(rounded + zero, low, high), np.int8)


def load_accumulator(m: Machine, sums: Int32, at: int = 0) -> list[Instruction]:
    """Moves int32 rows of up to 16 columns into the accumulator, 16 rows a command."""
    put(m, D, sums)
    rows, cols = sums.shape
    program: list[Instruction] = [isa.ConfigLoad(state=2, stride=4 * cols)]
    for row in range(0, rows, 16):
        program.append(
            isa.MoveIn3(
                dram=D + 4 * cols * row,
                local=accumulator(at + row),
                cols=cols,
                rows=min(16, rows - row),
            )
        )
    return program


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 16), depth=st.integers(1, 16), cols=st.integers(1, 16),
    seed=st.integers(0, 999), bias=st.booleans(), relu=st.booleans(),
)  # fmt: skip
def test_a_tile_is_a_matrix_product(
    rows: int, depth: int, cols: int, seed: int, bias: bool, relu: bool
) -> None:
    rng = np.random.default_rng(seed)
    a = rng.integers(-128, 128, (rows, depth)).astype(np.int8)
    b = rng.integers(-128, 128, (depth, cols)).astype(np.int8)
    d = rng.integers(-50000, 50000, cols).astype(np.int32)
    m = machine()
    put(m, A, a)
    put(m, B, b)
    put(m, D, d)
    program: list[Instruction] = [
        isa.ConfigLoad(state=0, stride=depth),
        isa.ConfigLoad(state=1, stride=cols),
        isa.ConfigLoad(state=2, stride=0),  # one row for all: a bias
        isa.ConfigStore(stride=cols, scale=0.003, activation=int(relu)),
        isa.MoveIn(dram=A, local=scratchpad(3), cols=depth, rows=rows),
        isa.MoveIn2(dram=B, local=scratchpad(4096), cols=cols, rows=depth),
    ]
    if bias:
        program.append(isa.MoveIn3(dram=D, local=accumulator(5), cols=cols, rows=rows))
    program += [
        isa.Preload(
            local=scratchpad(4096), cols=cols, rows=depth,
            destination=accumulator(5, accumulate=bias), destination_cols=cols,
            destination_rows=rows,
        ),
        isa.ComputePreloaded(local=scratchpad(3), cols=depth, rows=rows),
        isa.MoveOut(dram=OUT, local=accumulator(5), cols=cols, rows=rows),
    ]  # fmt: skip
    run(m, program)
    sums = a.astype(np.int32) @ b.astype(np.int32) + (d if bias else 0)
    expected = np.maximum(sums, 0) if relu else sums
    assert np.array_equal(
        get(m, OUT, rows, cols), requantize(expected.astype(np.int32), np.float32(0.003))
    )


def test_kept_weights_strides_and_accumulation() -> None:
    """A 3-tap convolution along one axis with stride 2, tap by tap."""
    rng = np.random.default_rng(1)
    x = rng.integers(-128, 128, (17, 16)).astype(np.int8)
    w = rng.integers(-128, 128, (3, 16, 16)).astype(np.int8)
    m = machine()
    put(m, A, x)
    put(m, B, w)
    program: list[Instruction] = [
        isa.ConfigExecute(a_stride=2),
        isa.ConfigLoad(stride=16),
        isa.ConfigStore(stride=16, scale=0.001),
        isa.MoveIn(dram=A, local=0, cols=16, rows=16),
        isa.MoveIn(dram=A + 256, local=16, cols=16, rows=1),
    ]
    for tap in range(3):
        program.append(isa.MoveIn(dram=B + 256 * tap, local=4096 + 16 * tap, cols=16, rows=16))
        # Two halves of the output with the same weights: the second keeps them.
        for half, kind in enumerate((isa.ComputePreloaded, isa.ComputeKept)):
            program += [
                isa.Preload(
                    local=isa.GARBAGE if half else 4096 + 16 * tap, cols=16, rows=16,
                    destination=accumulator(4 * half, accumulate=tap > 0),
                    destination_cols=16, destination_rows=4,
                ),
                kind(local=tap + 8 * half, cols=16, rows=4),
            ]  # fmt: skip
    program.append(isa.MoveOut(dram=OUT, local=accumulator(0), cols=16, rows=8))
    run(m, program)
    wide = x.astype(np.int32)
    sums = sum(
        (wide[tap : tap + 16 : 2] @ w[tap].astype(np.int32) for tap in range(3)),
        start=np.zeros((8, 16), np.int32),
    )
    assert np.array_equal(get(m, OUT, 8, 16), requantize(sums, np.float32(0.001)))


def sparse_tiles(rng: np.random.Generator, count: int) -> Int8:
    """Weights [count, 32, 16], two of four in each column."""
    weights = rng.integers(-128, 128, (count, 8, 4, 16)).astype(np.int8)
    weights[rng.random(weights.shape).argsort(2).argsort(2) < 2] = 0
    return weights.reshape(count, 32, 16)


@given(st.integers(0, 999))
def test_sparse_tiles_are_told_and_unpack_to_themselves(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = sparse_tiles(rng, 3)
    weights[rng.random(weights.shape) < 0.3] = 0
    assert isa.is_sparse(weights).all()
    for rows, wanted in zip(isa.pack_sparse(weights), weights, strict=True):
        assert np.array_equal(isa.unpack_sparse(rows, 16), wanted)
    weights[1, 4:7, 5] = 1
    weights[2, 6:8, 5] = 1
    weights[2, 4:6, 5] = 0
    assert isa.is_sparse(weights).tolist() == [True, False, True]


def test_a_sparse_tile_is_a_product_twice_as_deep() -> None:
    """Its second piece of rows keeps the weights; the halves of A lie anywhere."""
    rng = np.random.default_rng(2)
    a = rng.integers(-128, 128, (2, 20, 16)).astype(np.int8)
    (b,) = sparse_tiles(rng, 1)
    m = machine()
    put(m, A, a)
    put(m, B, isa.pack_sparse(b[None]))
    put(m, D, np.zeros(16, np.int32))
    program: list[Instruction] = [
        isa.ConfigLoad(state=0, stride=16),
        isa.ConfigLoad(state=2, stride=0),
        isa.ConfigStore(stride=16, scale=0.002),
    ]
    for half, row in enumerate((100, 7)):
        program += [
            isa.MoveIn(dram=A + 320 * half, local=row, cols=16, rows=16),
            isa.MoveIn(dram=A + 320 * half + 256, local=row + 16, cols=16, rows=4),
        ]
    program += [
        isa.MoveIn(dram=B, local=4096, cols=16, rows=16),
        isa.MoveIn(dram=B + 256, local=4112, cols=16, rows=4),
        isa.MoveIn3(dram=D, local=accumulator(0), cols=16, rows=16),
        isa.PreloadSparse(
            local=4096, cols=16, rows=16, destination=accumulator(0, accumulate=True),
            destination_cols=16, destination_rows=16,
        ),
        isa.ComputeSparsePreloaded(local=100, cols=16, rows=16, second=7, second_cols=16),
        isa.PreloadSparse(
            destination=accumulator(16), destination_cols=16, destination_rows=4,
        ),
        isa.ComputeSparseKept(local=116, cols=16, rows=4, second=23, second_cols=16),
        isa.MoveOut(dram=OUT, local=accumulator(0), cols=16, rows=16),
        isa.MoveOut(dram=OUT + 256, local=accumulator(16), cols=16, rows=4),
    ]  # fmt: skip
    run(m, program)
    sums = np.concatenate(list(a), 1).astype(np.int32) @ b.astype(np.int32)
    assert np.array_equal(get(m, OUT, 20, 16), requantize(sums, np.float32(0.002)))


def test_transposes() -> None:
    rng = np.random.default_rng(2)
    a = rng.integers(-128, 128, (16, 16)).astype(np.int8)
    b = rng.integers(-128, 128, (16, 16)).astype(np.int8)
    for flip_a, flip_b in ((1, 0), (0, 1)):
        m = machine()
        put(m, A, a)
        put(m, B, b)
        run(m, [
            isa.ConfigExecute(transpose_a=flip_a, transpose_b=flip_b),
            isa.ConfigLoad(stride=16),
            isa.MoveIn(dram=A, local=0, cols=16, rows=16),
            isa.MoveIn(dram=B, local=4096, cols=16, rows=16),
            isa.Preload(local=4096, cols=16, rows=16, destination=accumulator(0),
                        destination_cols=16, destination_rows=16),
            isa.ComputePreloaded(local=0, cols=16, rows=16),
        ])  # fmt: skip
        left = (a.T if flip_a else a).astype(np.int32)
        right = (b.T if flip_b else b).astype(np.int32)
        assert np.array_equal(m.accumulator[:16], left @ right)


def test_sums_wrap_around() -> None:
    m = machine()
    most = np.full((1, 16), 2**31 - 1, np.int32)
    put(m, A, np.full(16, 1, np.int8))
    put(m, B, np.eye(16, dtype=np.int8))
    run(m, [
        *load_accumulator(m, most),
        isa.ConfigLoad(stride=16),
        isa.MoveIn(dram=A, local=0, cols=16, rows=1),
        isa.MoveIn(dram=B, local=4096, cols=16, rows=16),
        isa.Preload(local=4096, cols=16, rows=16, destination=accumulator(0, accumulate=True),
                    destination_cols=16, destination_rows=1),
        isa.ComputePreloaded(local=0, cols=16, rows=1),
    ])  # fmt: skip
    assert np.all(m.accumulator[0] == -(2**31))


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


def test_moves_of_several_blocks_and_padding() -> None:
    rng = np.random.default_rng(7)
    x = rng.integers(-128, 128, (5, 40)).astype(np.int8)
    m = machine()
    put(m, A, x)
    run(m, [
        isa.ConfigLoad(stride=40, block_stride=20),
        isa.ConfigPad(state=0, pad=-7),
        isa.MoveIn(dram=0, local=0, cols=64, rows=16),
        isa.MoveIn(dram=0, local=4, cols=64, rows=16),
        isa.MoveIn(dram=A, local=2, cols=40, rows=5),
    ])  # fmt: skip
    assert np.array_equal(m.scratchpad[2:7], x[:, :16])
    assert np.array_equal(m.scratchpad[22:27], x[:, 16:32])
    assert np.array_equal(m.scratchpad[42:47, :8], x[:, 32:])
    assert np.all(m.scratchpad[42:47, 8:] == -7)
    assert np.all(m.scratchpad[:2] == -7)


def test_scaled_and_accumulating_loads() -> None:
    rng = np.random.default_rng(8)
    x = rng.integers(-128, 128, (4, 16)).astype(np.int8)
    m = machine()
    put(m, A, x)
    run(m, [
        isa.ConfigLoad(state=0, stride=16, shrink=1, scale=1.5),
        isa.ConfigLoad(state=1, stride=16, scale=0.5),
        isa.MoveIn(dram=A, local=accumulator(0), cols=16, rows=4),
        isa.Fence(),
        isa.MoveIn(dram=A, local=accumulator(0, accumulate=True), cols=16, rows=4),
        isa.MoveIn2(dram=A, local=scratchpad(0), cols=16, rows=4),
    ])  # fmt: skip
    wide = np.clip(np.rint(x * np.float32(1.5)), -128, 127).astype(np.int32)
    assert np.array_equal(m.accumulator[:4], 2 * wide)
    assert np.array_equal(m.scratchpad[:4], np.rint(x * np.float32(0.5)).astype(np.int8))


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


# -- Random programs against the meaning that stands in the instruction classes. --


@st.composite
def commands(draw: st.DrawFn) -> Instruction:
    """A legal command on rows 0..95 of both memories and the first kilobytes of DRAM."""
    rows, cols = draw(st.integers(1, 16)), draw(st.integers(1, 16))
    row = draw(st.integers(0, 32))
    in_accumulator = draw(st.booleans())
    at = accumulator(row) if in_accumulator else scratchpad(row)
    scale = draw(st.sampled_from([1.0, 0.5, 0.013, 0.37]))
    match draw(st.integers(0, 15)):
        case 0:
            return isa.ConfigLoad(
                state=draw(st.integers(0, 2)), stride=draw(st.sampled_from([0, 16, 40, 64])),
                block_stride=16, scale=scale, shrink=draw(st.integers(0, 1)),
            )  # fmt: skip
        case 1:
            kind = draw(st.sampled_from([isa.MoveIn, isa.MoveIn2, isa.MoveIn3]))
            add = in_accumulator and draw(st.booleans())
            source = draw(st.sampled_from([0, 64, 0x400]))
            wide = cols if in_accumulator else draw(st.integers(1, 64))
            local = accumulator(row, accumulate=add) if in_accumulator else at
            return kind(dram=source, local=local, cols=wide, rows=rows)
        case 2 | 3:
            source = draw(st.sampled_from([isa.GARBAGE, row]))
            return isa.Preload(
                local=source, cols=cols, rows=draw(st.integers(0, 16)),
                destination=accumulator(draw(st.integers(0, 32)), accumulate=draw(st.booleans())),
                destination_cols=draw(st.integers(0, 16)),
                destination_rows=draw(st.integers(0, 16)),
            )  # fmt: skip
        case 4 | 5:
            kind2 = draw(st.sampled_from([isa.ComputePreloaded, isa.ComputeKept]))
            return kind2(local=row, cols=cols, rows=rows)
        case 14:
            source = draw(st.sampled_from([isa.GARBAGE, row]))
            return isa.PreloadSparse(
                local=source, cols=cols, rows=4 * draw(st.integers(0, 4)),
                destination=accumulator(draw(st.integers(0, 32)), accumulate=draw(st.booleans())),
                destination_cols=draw(st.integers(0, 16)),
                destination_rows=draw(st.integers(0, 16)),
            )  # fmt: skip
        case 15:
            kind3 = draw(st.sampled_from([isa.ComputeSparsePreloaded, isa.ComputeSparseKept]))
            return kind3(
                local=row, cols=cols, rows=rows, second=draw(st.integers(0, 32)),
                second_cols=draw(st.integers(1, 16)),
            )  # fmt: skip
        case 6:
            return isa.ConfigStore(
                stride=draw(st.sampled_from([16, 64])), scale=scale,
                activation=draw(st.integers(0, 1)),
            )  # fmt: skip
        case 7:
            wide = draw(st.integers(1, 64))
            return isa.MoveOut(dram=0x2000, local=at, cols=wide, rows=rows)
        case 8:
            transpose = draw(st.sampled_from([(0, 0), (0, 1), (1, 0)]))
            return isa.ConfigExecute(
                a_stride=draw(st.integers(0, 3)), c_stride=draw(st.integers(1, 3)),
                transpose_a=transpose[0], transpose_b=transpose[1],
            )  # fmt: skip
        case 9:
            low = draw(st.integers(-128, 127))
            return isa.ConfigRequantize(
                zero=draw(st.integers(-128, 127)), low=low, high=draw(st.integers(low, 127)),
                pad=draw(st.integers(-128, 127)),
            )  # fmt: skip
        case 10:
            return isa.ConfigScales(enable=draw(st.integers(0, 1)), row=draw(st.integers(0, 4)))
        case 11:
            return isa.ConfigTable(enable=draw(st.integers(0, 1)), table=draw(st.integers(0, 3)))
        case 12:
            return isa.ConfigPad(state=draw(st.integers(0, 2)), pad=draw(st.integers(-128, 127)))
        case _:
            return isa.MoveOutScratchpad(
                destination=200, row_stride=draw(st.integers(0, 3)), block_stride=20, local=at,
                cols=draw(st.integers(1, 64)), rows=rows,
            )  # fmt: skip


COMPUTES = (
    isa.ComputePreloaded,
    isa.ComputeKept,
    isa.ComputeSparsePreloaded,
    isa.ComputeSparseKept,
)

PROLOGUE: list[Instruction] = [
    isa.ConfigLoad(state=0, stride=64),
    *(isa.MoveIn(dram=64, local=row, cols=64, rows=16) for row in range(0, 48, 16)),
    *(isa.MoveIn(dram=640, local=accumulator(row), cols=16, rows=16) for row in range(0, 112, 16)),
    isa.LoadScales(dram=TABLES, row=0, count=128),
    *(isa.LoadTable(dram=TABLES + 256 * table, table=table) for table in range(4)),
]


@settings(max_examples=150, deadline=None)
@given(program=st.lists(commands(), max_size=30), seed=st.integers(0, 999))
def test_the_kernels_do_what_the_classes_say(program: list[Instruction], seed: int) -> None:
    rng = np.random.default_rng(seed)
    m = Machine(TARGET, DRAM, check_hazards=False)
    m.dram[:] = rng.integers(0, 256, DRAM)
    put(m, TABLES, rng.uniform(0, 0.5, 128).astype(np.float32))
    state = State(TARGET.machine, DRAM)
    state.dram[:] = m.dram
    legal: list[Instruction] = list(PROLOGUE)
    ready = False
    for instruction in program:
        if isinstance(instruction, COMPUTES):
            if not ready:
                continue
            ready = False
        ready = ready or isinstance(instruction, isa.Preload | isa.PreloadSparse)
        legal.append(instruction)
    m.run(isa.encode(legal))
    for instruction in legal:
        instruction.execute(state)
    assert np.array_equal(m.accumulator, state.accumulator)
    assert np.array_equal(m.scratchpad, state.scratchpad)
    assert np.array_equal(m.dram, state.dram)
