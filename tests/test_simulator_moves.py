"""Moves into the simulated memories against numpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated import A, D, machine, put, run

from mcc.runtime import isa
from mcc.runtime.isa import accumulator, scratchpad


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


@settings(max_examples=25, deadline=None)
@given(cols=st.integers(1, 128), rows=st.integers(1, 16), seed=st.integers(0, 999))
def test_packed_weights_are_unpacked(cols: int, rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.integers(-8, 8, (rows, cols)).astype(np.int8)
    even = np.pad(weights, ((0, 0), (0, cols % 2)))
    # The lower half of a byte first.
    packed = (even[:, ::2].astype(np.int16) & 15) + 16 * (even[:, 1::2].astype(np.int16) & 15)
    m = machine()
    put(m, A, packed.astype(np.uint8))
    run(m, [
        isa.ConfigLoad(stride=packed.shape[1], block_stride=20, packed=1),
        isa.MoveIn(dram=A, local=40, cols=cols, rows=rows),
    ])  # fmt: skip
    for block in range(0, cols, 16):
        there = m.scratchpad[40 + 20 * (block // 16) :][:rows, : cols - block]
        assert np.array_equal(there, weights[:, block : block + 16])
    assert np.array_equal(isa.pack_nibbles(even), packed)
    assert np.array_equal(isa.unpack_nibbles(isa.pack_nibbles(even)), even)


def test_only_what_has_4_bits_is_packed() -> None:
    with pytest.raises(ValueError, match="values must be -8 to 7"):
        isa.pack_nibbles(np.array([3, 8], np.int8))
    with pytest.raises(ValueError, match="a row of 3 values does not fill its last byte"):
        isa.pack_nibbles(np.array([3, 8, 1], np.int8))


def test_a_wide_load_adds_what_no_int8_holds() -> None:
    rng = np.random.default_rng(10)
    x = rng.integers(-128, 128, (16, 64)).astype(np.int8)
    bias = rng.integers(-(2**20), 2**20, 16).astype(np.int32)
    scales = np.array([254.0, 0.37, 3e7], np.float32)
    m = machine()
    put(m, A, x)
    put(m, D, bias)
    for scale in scales:
        run(m, [
            isa.ConfigLoad(state=1, stride=0),
            isa.ConfigLoad(state=0, stride=64, shrink=1, wide=1, scale=float(scale)),
            *(isa.MoveIn2(dram=D, local=accumulator(16 * block), cols=16, rows=16)
              for block in range(4)),
            isa.MoveIn(dram=A, local=accumulator(0, accumulate=True), cols=64, rows=16),
        ])  # fmt: skip
        wide = np.rint(x.astype(np.float32) * scale).astype(np.float64)
        expected = np.clip(wide, -(2**31), 2**31 - 1).astype(np.int64)
        sums = expected.reshape(16, 4, 16).transpose(1, 0, 2) + bias
        wrapped = (sums + 2**31) % 2**32 - 2**31
        assert np.array_equal(m.accumulator[:64].reshape(4, 16, 16), wrapped)
        run(m, [isa.Fence()])
