"""Random integer layers in NHWC for the accelerator's tests, built by hand."""

import math
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from mcc.ir import DType, Module, Op, Region, Tensor, Value, Yield, constant
from mcc.ops import Conv, Lookup, Matmul, MaxPool, Requantize, SumPool


@dataclass(frozen=True)
class Case:
    """A module and arrays for its inputs."""

    module: Module
    feeds: dict[str, np.ndarray]

    def __repr__(self) -> str:
        return str(self.module)


class Builder:
    """Appends ops to a module's body and remembers its random inputs."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.inputs: list[tuple[str, tuple[int, ...]]] = []
        self.ops: list[Op] = []
        self.body = Region()

    def start(self, **inputs: tuple[int, ...]) -> tuple[Value, ...]:
        self.body = Region([Tensor(DType.I8, shape) for shape in inputs.values()], list(inputs))
        self.inputs = list(inputs.items())
        return self.body.args

    def add(self, op: Op, name: str = "") -> Value:
        op.named(name, [f"node of {name}"] if name else ())
        self.body.append(op)
        return op.result

    def data(self, array: np.ndarray) -> Value:
        return self.add(constant(array))

    def weights(self, *shape: int, largest: int = 127) -> Value:
        return self.data(self.integers(*shape, largest=largest))

    def integers(self, *shape: int, largest: int) -> np.ndarray:
        """Weights from `-largest - 1`, but not -128, to `largest`."""
        return self.rng.integers(max(-largest - 1, -127), largest + 1, shape, dtype=np.int8)

    def vector(self, count: int, limit: int) -> Value:
        return self.data(self.rng.integers(-limit, limit + 1, count, dtype=np.int32))

    def finish(self, *results: Value) -> Case:
        self.body.append(Yield(results))
        module = Module("case", self.body, [f"y{i}" for i in range(len(results))])
        feeds = {
            name: self.rng.integers(-128, 128, shape, dtype=np.int8) for name, shape in self.inputs
        }
        return Case(module, feeds)


@dataclass(frozen=True)
class Exit:
    """How an accumulator leaves."""

    per_channel: bool = False
    zero: int = 0
    lo: int = -128
    hi: int = 127
    table: bool = False

    def apply(self, builder: Builder, sums: Value, spread: float, name: str = "y") -> Value:
        """requantize, perhaps a table; `spread` is about the sums' standard deviation."""
        scale = 50.0 / max(spread, 1.0)
        channels = sums.tensor.dims[-1]
        multiplier: np.ndarray = np.asarray(scale, np.float32)
        if self.per_channel:
            multiplier = (scale * builder.rng.uniform(0.5, 1.5, channels)).astype(np.float32)
        y = builder.add(
            Requantize(
                sums,
                builder.data(multiplier),
                self.zero,
                self.lo,
                self.hi,
                axis=sums.tensor.rank - 1,
            ),
            name,
        )
        if self.table:
            table = builder.data(builder.rng.integers(-128, 128, 256, dtype=np.int8))
            y = builder.add(Lookup(y, table), f"{name}.looked")
        return y


LARGEST = st.sampled_from([127, 127, 7])
"""The largest weight; 7 is the largest that takes four bits."""

STOCK_EXITS = st.sampled_from([Exit(), Exit(lo=0)])
EXITS = st.builds(
    Exit,
    per_channel=st.booleans(),
    zero=st.integers(-128, 127),
    lo=st.integers(-128, 0),
    hi=st.integers(1, 127),
    table=st.booleans(),
)


