"""Convolutions and matrix products on integers."""

import numpy as np

from mcc.ir import Array, Because, DType, Value, constant, constant_of
from mcc.ops import Conv, Matmul, Quantize, Requantize

from .chain import (
    Scaled,
    accumulator_note,
    activation,
    constant_real,
    noted,
    read_sum,
    scaled,
)
from .clone import with_operands
from .encoding import Encoding
from .overflow import LARGEST, accumulator_bounds
from .products import rows_of
from .residual import factors
from .weights import accumulator_scale

BIAS_TOLERANCE = 2.0**-20
"""How far, relatively, a bias's scale may be from s_x * s_w.

Other tools round the product differently.
"""


def lower_product(op: Quantize, result: Encoding) -> Value | Because | None:
    """quantize(conv(dequantize(x), dequantize(w), b, r)) -> requantize(conv(x, w, b, r, k)).

    Likewise matmul.
    """
    found = read_sum(op.x)
    if found is None or isinstance(found, Because):
        return found
    product = found.product
    x, w = activation(product.x), scaled(product.w)
    if x is None or w is None:
        return Because("its input or its weights are no dequantized integers")
    x_integers, x_encoding = x
    prepared = _prepared_weights(product, x_encoding, w)
    if isinstance(prepared, Because):
        return prepared
    w_value, rows = prepared
    unit = accumulator_scale(x_encoding.scale, w.scale)
    channels = product.result.tensor.shape[1 if isinstance(product, Conv) else -1]
    assert isinstance(channels, int)
    bias = _bias(product, found.biases, unit, channels)
    if isinstance(bias, Because):
        return bias
    k: Array | None = None
    r_integers: Value | None = None
    r_zero = 0
    if found.residual is not None:
        r = activation(found.residual)
        multiples = factors(unit, r[1].scale) if r is not None else None
        if r is None or r[1].dtype is not DType.I8 or multiples is None:
            return Because("its residual's scale is no multiple of the accumulator's")
        r_integers, r_zero = r[0], r[1].zero
        k = np.broadcast_to(multiples, (channels,))
        bias = (0 if bias is None else bias) - k.astype(np.int64) * r_zero
    if rows is not None:
        if x_encoding.zero:
            sums = rows.reshape(channels, -1).astype(np.int64).sum(1)
            bias = (0 if bias is None else bias) - x_encoding.zero * sums
        bounds = accumulator_bounds(
            rows,
            (*x_encoding.dtype.limits, 0),
            bias,
            k,
            (-128, 127, 0) if k is not None else (0, 0, 0),
        )
        if bounds.summary[2] >= 2**31:
            return Because(f"its accumulator can reach {bounds.summary[2]:,}, past 32 bits")
    name = op.result.name
    changes: dict[str, object] = {
        "x": x_integers,
        "w": w_value,
        "b": None if bias is None else _i32(bias, f"{name}.b"),
        "r": r_integers,
        "k": None if k is None else _i32(k, f"{name}.k"),
        "lo": -np.inf,
        "hi": np.inf,
    }
    if isinstance(product, Conv):
        changes["pad_value"] = x_encoding.zero
    accumulator = with_operands(product, {}, **changes).named(f"{name}.acc", product.nodes).result
    axis = 1 if isinstance(product, Conv) else product.result.tensor.rank - 1
    accumulator.quant = accumulator_note(unit, axis)
    multiplier = np.asarray(unit / np.float32(result.scale), np.float32)
    requantized = Requantize(
        accumulator,
        constant(multiplier, f"{name}.multiplier").result,
        zero=result.zero,
        lo=result.quantized(found.lo),
        hi=result.quantized(found.hi),
        axis=axis,
        dtype=result.dtype,
    ).named(name)
    return noted(requantized.result, result)


def _i32(array: Array, name: str) -> Value:
    return constant(array.astype(np.int32), name).result


def _prepared_weights(
    product: Conv | Matmul, x: Encoding, w: Scaled
) -> tuple[Value, Array | None] | Because:
    """The weights as a symmetric int8 value, and as rows where they are constant."""
    array = constant_of(w.integers)
    if array is None:
        if w.scale.ndim or w.zero or x.zero:
            return Because("a product of two activations needs zero points 0")
        if w.integers.tensor.dtype is not DType.I8:
            return Because("a product of two activations needs int8")
        return w.integers, None
    if w.scale.ndim and w.axis != (0 if isinstance(product, Conv) else product.w.tensor.rank - 1):
        return Because("its weights' scales are not along the output channels")
    if isinstance(product, Matmul) and product.w.tensor.rank != 2:
        return Because("its weights are no matrix")
    if array.dtype == np.int8 and not w.zero.any():
        return w.integers, rows_of(product, array)
    shape = [1] * array.ndim
    if w.zero.ndim:
        shape[w.axis] = -1
    centred = array.astype(np.int64) - w.zero.astype(np.int64).reshape(shape if w.zero.ndim else ())
    if centred.min() < -128 or centred.max() > 127:
        return Because("its weights less their zero point do not fit int8")
    value = constant(centred.astype(np.int8), f"{w.integers.name}.i8").result
    return value, rows_of(product, centred)


def _bias(
    product: Conv | Matmul, added: tuple[Value, ...], unit: Array, channels: int
) -> Array | Because | None:
    """The sum of the biases in units of the accumulator, int64 for each channel."""
    total: Array | None = None
    for value in (product.b, *added):
        if value is None:
            continue
        vector = _bias_units(value, product, unit, channels)
        if vector is None:
            return Because("what is added to it is no constant for each output channel")
        total = vector if total is None else total + vector
    return total


def _bias_units(value: Value, product: Conv | Matmul, unit: Array, channels: int) -> Array | None:
    """A constant as [channels] in units of the accumulator.

    Where its scale is that unit, these are its own integers.
    """
    found, real = scaled(value), constant_real(value)
    if real is None:
        return None
    if found is not None and found.scale.shape in ((), unit.shape) and not found.zero.any():
        integers = constant_of(found.integers)
        apart = np.abs(found.scale.astype(np.float64) - unit)
        near = bool((apart <= BIAS_TOLERANCE * unit).all())
        if near and integers is not None and integers.dtype == np.int32:
            return _along_channels(integers.astype(np.int64), value, product, channels)
    vector = _along_channels(real.astype(np.float64), value, product, channels)
    if vector is None:
        return None
    return np.clip(np.rint(vector / unit), -LARGEST, LARGEST).astype(np.int64)


def _along_channels(
    array: Array, value: Value, product: Conv | Matmul, channels: int
) -> Array | None:
    """A bias, or an added constant that broadcasts along all axes but the channels."""
    if value is product.b:
        return array
    if array.size == 1:
        return np.broadcast_to(array.reshape(()), (channels,))
    rank = product.result.tensor.rank
    axis = 1 if isinstance(product, Conv) else rank - 1
    padded = (1,) * (rank - array.ndim) + array.shape
    wanted = tuple(channels if i == axis else 1 for i in range(rank))
    return array.reshape(channels) if padded == wanted else None
