"""LOOP_WS and LOOP_CONV_WS: against numpy, against the recorded hardware, and in time."""

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rtl_streams import differing_outputs, new_machine, read_streams

from mcc.runtime import Target, isa, load_target
from mcc.runtime.isa import Instruction, State
from mcc.runtime.simulator import CycleModel, Machine, SimulatorFault

DIM = 16
DRAM = 1 << 20
A, B, D, C = 0x1000, 0x20000, 0x40000, 0x60000
SCALE = np.float32(1 / 64)
Int8 = npt.NDArray[np.int8]


def with_loops() -> Target:
    """The stock machine with the loop for convolutions and what that uses."""
    target = load_target("gemmini")
    machine = target.machine.model_copy(update={"extensions": ("loop_conv", "pixel_repeats")})
    return target.model_copy(update={"accelerator": machine})


TARGET = with_loops()


def put(m: Machine, at: int, values: npt.NDArray[np.generic]) -> None:
    data = np.frombuffer(values.tobytes(), np.uint8)
    m.dram[at : at + data.size] = data


def left(sums: npt.NDArray[np.int64], *, relu: bool = False) -> Int8:
    """What leaves the accumulator: scaled in float32, rounded to even, saturated."""
    if relu:
        sums = np.maximum(sums, 0)
    scaled = np.rint(sums.astype(np.float32) * SCALE)
    return np.asarray(np.clip(scaled, -128, 127), np.int8)


def matmul(
    rows: int, cols: int, depth: int, *, bias: bool = True, a_turned: bool = False,
    b_turned: bool = False, c: int = C,
) -> list[Instruction]:  # fmt: skip
    """A product by LOOP_WS; a bias of one row is broadcast."""
    tiles = [-(-size // DIM) for size in (rows, cols, depth)]
    i, j, k = tiles
    pads = [tile * DIM - size for tile, size in zip(tiles, (rows, cols, depth), strict=True)]
    a_stride, b_stride = (rows if a_turned else depth), (depth if b_turned else cols)
    return [
        isa.ConfigExecute(transpose_a=int(a_turned), transpose_b=int(b_turned)),
        isa.ConfigStore(stride=cols, scale=float(SCALE)),
        isa.ConfigLoad(state=0, stride=a_stride),
        isa.ConfigLoad(state=1, stride=b_stride),
        isa.ConfigLoad(state=2, stride=0),
        isa.LoopWsBounds(i=i, j=j, k=k, pad_i=pads[0], pad_j=pads[1], pad_k=pads[2]),
        isa.LoopWsAddressesAB(a=A, b=B),
        isa.LoopWsAddressesDC(d=D if bias else 0, c=c),
        isa.LoopWsStridesAB(a=a_stride, b=b_stride),
        isa.LoopWsStridesDC(d=0, c=cols),
        isa.LoopWs(accumulate=int(bias), transpose_a=int(a_turned), transpose_b=int(b_turned)),
    ]


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


@st.composite
def convolutions(draw: st.DrawFn) -> dict[str, int]:
    case = {
        "batch": draw(st.integers(1, 2)),
        "rows": draw(st.integers(1, 7)),
        "cols": draw(st.integers(1, 18)),
        "depth": draw(st.sampled_from([1, 3, 8, 16, 20])),
        "channels": draw(st.sampled_from([1, 16, 33])),
        "kernel": draw(st.integers(1, 3)),
        "stride": draw(st.integers(1, 2)),
        "dilation": draw(st.integers(1, 2)),
        "pool": draw(st.sampled_from([0, 0, 2, 3])),
        "relu": draw(st.integers(0, 1)),
    }
    case["pad"] = draw(st.integers(0, case["kernel"] - 1))
    reach = case["dilation"] * (case["kernel"] - 1) + 1
    case["rows"] = max(case["rows"], reach - 2 * case["pad"])
    case["cols"] = max(case["cols"], reach - 2 * case["pad"])
    rows, cols = output_size(case)
    if case["batch"] * rows * cols * -(-case["channels"] // DIM) > 512:
        case["channels"] = 1  # half of the accumulator
    return case


def windows(x: Int8, case: dict[str, int]) -> npt.NDArray[np.int64]:
    """The padded input under every tap: shape (tap row, tap column, batch, rows, cols, depth)."""
    pad, step, dilation = case["pad"], case["stride"], case["dilation"]
    wide = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0))).astype(np.int64)
    rows, cols = output_size(case)
    taps = range(case["kernel"])
    return np.array([
        [
            wide[:, i * dilation :, j * dilation :][:, ::step, ::step][:, :rows, :cols]
            for j in taps
        ]
        for i in taps
    ])  # fmt: skip


