"""Every way to read a product gives the same sums."""

import math
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mcc.backends.riscv_accel.layers import Exit, Image, Product, Window
from mcc.backends.riscv_accel.mapping import mappings, ungrouped
from mcc.runtime import load_target


def pixel(memory: np.ndarray, image: Image, place: tuple[int, int, int]) -> np.ndarray:
    n, row, col = place
    start = image.offset + n * image.image_stride
    start += row * image.row_stride + col * image.pixel_stride
    return memory[start : start + image.channels].astype(np.int64)


def sums(product: Product, memory: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """What leaves before it is requantized, in the order of memory."""
    x, window, weights = product.x, product.window, ungrouped(product).astype(np.int64)
    found: list[np.ndarray] = []
    for place in np.ndindex(x.batch, product.height, product.width):
        n, out_row, out_col = place
        total = np.zeros(product.channels, np.int64)
        if product.bias is not None:
            total += product.bias
        if product.residual is not None and product.factors is not None:
            total += pixel(residual, product.residual, place) * product.factors
        for i, j in np.ndindex(*window.size):
            row = out_row * window.stride[0] + i * window.dilation[0] - window.pad[0]
            col = out_col * window.stride[1] + j * window.dilation[1] - window.pad[1]
            inside = 0 <= row < x.height and 0 <= col < x.width
            padding = np.full(x.channels, product.pad_value)
            values = pixel(memory, x, (n, row, col)) if inside else padding
            total += values @ weights[i, j]
        found.append(total)
    return np.concatenate(found)


def dense(operand: int, batch: int, height: int, width: int, channels: int) -> Image:
    row = width * channels
    return Image(operand, batch, height, width, channels, height * row, row, channels)


@st.composite
def products(draw: st.DrawFn) -> Product:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    groups = draw(st.sampled_from([1, 1, 2, 8]))
    channels = groups * draw(st.integers(1, 3))
    outputs = groups * draw(st.integers(1, 3))
    size = (draw(st.integers(1, 2)), draw(st.integers(1, 4)))
    stride = (1, draw(st.integers(1, 3)))
    dilation = (1, draw(st.integers(1, 2)))
    pad = (0, draw(st.integers(0, size[1] - 1)))
    width = draw(st.sampled_from([1, 2, 4, 6, 8, 12]))
    # To the right the window may hang over the image, or the image over the windows.
    reach = (width - 1) * stride[1] + (size[1] - 1) * dilation[1] - pad[1]
    wide = max(1, reach + 1 + draw(st.integers(-2, 3)))
    x = dense(0, draw(st.integers(1, 2)), size[0] + 1, wide, channels)
    multiplier = np.asarray(rng.uniform(0.1, 1, outputs).astype(np.float32))
    product = Product(
        x=x,
        window=Window(size, stride, dilation, pad),
        height=2,
        width=width,
        channels=outputs,
        weights=rng.integers(-128, 128, (*size, channels // groups, outputs), dtype=np.int8),
        groups=groups,
        pad_value=draw(st.sampled_from([0, 5])),
        bias=rng.integers(-99, 99, outputs, dtype=np.int32) if draw(st.booleans()) else None,
        residual=None,
        factors=None,
        exit=Exit(multiplier),
    )
    if draw(st.booleans()):
        residual = dense(1, x.batch, 2, width, outputs)
        factors = rng.integers(-99, 99, outputs, dtype=np.int32)
        product = replace(product, residual=residual, factors=factors)
    return product


@settings(max_examples=60, deadline=None)
@given(products(), st.integers(0, 2**32 - 1))
def test_every_mapping_gives_the_same_sums(product: Product, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = product.x
    memory = rng.integers(-128, 128, x.batch * x.image_stride + 64, dtype=np.int8)
    size = x.batch * product.height * product.width * product.channels
    residual = rng.integers(-128, 128, size, dtype=np.int8)
    wanted = sums(product, memory, residual)
    for mapped in mappings(product, load_target("gemmini")):
        np.testing.assert_array_equal(sums(mapped, memory, residual), wanted)
        count = mapped.channels // product.channels
        np.testing.assert_array_equal(
            mapped.exit.multiplier, np.tile(product.exit.multiplier, count)
        )


def product_of(shape: tuple[int, int], kernel: int, channels: tuple[int, int]) -> Product:
    inputs, outputs = channels
    weights = np.ones((kernel, kernel, inputs, outputs), np.int8)
    exit = Exit(np.asarray(1, np.float32))
    window = Window((kernel, kernel))
    image = dense(0, 1, shape[0] + kernel - 1, shape[1] + kernel - 1, inputs)
    return Product(
        image, window, *shape, outputs, weights, 1, 0, None, None, None, exit
    )  # fmt: skip


def test_three_channels_gather_windows_of_many_pixels() -> None:
    """Two windows of 3 x 3 over 3 channels: 12 bytes of each row, 16 outputs of 8 channels."""
    found = list(mappings(product_of((8, 8), 3, (3, 8)), load_target("gemmini")))
    assert any(m.window.size == (3, 1) and m.x.channels == 12 and m.channels == 16 for m in found)


def test_full_pixels_are_read_as_they_are() -> None:
    found = list(mappings(product_of((8, 8), 3, (16, 16)), load_target("gemmini")))
    assert {math.prod(mapped.window.size) * mapped.x.channels for mapped in found} == {9 * 16}
