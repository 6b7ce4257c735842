"""LOOP_CONV_WS in all its layouts against numpy."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from looped import DIM, DRAM, SCALE, TARGET, A, B, C, D, Int8, left, put

from mcc.runtime import isa
from mcc.runtime.isa import Instruction, State
from mcc.runtime.simulator import Machine, SimulatorFault


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


def convolution(case: dict[str, int], *flags: str) -> list[Instruction]:
    """All of a convolution as one tile of LOOP_CONV_WS, pooled with stride 2 or not.

    `flags` are those of `isa.LoopConvWs`; what they ask of the configurations before is set too.
    """
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
    if set(flags) - {"transpose_output", "transpose_weights_1203"}:
        pixels = 1
    turned = {name: name in flags for name in flags}
    apart = case["channels"] * (case["batch"] if "transpose_output" in flags else 1)
    return [
        isa.ConfigStore(activation=case["relu"], stride=apart, scale=float(SCALE)),
        isa.ConfigExecute(
            a_stride=case["stride"], transpose_a=int("transpose_input" in flags),
            transpose_b=int("transpose_weights_0132" in flags),
        ),
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
            no_pool=int(not case["pool"]), activation=case["relu"], pixels_per_row=max(pixels, 1),
            **turned,
        ),
    ]  # fmt: skip


LAYOUTS = {
    "transpose_weights_1203": (2, 0, 1, 3),
    "transpose_weights_0132": (0, 1, 3, 2),
    "transpose_input": (3, 1, 2, 0),
    "transpose_output": (1, 2, 0, 3),
}
"""How a flag says that a tensor lies in memory: the axes of images as batch, rows, columns,
channels, those of weights as rows, columns, input channels, output channels."""

FLAGS: list[tuple[str, ...]] = [
    (),
    ("rotate",),
    ("transpose_output",),
    ("transpose_input",),
    ("transpose_weights_1203",),
    ("transpose_weights_0132",),
    ("rotate", "transpose_weights_0132"),
    ("transpose_input", "transpose_weights_1203", "transpose_output"),
]


def laid_out(array: Int8, kind: str, flags: tuple[str, ...]) -> Int8:
    """A tensor as it lies in memory under these flags."""
    for flag in flags:
        if flag in LAYOUTS and kind in flag:
            array = array.transpose(LAYOUTS[flag])
    return np.ascontiguousarray(array)


@pytest.mark.parametrize("flags", FLAGS, ids=" ".join)
@settings(deadline=None, max_examples=15)
@given(case=convolutions(), seed=st.integers(0, 99))
def test_loop_conv_convolves(flags: tuple[str, ...], case: dict[str, int], seed: int) -> None:
    if "transpose_output" in flags:
        case["pool"] = 0  # the pool's output is never transposed
    if "transpose_input" in flags:
        case["batch"] += 16  # images are the columns of A: more than one block
        case |= {"rows": 3, "cols": 4, "kernel": min(case["kernel"], 2), "channels": 16}
        case |= {"pad": min(case["pad"], 1), "dilation": 1}
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
    put(m, A, laid_out(x, "input", flags))
    turned = w[::-1, ::-1] if "rotate" in flags else w
    put(m, B, laid_out(turned, "weights", flags))
    put(m, D, bias)
    program = convolution(case, *flags)
    state = State(TARGET.machine, DRAM)
    state.dram[:] = m.dram
    m.run(isa.encode(program), timing=False)
    for instruction in program:
        instruction.execute(state)
    np.testing.assert_array_equal(m.dram, state.dram)
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
    wanted = laid_out(wanted, "output", flags)
    found = m.dram[C : C + wanted.size].view(np.int8).reshape(wanted.shape)
    np.testing.assert_array_equal(found, wanted)


@settings(deadline=None, max_examples=30)
@given(
    rows=st.integers(1, 5), cols=st.integers(1, 20), depth=st.sampled_from([1, 16, 20]),
    kernel=st.integers(1, 3), pads=st.tuples(*[st.integers(0, 2)] * 4), batch=st.integers(1, 2),
    rotate=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_a_dilated_input_has_zeros_between_its_pixels(
    rows: int, cols: int, depth: int, kernel: int, pads: tuple[int, ...], batch: int,
    rotate: bool, seed: int,
) -> None:  # fmt: skip
    """As in the gradient of a convolution of stride 2 by its input."""
    up, down, left_, right = (min(pad, kernel - 1) for pad in pads)
    rng = np.random.default_rng(seed)
    x = rng.integers(-40, 40, (batch, rows, cols, depth), np.int8)
    w = rng.integers(-40, 40, (kernel, kernel, depth, 24), np.int8)
    bias = rng.integers(-999, 999, 24, np.int32)
    dilated = np.zeros((batch, 2 * rows - 1, 2 * cols - 1, depth), np.int64)
    dilated[:, ::2, ::2] = x
    wide = np.pad(dilated, ((0, 0), (up, down), (left_, right), (0, 0)))
    high, broad = wide.shape[1] - kernel + 1, wide.shape[2] - kernel + 1
    if high < 1 or broad < 1 or 2 * batch * high * broad > 512:
        return  # no output, or more than half of the accumulator
    program: list[Instruction] = [
        isa.ConfigStore(stride=24, scale=float(SCALE)),
        isa.ConfigExecute(c_stride=2),
        isa.LoopConvConfig1(
            batch=batch, in_rows=rows, in_channels=depth, out_channels=24, out_rows=high,
            out_cols=broad, stride=1,
        ),
        isa.LoopConvConfig2(kernel=kernel, tile_channels=24, tile_batches=batch),
        isa.LoopConvConfig3(
            pad_left=left_, pad_right=right, pad_up=up, pad_down=down, tile_in_channels=depth,
            tile_kernel_cols=kernel, tile_kernel_rows=kernel, in_cols=cols,
        ),
        isa.LoopConvConfig4(
            tile_rows=high, tile_cols=broad, out_stride=24, weight_stride=24, in_stride=depth
        ),
        isa.LoopConvConfig5(weights=B, output=C),
        isa.LoopConvConfig6(bias=D, input=A),
        isa.LoopConvWs(no_pool=1, dilate_input=1, rotate=int(rotate)),
    ]  # fmt: skip
    m = Machine(TARGET, DRAM)
    put(m, A, x)
    put(m, B, w[::-1, ::-1] if rotate else w)
    put(m, D, bias)
    m.run(isa.encode(program), timing=False)
    sums = bias + sum(
        wide[:, i : i + high, j : j + broad] @ w[i, j].astype(np.int64)
        for i in range(kernel)
        for j in range(kernel)
    )
    found = m.dram[C : C + sums.size].view(np.int8).reshape(sums.shape)
    np.testing.assert_array_equal(found, left(sums))


@settings(deadline=None, max_examples=20)
@given(convolutions(), st.integers(2, 20), st.integers(0, 99))
def test_a_depthwise_convolution_takes_a_loop_a_channel(
    case: dict[str, int], channels: int, seed: int
) -> None:
    """As the stock library does it: weights lie channel by channel, images as ever."""
    case |= {"depth": 1, "channels": 1, "pool": 0}
    rng = np.random.default_rng(seed)
    x = rng.integers(-40, 40, (case["batch"], case["rows"], case["cols"], channels), np.int8)
    w = rng.integers(-40, 40, (channels, case["kernel"], case["kernel"]), np.int8)
    bias = rng.integers(-999, 999, channels, np.int32)
    m = Machine(TARGET, DRAM)
    put(m, A, x)
    put(m, B, w)
    put(m, D, bias)
    program = convolution(case, "depthwise")
    store, sizes = program[0], program[5]
    assert isinstance(store, isa.ConfigStore)
    assert isinstance(sizes, isa.LoopConvConfig4)
    program[0] = replace(store, stride=channels)
    program[5] = replace(sizes, in_stride=channels, out_stride=channels)
    for channel in range(channels):
        taps = B + channel * case["kernel"] ** 2
        program[6] = isa.LoopConvConfig5(weights=taps, output=C + channel)
        program[7] = isa.LoopConvConfig6(bias=D + 4 * channel, input=A + channel)
        m.run(isa.encode(program), timing=False)
    sums = np.einsum("ijnrcd,dij->nrcd", windows(x, case), w.astype(np.int64)) + bias
    wanted = left(sums, relu=bool(case["relu"]))
    found = m.dram[C : C + wanted.size].view(np.int8).reshape(wanted.shape)
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    ("flags", "sizes", "message"),
    [
        ({"dilate_input": 1}, {"stride": 2}, "a loop_conv with dilate_input has stride 1, not 2"),
        (
            {"dilate_input": 1, "downsample": 1}, {"stride": 1},
            "a loop_conv cannot dilate its input and take every second pixel of it",
        ),
        ({"depthwise": 1}, {}, "a depthwise loop_conv takes one channel in and one out"),
        (
            {"transpose_input": 1, "pixels_per_row": 2}, {},
            "a loop_conv with transpose_input takes one pixel a row",
        ),
        (
            {"rotate": 1, "pixels_per_row": 3}, {},
            "a loop_conv with rotate takes one pixel a row",
        ),
    ],
)  # fmt: skip
def test_what_a_loop_cannot_do_together(
    flags: dict[str, int], sizes: dict[str, int], message: str
) -> None:
    program: list[Instruction] = [isa.LoopConvConfig1(**sizes), isa.LoopConvWs(**flags)]
    with pytest.raises(SimulatorFault, match=message):
        Machine(TARGET, DRAM).run(isa.encode(program))


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
