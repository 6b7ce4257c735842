"""Random integer networks in NHWC: layers that read each other, some of them several times."""

import math

from accel_layers import EXITS, STOCK_EXITS, Builder, Case, Exit
from hypothesis import strategies as st

from mcc.ir import Value
from mcc.ops import Conv, Matmul, MaxPool, Reshape, SumPool

CHANNELS = [1, 3, 8, 16, 20, 33]


@st.composite
def networks(draw: st.DrawFn, *, stock: bool) -> Case:
    """Up to six layers on one or two images; any tensor may also be an output."""
    network = _Network(draw, stock)
    for number in range(draw(st.integers(2, 6))):
        network.grow(f"t{number}")
    if draw(st.booleans()):
        network.classify()
    return network.finish()


class _Network:
    """A network under way: its last tensor, and all that a residual may read."""

    def __init__(self, draw: st.DrawFn, stock: bool) -> None:
        self.draw = draw
        self.exits = STOCK_EXITS if stock else EXITS
        self.builder = Builder(draw(st.integers(0, 2**32 - 1)))
        height, width = draw(st.integers(3, 18)), draw(st.integers(3, 18))
        shape = (draw(st.sampled_from([1, 1, 1, 2])), height, width, self.channels())
        (self.last,) = self.builder.start(x=shape)
        self.seen = [self.last]

    def channels(self) -> int:
        return self.draw(st.sampled_from(CHANNELS))

    def grow(self, name: str) -> None:
        """One more layer, on the last tensor or on an earlier one."""
        x = self.draw(st.sampled_from([self.last, self.last, *self.seen]))
        kinds = [self.convolution, self.convolution, self.depthwise, self.pool]
        self.last = self.draw(st.sampled_from(kinds))(x, name)
        self.seen.append(self.last)

    def exit(self) -> Exit:
        return self.draw(self.exits)

    def window(self, x: Value) -> tuple[tuple[int, int], tuple[int, int], tuple[int, ...]]:
        """Size, stride and padding of a window that fits the image."""
        kernel, stride, pads = [0, 0], [0, 0], [0, 0, 0, 0]
        for i in range(2):
            extent = x.tensor.dims[1 + i]
            kernel[i] = self.draw(st.integers(1, min(3, extent)))
            stride[i] = self.draw(st.sampled_from([1, 1, 2]))
            pads[i], pads[2 + i] = (self.draw(st.integers(0, kernel[i] // 2)) for _ in range(2))
        return (kernel[0], kernel[1]), (stride[0], stride[1]), tuple(pads)

    def convolution(self, x: Value, name: str) -> Value:
        size, stride, pads = self.window(x)
        channels, outputs = x.tensor.dims[-1], self.channels()
        return self.conv(x, outputs, (channels, *size), stride, pads, 1, name)

    def depthwise(self, x: Value, name: str) -> Value:
        size, stride, pads = self.window(x)
        channels = x.tensor.dims[-1]
        return self.conv(x, channels, (1, *size), stride, pads, channels, name)

    def conv(
        self,
        x: Value,
        outputs: int,
        window: tuple[int, ...],
        stride: tuple[int, int],
        pads: tuple[int, ...],
        groups: int,
        name: str,
    ) -> Value:
        builder = self.builder
        weights = builder.weights(outputs, *window)
        bias = builder.vector(outputs, 4000) if self.draw(st.booleans()) else None
        pad = self.draw(st.sampled_from([0, 0, -128, 5]))
        plain = Conv(x, weights, bias, None, None, stride, pads, (), groups, pad, layout="nhwc")
        shape = plain.result.tensor.dims
        like = [value for value in self.seen if value.tensor.dims == shape]
        spread = math.sqrt(math.prod(window)) * 5000
        product = plain
        added = self.draw(st.booleans())
        if added and like:
            residual = self.draw(st.sampled_from(like))
            factors = builder.vector(outputs, self.draw(st.sampled_from([100, 300])))
            product = Conv(
                x, weights, bias, residual, factors, stride, pads, (), groups, pad, layout="nhwc"
            )
        y = self.exit().apply(builder, builder.add(product, f"{name}.acc"), spread, name)
        if min(shape[1:3]) >= 3 and self.draw(st.integers(0, 3)) == 0:
            y = builder.add(MaxPool(y, (2, 2), (2, 2), (), (), layout="nhwc"), f"{name}.pooled")
        return y

    def pool(self, x: Value, name: str) -> Value:
        size = min(2, *x.tensor.dims[1:3])
        if self.draw(st.booleans()):
            return self.builder.add(MaxPool(x, (size, size), (1, 1), (), (), layout="nhwc"), name)
        sums = SumPool(x, (size, size), (size, size), layout="nhwc", zero=3)
        return self.exit().apply(self.builder, self.builder.add(sums), 75.0 * size, name)

    def classify(self) -> None:
        """A global average, and a product with what it leaves; or one with the whole image."""
        builder, x = self.builder, self.last
        batch, height, width, channels = x.tensor.dims
        if self.draw(st.booleans()):
            sums = SumPool(x, (height, width), layout="nhwc", zero=-3)
            spread = 75.0 * math.sqrt(height * width)
            x = self.exit().apply(builder, builder.add(sums), spread, "average")
            height = width = 1
        depth = height * width * channels
        flat = builder.add(Reshape(x, (batch, depth)), "flat")
        product = Matmul(flat, builder.weights(depth, 10), builder.vector(10, 999))
        self.last = self.exit().apply(
            builder, builder.add(product, "logits.acc"), math.sqrt(depth) * 5000, "logits"
        )

    def finish(self) -> Case:
        more = self.draw(st.lists(st.sampled_from(self.seen[1:]), max_size=2, unique_by=id))
        return self.builder.finish(self.last, *(v for v in more if v is not self.last))
