"""LOOP_WS against numpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from looped import DIM, DRAM, TARGET, A, B, C, D, left, matmul, put

from mcc.runtime import isa
from mcc.runtime.isa import Instruction
from mcc.runtime.simulator import Machine, SimulatorFault

sizes = st.integers(1, 80)


@settings(deadline=None, max_examples=40)
@given(sizes, sizes, sizes, st.booleans(), st.sampled_from(["", "a", "b"]), st.integers(0, 99))
def test_loop_ws_multiplies(
    rows: int, cols: int, depth: int, bias: bool, turned: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    a = rng.integers(-40, 40, (rows, depth), np.int8)
    b = rng.integers(-40, 40, (depth, cols), np.int8)
    d = rng.integers(-999, 999, cols, np.int32) if bias else np.zeros(cols, np.int32)
    m = Machine(TARGET, DRAM)
    put(m, A, a.T.copy() if turned == "a" else a)
    put(m, B, b.T.copy() if turned == "b" else b)
    put(m, D, d)
    # Rows of a broadcast bias lie in memory one tile after the other.
    program = matmul(rows, cols, depth, bias=bias, a_turned=turned == "a", b_turned=turned == "b")
    m.run(isa.encode(program), timing=False)
    found = m.dram[C : C + rows * cols].view(np.int8).reshape(rows, cols)
    np.testing.assert_array_equal(found, left(a.astype(np.int64) @ b + d))


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 120), st.integers(1, 60), st.integers(0, 99))
def test_loop_ws_adds(rows: int, cols: int, seed: int) -> None:
    """Scaled and saturated on the way in, added, scaled on the way out."""
    rng = np.random.default_rng(seed)
    a, b = rng.integers(-128, 128, (2, rows, cols), np.int8)
    i, j = -(-rows // DIM), -(-cols // DIM)
    # The hardware does not order the two loads of a row; here they come in order.
    m = Machine(TARGET, DRAM, check_hazards=False)
    put(m, A, a)
    put(m, B, b)
    program: list[Instruction] = [
        isa.ConfigStore(stride=cols, scale=0.5, activation=1),
        isa.ConfigLoad(state=0, stride=cols, shrink=1, scale=1.5),
        isa.ConfigLoad(state=1, stride=cols, shrink=1, scale=0.75),
        isa.LoopWsBounds(i=i, j=j, pad_i=i * DIM - rows, pad_j=j * DIM - cols),
        isa.LoopWsAddressesAB(a=A, b=B),
        isa.LoopWsAddressesDC(c=C),
        isa.LoopWsStridesAB(a=cols, b=cols),
        isa.LoopWsStridesDC(c=cols),
        isa.LoopWs(resadd=1),
    ]
    m.run(isa.encode(program), timing=False)
    scaled = [
        np.clip(np.rint(x.astype(np.float32) * np.float32(s)), -128, 127)
        for x, s in ((a, 1.5), (b, 0.75))
    ]
    wanted = np.clip(np.rint(np.maximum(scaled[0] + scaled[1], 0) * 0.5), -128, 127)
    found = m.dram[C : C + rows * cols].view(np.int8).reshape(rows, cols)
    np.testing.assert_array_equal(found, wanted.astype(np.int8))


def test_the_loads_of_a_sum_are_a_hazard() -> None:
    program = [
        *matmul(16, 16, 16)[:4],
        isa.LoopWsBounds(i=1, j=1),
        isa.LoopWsAddressesAB(a=A, b=B),
        isa.LoopWs(resadd=1),
    ]
    with pytest.raises(SimulatorFault, match="hardware does not order the two loads"):
        Machine(TARGET, DRAM).run(isa.encode(program))


def test_loops_use_the_halves_of_the_memories_in_turn() -> None:
    unroller = isa.Unroller(TARGET.machine)
    for half in (0, 1, 0):
        commands = unroller.unroll(isa.encode(matmul(16, 16, 16))).commands
        (compute,) = commands[commands["funct7"] == isa.ComputePreloaded.funct7]
        (out,) = commands[commands["funct7"] == isa.MoveOut.funct7]
        assert isa.row_of(int(compute["rs1"]) & 0xFFFFFFFF) == half * 8192
        assert isa.row_of(int(out["rs2"]) & 0xFFFFFFFF) == half * 512


def test_a_loop_without_output_leaves_its_sums_to_the_next() -> None:
    """A product over two loops: the second adds to the first's."""
    rng = np.random.default_rng(4)
    a, b = rng.integers(-40, 40, (16, 32), np.int8), rng.integers(-40, 40, (32, 16), np.int8)
    m = Machine(TARGET, DRAM)
    put(m, A, a[:, :16].copy())
    put(m, B, b[:16].copy())
    put(m, A + 256, a[:, 16:].copy())
    put(m, B + 256, b[16:].copy())
    first = matmul(16, 16, 16, bias=False, c=0)
    second = [
        isa.LoopWsAddressesAB(a=A + 256, b=B + 256),
        isa.LoopWsAddressesDC(c=C),
        isa.LoopWs(accumulate=1),
    ]
    m.run(isa.encode([*first, *second]))
    found = m.dram[C : C + 256].view(np.int8).reshape(16, 16)
    np.testing.assert_array_equal(found, left(a.astype(np.int64) @ b))


def test_a_loop_may_say_in_which_half_it_works() -> None:
    unroller = isa.Unroller(TARGET.machine)
    for a, b in ((1, 2), (2, 1), (2, 2), (1, 1)):
        program = matmul(16, 16, 16)
        program[-1] = isa.LoopWs(accumulate=1, a_spad_id=a, b_spad_id=b)
        commands = unroller.unroll(isa.encode(program)).commands
        (compute,) = commands[commands["funct7"] == isa.ComputePreloaded.funct7]
        (preload,) = commands[commands["funct7"] == isa.Preload.funct7]
        assert isa.row_of(int(compute["rs1"]) & 0xFFFFFFFF) == (a - 1) * 8192
        assert isa.row_of(int(preload["rs1"]) & 0xFFFFFFFF) == b * 8192 - 16
    with pytest.raises(SimulatorFault, match="a_spad_id and b_spad_id are 0, 1 or 2"):
        Machine(TARGET, DRAM).run(isa.LoopWs(a_spad_id=3).commands())
