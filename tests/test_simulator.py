"""The simulated array against numpy: products of tiles, dense and 2:4."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import OUT, A, B, D, Int8, get, load_accumulator, machine, put, requantize, run

from mcc.runtime import isa
from mcc.runtime.isa import Instruction, accumulator, scratchpad


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