def output_size(case: dict[str, int]) -> tuple[int, int]:
    reach = case["dilation"] * (case["kernel"] - 1) + 1
    rows, cols = ((case[name] + 2 * case["pad"] - reach) // case["stride"] + 1
                  for name in ("rows", "cols"))  # fmt: skip
    return rows, cols


def pooled_size(case: dict[str, int]) -> tuple[int, int]:
    rows, cols = output_size(case)
    if not case["pool"]:
        return rows, cols
    return (rows - case["pool"]) // 2 + 1, (cols - case["pool"]) // 2 + 1


def convolution(case: dict[str, int]) -> list[Instruction]:
    """All of a convolution as one tile of LOOP_CONV_WS, pooled with stride 2 or not."""
    rows, cols = output_size(case)
    out_rows, out_cols = pooled_size(case)
    pad, kernel = case["pad"], case["kernel"]
    reach = case["dilation"] * (kernel - 1) + 1
    # What the tile reads beyond the image at the end, and may not reach.
    down = (rows - 1) * case["stride"] + reach - case["rows"] - pad
    right = (cols - 1) * case["stride"] + reach - case["cols"] - pad
    # The unroller counts rows up to the last stride's end.
    down, right = down + case["stride"] - 1, right + case["stride"] - 1
    pixels = min(kernel, DIM // case["depth"]) if case["dilation"] == 1 else 1
    return [
        isa.ConfigStore(activation=case["relu"], stride=case["channels"], scale=float(SCALE)),
        isa.ConfigExecute(a_stride=case["stride"]),
        isa.LoopConvConfig1(
            batch=case["batch"], in_rows=case["rows"], in_channels=case["depth"],
            out_channels=case["channels"], out_rows=rows, pool_out_rows=out_rows, out_cols=cols,
            stride=case["stride"], padding=pad,
        ),
        isa.LoopConvConfig2(
            pool_stride=2 if case["pool"] else 1, pool_size=case["pool"] or 1,
            pool_out_cols=out_cols, kernel=kernel, tile_channels=case["channels"],
            tile_pool_cols=out_cols, tile_pool_rows=out_rows, tile_batches=case["batch"],
        ),
        isa.LoopConvConfig3(
            pad_left=pad, tile_in_channels=case["depth"], tile_kernel_cols=kernel,
            tile_kernel_rows=kernel, in_cols=case["cols"], pad_down=max(down, 0), pad_up=pad,
            pad_right=max(right, 0),
        ),
        isa.LoopConvConfig4(
            dilation=case["dilation"], tile_rows=rows, tile_cols=cols,
            out_stride=case["channels"], weight_stride=case["channels"], in_stride=case["depth"],
        ),
        isa.LoopConvConfig5(weights=B, output=C),
        isa.LoopConvConfig6(bias=D, input=A),
        isa.LoopConvWs(
            no_pool=int(not case["pool"]), activation=case["relu"], pixels_per_row=max(pixels, 1)
        ),
    ]  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(convolutions(), st.integers(0, 99))
def test_loop_conv_convolves(case: dict[str, int], seed: int) -> None:
    rows, cols = output_size(case)
    if case["pool"] > min(rows, cols):
        case["pool"] = 0
    if case["pool"]:
        case["relu"] = 1
    rng = np.random.default_rng(seed)
    shape = (case["batch"], case["rows"], case["cols"], case["depth"])
    x = rng.integers(-40, 40, shape, np.int8)
    taps = case["kernel"]
    w = rng.integers(-40, 40, (taps, taps, case["depth"], case["channels"]), np.int8)
    bias = rng.integers(-999, 999, case["channels"], np.int32)
    m = Machine(TARGET, DRAM)
    put(m, A, x)
    put(m, B, w)
    put(m, D, bias)
    m.run(isa.encode(convolution(case)), timing=False)
    sums = np.einsum("ijnrcd,ijdo->nrco", windows(x, case), w.astype(np.int64)) + bias
    wanted = left(sums, relu=bool(case["relu"]))
    out_rows, out_cols = pooled_size(case)
    if case["pool"]:
        size = case["pool"]
        wanted = np.array([
            [wanted[:, 2 * r : 2 * r + size, 2 * c : 2 * c + size].max((1, 2))
             for c in range(out_cols)]
            for r in range(out_rows)
        ]).transpose(2, 0, 1, 3)  # fmt: skip
    found = m.dram[C : C + wanted.size].view(np.int8).reshape(wanted.shape)
    np.testing.assert_array_equal(found, wanted)


def test_downsampling_loads_every_second_pixel() -> None:
    """A 1x1 window with stride 2: only the pixels that are used are moved."""
    case = {"batch": 1, "rows": 8, "cols": 8, "depth": 16, "channels": 16, "kernel": 1,
            "stride": 2, "dilation": 1, "pad": 0, "pool": 0, "relu": 0}  # fmt: skip
    rng = np.random.default_rng(2)
    x = rng.integers(-40, 40, (1, 8, 8, 16), np.int8)
    w = rng.integers(-40, 40, (16, 16), np.int8)
    bias = np.arange(16, dtype=np.int32)
    program = convolution(case)
    program[1] = isa.ConfigExecute()  # the pixels lie side by side
    program[-1] = isa.LoopConvWs(no_pool=1, downsample=1)
    m = Machine(TARGET, DRAM)
    put(m, A, x)
    put(m, B, w)
    put(m, D, bias)
    m.run(isa.encode(program))
    found = m.dram[C : C + 256].view(np.int8).reshape(1, 4, 4, 16)
    np.testing.assert_array_equal(
        found, left(x[:, ::2, ::2].astype(np.int64) @ w.astype(np.int64) + bias)
    )
    commands = isa.Unroller(TARGET.machine).unroll(isa.encode(program)).commands
    moves = isa.MoveIn.unpack(commands[commands["funct7"] == isa.MoveIn.funct7])
    assert int(moves["rows"].sum()) == 16


# Against the hardware.


def test_recorded_loops_unroll_into_the_recorded_commands(shared: Path) -> None:
    """All are there, and nearly all in their place: which comes first is a matter of timing."""
    compared = 0
    for stream in read_streams(shared / "rtl" / "streams"):
        if stream.form == "explicit":
            continue
        unroller = isa.Unroller(TARGET.machine)
        unroller.unroll(stream.commands)  # the recorded run is a second one, in the other half
        found = isa.disassemble(unroller.unroll(stream.commands).commands).splitlines()
        recorded = isa.disassemble(stream.unrolled).splitlines()
        assert Counter(found) == Counter(recorded), stream.name
        places: dict[str, list[int]] = defaultdict(list)
        for place, line in enumerate(recorded):
            places[line].append(place)
        moved = [abs(place - places[line].pop(0)) for place, line in enumerate(found)]
        assert max(moved) <= 16, stream.name
        assert np.mean(moved) < 0.5, stream.name
        compared += 1
    assert compared >= 7


def test_recorded_loops_give_the_recorded_outputs(shared: Path) -> None:
    for stream in read_streams(shared / "rtl" / "streams"):
        if stream.form == "explicit":
            continue
        machine = new_machine(TARGET, stream)
        for _ in range(2):  # in each half of the memories
            machine.run(stream.setup)
            machine.run(stream.commands)
            assert differing_outputs(machine, stream) == [], stream.name


# In the simulator.


def test_the_oracle_agrees() -> None:
    """`execute` of the instruction classes, one by one."""
    rng = np.random.default_rng(1)
    m, state = Machine(TARGET, DRAM), State(TARGET.machine, DRAM)
    for at, size in ((A, 40 * 50), (B, 50 * 70), (D, 320)):
        put(m, at, rng.integers(-40, 40, size, np.int8))
    state.dram[:] = m.dram
    program = [*matmul(40, 70, 50), isa.Fence(), *matmul(40, 70, 50, bias=False, c=C + 4096)]
    m.run(isa.encode(program))
    for instruction in program:
        instruction.execute(state)
    np.testing.assert_array_equal(m.dram, state.dram)
    np.testing.assert_array_equal(m.accumulator, state.accumulator)


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


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (matmul(800, 16, 16), "the loop needs 800 accumulator rows, and has 512 (half of them)"),
        (
            matmul(256, 256, 512),
            "the loop needs 16384 scratchpad rows, and has 8192 (half of them)",
        ),
        ([isa.LoopWs()], "a loop needs at least one tile each way (loop_ws_bounds)"),
        ([isa.LoopWs(resadd=1)], "a loop needs at least one tile each way (loop_ws_bounds)"),
        ([isa.LoopConvWs(depthwise=1)], "a loop_conv with depthwise is not modelled"),
        ([isa.LoopConvWs()], "a loop needs at least one pixel, channel and tap"),
    ],
)
def test_loops_that_cannot_run_say_why(program: list[Instruction], message: str) -> None:
    with pytest.raises(SimulatorFault) as caught:
        Machine(TARGET, DRAM).run(isa.encode(program), nodes=lambda index: f"/conv{index}")
    last = len(program) - 1
    assert caught.value.index == last
    assert message in str(caught.value)
    assert f"(from ONNX node '/conv{last}')" in str(caught.value)