@st.composite
def convolutions(draw: st.DrawFn, exits: st.SearchStrategy[Exit], *, stock: bool) -> Case:
    """A convolution of any geometry, perhaps grouped, with a residual, with a pool behind it."""
    builder = Builder(draw(st.integers(0, 2**32 - 1)))
    rank = draw(st.sampled_from([1, 2, 2, 2]))
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 0]))
    channels = draw(st.sampled_from([1, 3, 8, 16, 17, 40]))
    outputs = draw(st.sampled_from([1, 5, 16, 24, 33, 64]))
    if groups == 0:
        groups = outputs = channels
    channels, outputs = -(-channels // groups) * groups, -(-outputs // groups) * groups
    kernel = [draw(st.integers(1, 4)) for _ in range(rank)]
    strides = tuple(draw(st.integers(1, 3)) for _ in range(rank))
    dilations = tuple(draw(st.integers(1, 2)) for _ in range(rank))
    pads = tuple(draw(st.integers(0, kernel[i % rank] - 1)) for i in range(2 * rank))
    spatial = [
        max(
            draw(st.integers(1, 20)),
            dilations[i] * (kernel[i] - 1) + 1 - pads[i] - pads[rank + i],
        )
        for i in range(rank)
    ]
    shape = (draw(st.integers(1, 2)), *spatial, channels)
    out = [
        (spatial[i] + pads[i] + pads[rank + i] - dilations[i] * (kernel[i] - 1) - 1) // strides[i]
        + 1
        for i in range(rank)
    ]
    residual = draw(st.booleans())
    inputs = {"x": shape}
    if residual:
        inputs["r"] = (shape[0], *out, outputs)
    x, *rest = builder.start(**inputs)
    depth = channels // groups * math.prod(kernel)
    limit = draw(st.sampled_from([20, 127, 600]))
    largest = draw(LARGEST)
    weights = builder.integers(outputs, channels // groups, *kernel, largest=largest)
    if draw(st.booleans()):  # pruned: whole tiles vanish
        weights[:, : channels // groups // 2 + 1] = 0
    factors = builder.vector(outputs, limit)
    if draw(st.booleans()):
        factors = builder.data(np.full(outputs, draw(st.integers(-limit, limit)), np.int32))
    product = Conv(
        x,
        builder.data(weights),
        builder.vector(outputs, 4000) if draw(st.booleans()) else None,
        rest[0] if rest else None,
        factors if rest else None,
        strides,
        pads,
        dilations,
        groups,
        draw(st.sampled_from([0, 0, -128, 5])),
        layout="nhwc",
    )
    exit = draw(exits)
    spread = math.hypot(math.sqrt(depth) * 40 * largest, limit * 70 if rest else 0)
    y = exit.apply(builder, builder.add(product, "y.acc"), spread)
    if rank == 2 and min(out) >= 3 and draw(st.booleans()):
        size = draw(st.integers(2, 3))
        pad = draw(st.integers(0, 1)) if exit.lo == 0 or not stock else 0
        y = builder.add(
            MaxPool(y, (size, size), (draw(st.integers(1, 3)),) * 2, (pad,) * 4, (), layout="nhwc"),
            "pooled",
        )
    return builder.finish(y)


@st.composite
def matrix_products(draw: st.DrawFn, exits: st.SearchStrategy[Exit]) -> Case:
    """A product with constant weights, or of two activations in batches."""
    builder = Builder(draw(st.integers(0, 2**32 - 1)))
    rows, depth = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    columns = draw(st.sampled_from([1, 10, 16, 50, 64, 100, 128]))
    spread = math.sqrt(depth) * 5000
    if draw(st.booleans()):
        (x,) = builder.start(x=(rows, depth))
        bias, largest = builder.vector(columns, 4000), draw(LARGEST)
        spread = math.sqrt(depth) * 40 * largest
        product = Matmul(x, builder.weights(depth, columns, largest=largest), bias)
    else:
        batch = draw(st.integers(1, 3))
        x, w = builder.start(x=(batch, rows, depth), w=(batch, depth, columns))
        product = Matmul(x, w)
    return builder.finish(draw(exits).apply(builder, builder.add(product, "y.acc"), spread))


@st.composite
def pools(draw: st.DrawFn, exits: st.SearchStrategy[Exit], *, largest: int) -> Case:
    """A maximum pool alone, a sum pool, or a global one."""
    builder = Builder(draw(st.integers(0, 2**32 - 1)))
    height, width = draw(st.integers(4, 20)), draw(st.integers(4, 20))
    channels = draw(st.sampled_from([1, 16, 24, 70]))
    (x,) = builder.start(x=(draw(st.integers(1, 2)), height, width, channels))
    kind = draw(st.sampled_from(["max", "sum", "global"]))
    if kind == "global":
        zero = draw(st.integers(-128, 127))
        sums = SumPool(x, (height, width), layout="nhwc", zero=zero)
        y = draw(exits).apply(builder, builder.add(sums), 75.0 * math.sqrt(height * width))
        return builder.finish(y)
    size = draw(st.integers(2, min(largest, height, width)))
    stride = draw(st.integers(1, min(size, 3)))
    pads = tuple(draw(st.integers(0, size - 1)) for _ in range(4))
    if kind == "max":
        y = builder.add(MaxPool(x, (size, size), (stride,) * 2, pads, (), layout="nhwc"))
        return builder.finish(y)
    zero = draw(st.sampled_from([0, -128, 3]))
    sums = SumPool(x, (size, size), (stride,) * 2, pads, (), layout="nhwc", zero=zero)
    return builder.finish(draw(exits).apply(builder, builder.add(sums), 75.0 * size))
