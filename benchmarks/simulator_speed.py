"""Speed of the simulator, bits and cycles in one run, on layers as ResNet-50 has them.

Each layer is a program of moves and products on 16x16 tiles: weights of a group of output channels
stay while rows of pixels pass, as a compiler would order it. CPU time of the second run counts, so
compilation of the kernels and first touches of memory do not.
"""

import time
from dataclasses import dataclass

import numpy as np
from recording import Cell, Table, arguments, finish

from mcc.runtime import isa, load_target
from mcc.runtime.isa import Commands, accumulator
from mcc.runtime.simulator import Machine

_TILE = 16
_PIXELS = 128
"""Pixels whose sums are in the accumulator at a time: a half of it holds 512 rows."""
_INPUT, _WEIGHTS, _OUTPUT = 1 << 16, 1 << 23, 1 << 25


@dataclass(frozen=True)
class Layer:
    """A convolution as a product: `pixels` x `depth` times `depth` x `channels`."""

    name: str
    pixels: int
    depth: int
    channels: int

    @property
    def macs(self) -> int:
        return self.pixels * self.depth * self.channels


LAYERS = (
    Layer("conv2 1x1 64-256, 56x56", 3136, 64, 256),
    Layer("conv3 3x3 128-128, 28x28", 784, 1152, 128),
    Layer("conv4 1x1 1024-256, 14x14", 196, 1024, 256),
    Layer("conv5 3x3 512-512, 7x7", 49, 4608, 512),
)


def program(layer: Layer) -> Commands:
    """For each group of pixels and of 64 output channels, all of the depth."""
    parts: list[Commands] = [
        isa.ConfigLoad(stride=layer.depth, block_stride=_PIXELS).commands(),
        isa.ConfigLoad(state=1, stride=layer.channels).commands(),
        isa.ConfigStore(stride=layer.channels, scale=2.0**-10).commands(),
        isa.ConfigExecute().commands(),
    ]
    for start in range(0, layer.pixels, _PIXELS):
        tiles = -(-min(_PIXELS, layer.pixels - start) // _TILE)
        for channel in range(0, layer.channels, 64):
            for deep in range(0, layer.depth, 64):
                parts.extend(_block(layer, start, tiles, channel, deep))
            sources = np.arange(tiles) * _TILE
            parts.extend(
                isa.MoveOut.pack(
                    dram=_OUTPUT + (start + sources) * layer.channels + channel + 16 * block,
                    local=accumulator(block * _PIXELS + sources),
                    cols=_TILE,
                    rows=_TILE,
                )
                for block in range(4)
            )
    return isa.concatenate(parts)


def _block(layer: Layer, start: int, tiles: int, channel: int, deep: int) -> list[Commands]:
    """64 of the depth: its inputs and weights moved in, 4 x 4 tiles of weights used."""
    half = (deep // 64) % 2
    inputs, weights = half * 4 * _PIXELS, 8192 + half * 256
    rows = np.arange(tiles) * _TILE
    depth = np.arange(4) * _TILE
    moved = [
        isa.MoveIn.pack(
            dram=_INPUT + (start + rows) * layer.depth + deep,
            local=inputs + rows,
            cols=64,
            rows=_TILE,
        ),
        isa.MoveIn2.pack(
            dram=_WEIGHTS + (deep + depth) * layer.channels + channel,
            local=weights + 4 * depth,
            cols=64,
            rows=_TILE,
        ),
    ]
    pairs = np.zeros((4, 4, tiles, 2), isa.COMMAND)
    for block in range(4):
        for step in range(4):
            target = accumulator(block * _PIXELS + rows, accumulate=deep + step > 0)
            local = np.full(tiles, isa.GARBAGE, np.int64)
            local[0] = weights + 64 * step + _TILE * block
            pairs[block, step, :, 0] = isa.Preload.pack(
                local=local,
                cols=_TILE,
                rows=_TILE,
                destination=target,
                destination_cols=_TILE,
                destination_rows=_TILE,
            )
            source = inputs + step * _PIXELS + rows
            kept = isa.ComputeKept.pack(local=source, cols=_TILE, rows=_TILE)
            pairs[block, step, :, 1] = kept
            pairs[block, step, 0, 1] = isa.ComputePreloaded.pack(
                local=source[:1], cols=_TILE, rows=_TILE
            )[0]
    return [*moved, pairs.reshape(-1)]


def main() -> None:
    options = arguments((__doc__ or "").partition("\n")[0]).parse_args()
    target = load_target("riscv-accel")
    rows: list[tuple[Cell, ...]] = []
    total_macs, total_seconds, total_bits = 0, 0.0, 0.0
    for layer in LAYERS:
        machine = Machine(target, 1 << 26)
        rng = np.random.default_rng(0)
        machine.dram[:_OUTPUT] = rng.integers(0, 256, _OUTPUT, np.uint8)
        commands = program(layer)
        seconds: dict[bool, float] = {}
        cycles, macs = 0, 0
        fence = isa.Fence().commands()
        for timing in (True, False):
            machine.run(commands, timing=timing)
            machine.run(fence)
            started = time.process_time()
            result = machine.run(commands, timing=timing)
            seconds[timing] = time.process_time() - started
            machine.run(fence)
            if timing:
                cycles, macs = result.cycles, result.macs
        total_macs += macs
        total_seconds += seconds[True]
        total_bits += seconds[False]
        speed = macs / seconds[True] / 1e6
        rows.append((
            layer.name, len(commands), macs, cycles, macs / cycles / 256, round(speed),
            round(macs / seconds[False] / 1e6),
        ))  # fmt: skip
    rows.append((
        "all", None, total_macs, None, None, round(total_macs / total_seconds / 1e6),
        round(total_macs / total_bits / 1e6),
    ))  # fmt: skip
    table = Table(
        "simulator_speed",
        "Speed of simulation",
        "python benchmarks/simulator_speed.py",
        ("layer", "commands", "MAC", "cycles", "array used", "M MAC/s", "without cycles"),
        list(rows),
        [
            "CPU time of one core; bits with checks of hazards and undefined reads.",
            "Aim with cycles: 2,000 M MAC/s.",
        ],
        timed=True,
    )
    finish([table], options)


if __name__ == "__main__":
    main()