def test_a_fault_inside_a_loop_names_both() -> None:
    program = [isa.Fence(), *matmul(16, 16, 16)]
    with pytest.raises(SimulatorFault) as caught:
        Machine(TARGET, 0x30000).run(isa.encode(program))
    assert caught.value.index == len(program) - 1
    assert str(caught.value).startswith(
        "command 11: loop_ws accumulate=1, at its mvin3 dram=0x40000 local=acc[0] cols=16 rows=16: "
        "DRAM bytes 0x40000 to 0x40040 are outside"
    )


def test_an_illegal_command_inside_a_loop_names_both() -> None:
    program = matmul(16, 16, 16)
    program[-1] = isa.LoopWs(full_c=1)
    with pytest.raises(SimulatorFault, match=r"at its mvout .*full-width move-out is not portable"):
        Machine(TARGET, DRAM).run(isa.encode(program))


def test_lean_machines_refuse_loops_for_convolutions() -> None:
    illegal = isa.check_portable(isa.encode([isa.LoopWs(), isa.LoopConvConfig1()]))
    assert illegal is not None
    assert (illegal.index, illegal.reason) == (1, "gemmini lacks the extension loop_conv")


# In time.


def test_a_loop_takes_what_its_commands_take() -> None:
    program = isa.encode(matmul(64, 64, 64))
    unrolled = isa.Unroller(TARGET.machine).unroll(program).commands
    loop = CycleModel(TARGET, gap=3).run(program).total
    assert loop == pytest.approx(CycleModel(TARGET, gap=1).run(unrolled).total, abs=40)
    # A command of the host's each, they would take its time.
    assert CycleModel(TARGET, gap=25).run(unrolled).total > 1.5 * loop


