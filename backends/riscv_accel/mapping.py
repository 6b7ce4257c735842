"""Equal products: other ways to read the same bytes, which fill the array better.

In NHWC the pixels of a row lie one after the other. So a few pixels may count as the channels of
one, where a pixel alone has fewer channels than the array has rows or columns; and pixels of many
rows may count as one row.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from mcc.runtime import Target

from .layers import Image, Int8, Product


def mappings(product: Product, target: Target) -> Iterator[Product]:
    """All products equal to this one that are worth a look; it has constant weights."""
    plain = flattened(product)
    yield plain
    dim, wide = target.machine.dim, target.machine.max_move_bytes
    for pixels in range(1, dim + 1):
        if _filled(plain, pixels - 1, dim):
            return
        if plain.width % pixels or (pixels > 1 and plain.exit.pool is not None):
            continue
        for columns in (_gathered(plain, pixels), _folded(plain, pixels)):
            if columns is not None and columns.each * plain.x.channels <= wide:
                yield _regrouped(plain, pixels, columns)


def flattened(product: Product) -> Product:
    """A 1x1 window over whole images reads pixels in memory order: one long row of them."""
    x, window = product.x, product.window
    plain = window.size == (1, 1) and window.stride == (1, 1) and window.pad == (0, 0)
    whole = (product.height, product.width) == (x.height, x.width)
    if not (plain and whole and x.dense) or product.exit.pool is not None:
        return product
    pixels = x.batch * x.height * x.width

    def flat(image: Image) -> Image:
        size = pixels * image.channels
        return replace(image, batch=1, height=1, width=pixels, image_stride=size, row_stride=size)

    residual = product.residual
    return replace(
        product,
        x=flat(x),
        height=1,
        width=pixels,
        residual=None if residual is None else flat(residual),
    )


@dataclass(frozen=True)
class _Columns:
    """Which columns some output pixels read, from their first one's own column on, in groups."""

    first: int
    each: int
    taps: int = 1
    """Groups of `each` columns; a group becomes one pixel."""

    @property
    def count(self) -> int:
        return self.each * self.taps


def _filled(product: Product, pixels: int, dim: int) -> bool:
    """Whether so many output pixels at a time fill the array's rows and columns."""
    rows = pixels * product.window.stride[1] * product.x.channels
    return rows >= dim and pixels * product.channels >= dim


def _gathered(product: Product, pixels: int) -> _Columns | None:
    """All columns of the windows of some output pixels become the channels of one pixel.

    A 7x7 window over 3 channels then has 7 taps of 21 channels instead of 49 of 3. None where the
    bytes do not lie together within the image.
    """
    window, x = product.window, product.x
    cols, step = window.size[1], window.stride[1]
    inside = (product.width - 1) * step + cols <= x.width
    if cols == 1 or window.dilation[1] != 1 or window.pad[1] or not inside or not _dense(product):
        return None
    return _Columns(0, (pixels - 1) * step + cols)


def _folded(product: Product, pixels: int) -> _Columns | None:
    """Some columns become the channels of one pixel, those of as many output pixels.

    None where the last group of columns would hang over the image.
    """
    window, x = product.window, product.x
    span = pixels * window.stride[1]
    reach = (window.size[1] - 1) * window.dilation[1] - window.pad[1]
    whole = x.width // span * span
    inside = whole == x.width or (product.width - 1) * window.stride[1] + reach < whole
    if span == 1 or not inside or not _dense(product):
        return None
    first = -window.pad[1] // span
    stop = ((pixels - 1) * window.stride[1] + reach) // span + 1
    return _Columns(first * span, span, stop - first)


def _dense(product: Product) -> bool:
    """Whether the pixels of a row lie without gaps, those of the residual too."""
    images = (product.x, product.residual)
    return all(image is None or image.pixel_stride == image.channels for image in images)


def _regrouped(product: Product, pixels: int, columns: _Columns) -> Product:
    """The product whose pixels are `pixels` output pixels side by side."""
    x, window, exit = product.x, product.window, product.exit
    span = pixels * window.stride[1]
    overlapping = columns.each != span
    image = replace(
        x,
        width=product.width // pixels if overlapping else x.width // span,
        channels=columns.each * x.channels,
        pixel_stride=span * x.pixel_stride,
    )
    if exit.multiplier.ndim:
        exit = replace(exit, multiplier=np.tile(exit.multiplier, pixels))
    weights = _spread(product, pixels, columns)
    return replace(
        product,
        x=image,
        window=replace(
            window,
            size=(window.size[0], columns.taps),
            stride=(window.stride[0], 1),
            dilation=(window.dilation[0], 1),
            pad=(window.pad[0], -columns.first // span),
        ),
        width=product.width // pixels,
        channels=pixels * product.channels,
        weights=weights.reshape(window.size[0], columns.taps, -1, pixels * product.channels),
        groups=1,
        bias=None if product.bias is None else np.tile(product.bias, pixels),
        residual=None if product.residual is None else _widened(product.residual, pixels),
        factors=None if product.factors is None else np.tile(product.factors, pixels),
        exit=exit,
    )


def _spread(product: Product, pixels: int, columns: _Columns) -> Int8:
    """The weights of some output pixels: [window rows, columns, C, pixels, O]."""
    window, channels = product.window, product.x.channels
    dense = ungrouped(product)
    rows, cols = window.size
    found = np.zeros((rows, columns.count, channels, pixels, product.channels), np.int8)
    for pixel in range(pixels):
        for col in range(cols):
            column = pixel * window.stride[1] + col * window.dilation[1] - window.pad[1]
            found[:, column - columns.first, :, pixel] = dense[:, col]
    return found


def ungrouped(product: Product) -> Int8:
    """The weights as if every output saw every channel: [rows, columns, C, O]."""
    weights = product.weights
    assert weights is not None
    if product.groups == 1:
        return weights
    rows, cols, per_group, outputs = weights.shape
    dense = np.zeros((rows, cols, product.groups * per_group, outputs), np.int8)
    each = outputs // product.groups
    for group in range(product.groups):
        inner = slice(group * per_group, (group + 1) * per_group)
        outer = slice(group * each, (group + 1) * each)
        dense[:, :, inner, outer] = weights[..., outer]
    return dense


def _widened(image: Image, pixels: int) -> Image:
    """The same bytes with `pixels` pixels as one."""
    return replace(
        image,
        width=image.width // pixels,
        channels=image.channels * pixels,
        pixel_stride=image.pixel_stride * pixels,
    )
