"""Layers that are planned in a certain way, and how to see in a program that they were."""

import numpy as np
from accel_checks import lowered
from accel_layers import Builder, Case, Exit

from mcc.backends.riscv_accel import link
from mcc.backends.riscv_accel.structure import Ready
from mcc.ir import Module, Value
from mcc.ops import Conv
from mcc.runtime import Target, isa, load_target


def residual(
    factors: np.ndarray, *, size: int = 12, kernel: int = 3, channels: int = 64, seed: int = 7
) -> Case:
    """A convolution that adds a residual from DRAM; an output channel for each factor."""
    builder = Builder(seed)
    outputs = len(factors)
    x, r = builder.start(x=(1, size, size, channels), r=(1, size, size, outputs))
    pad = kernel // 2
    product = Conv(
        x,
        builder.weights(outputs, channels, kernel, kernel),
        builder.vector(outputs, 4000),
        r,
        builder.data(factors.astype(np.int32)),
        pads=(pad,) * 4,
        layout="nhwc",
    )
    sums = builder.add(product, "y.acc")
    return builder.finish(Exit().apply(builder, sums, 5000.0 * kernel * channels**0.5))


def wide_moves(case: Case, target: Target) -> int:
    """How many moves-in a program has whose load state is wide."""
    wide, moves = [False] * 3, 0
    linked = link(lowered(case, target), target)
    for command in isa.decode(linked.program.commands):
        match command:
            case isa.ConfigLoad():
                wide[command.state] = bool(command.wide)
            case isa.MoveIn():
                moves += wide[command.load_state]
            case _:
                pass
    return moves


def cached(name: str, l2_bytes: int) -> Target:
    """A machine whose cache holds little."""
    record = load_target(name).model_dump()
    record["accelerator"]["dma"]["l2_bytes"] = l2_bytes
    return Target.from_dict(record | {"name": f"{name}-{l2_bytes}"})


def expansion(
    size: tuple[int, int] = (24, 20),
    channels: tuple[int, int] = (16, 48),
    window: tuple[int, int] = (3, 3),
    stride: tuple[int, int] = (1, 1),
    pad: int = 0,
    leaves: bool = False,
) -> Case:
    """A 1x1 convolution to more channels, a depthwise one on them, and a 1x1 one back."""
    builder = Builder(5)
    (x,) = builder.start(x=(1, *size, channels[0]))
    pads = (window[0] // 2, window[1] // 2, (window[0] - 1) // 2, (window[1] - 1) // 2)
    exit = Exit(per_channel=False, zero=0)

    def conv(y: Value, name: str, *shape: int, groups: int = 1) -> Value:
        more = ((1, 1), (0, 0, 0, 0)) if groups == 1 else (stride, pads)
        weights, bias = builder.weights(*shape), builder.vector(shape[0], 3000)
        sums = Conv(
            y, weights, bias, None, None, *more, (), groups, pad if groups > 1 else 0, layout="nhwc"
        )
        spread = 5000.0 * (shape[1] * shape[2] * shape[3]) ** 0.5
        return exit.apply(builder, builder.add(sums, f"{name}.acc"), spread, name)

    wide = conv(x, "wide", channels[1], channels[0], 1, 1)
    deep = conv(wide, "deep", channels[1], 1, *window, groups=channels[1])
    back = conv(deep, "back", channels[0], channels[1], 1, 1)
    return builder.finish(back, *([wide] if leaves else []))


def made(module: Module) -> list[str]:
    return [op.tensor for op in module.ops() if isinstance(op, Ready)]