def test_times_are_those_of_the_host_s_commands() -> None:
    program = isa.encode([*matmul(64, 64, 64), isa.Fence()])
    run = CycleModel(TARGET, gap=3).run(program)
    times = run.times
    assert times.shape == (12, 4)
    assert np.isfinite(times).all()
    assert (np.diff(times[:, 0]) >= 0).all()
    assert times[10, 3] < times[11, 3] == run.total
    assert times[10, 3] - times[10, 0] > 1000  # from its first command to its last one's end
    assert (times[5:10] == times[4, 0]).all()  # what configures it goes no further
    assert times[10, 0] >= times[4, 0] + 6 * 3  # and is paid for before it


def test_two_loops_overlap() -> None:
    one = matmul(64, 64, 64)
    two = isa.encode([*one, *one[5:]])
    model, twice = CycleModel(TARGET), CycleModel(TARGET)
    model.run(isa.encode(one))
    twice.run(two)
    assert twice.run(two).total < 1.9 * model.run(isa.encode(one)).total
    origin = isa.Unroller(TARGET.machine).unroll(two).origin
    assert (np.diff(origin) < 0).any()  # the second's moves come between the first's products


def test_a_machine_times_loops_as_the_model_does() -> None:
    program = isa.encode([*matmul(48, 48, 48), isa.Fence()])
    m, model = Machine(TARGET, DRAM), CycleModel(TARGET)
    for _ in range(2):
        assert m.run(program).cycles == model.run(program).total
