"""Reading a quantize/dequantize form: what stands between two roundings."""

import math
from dataclasses import dataclass

from mcc.ir import Array, Because, DType, Op, Quant, Value, constant_of
from mcc.ops import Add, Clip, Conv, Dequantize, Matmul, Quantize, Relu

from .encoding import Encoding

BYTES = (DType.I8, DType.U8)


@dataclass(frozen=True, slots=True)
class Scaled:
    """Integers and what they stand for, per tensor or along an axis."""

    integers: Value
    scale: Array
    """float32, a scalar or a vector."""
    zero: Array
    axis: int

    @property
    def encoding(self) -> Encoding | None:
        """The encoding, where it is one for the whole tensor of 8-bit integers."""
        dtype = self.integers.tensor.dtype
        if self.scale.ndim or dtype not in BYTES:
            return None
        return Encoding(float(self.scale), int(self.zero), dtype)


def scaled(value: Value) -> Scaled | None:
    """What a value dequantizes, or None if it is no dequantized tensor with constant parameters."""
    op = value.op
    if not isinstance(op, Dequantize):
        return None
    scale, zero = constant_of(op.scale), constant_of(op.zero)
    if scale is None or zero is None:
        return None
    return Scaled(op.x, scale, zero, op.axis)


def activation(value: Value) -> tuple[Value, Encoding] | None:
    """The 8-bit integers behind a value with one scale, and their encoding."""
    found = scaled(value)
    if found is None or found.encoding is None:
        return None
    return found.integers, found.encoding


def encoding_of(op: Quantize) -> Encoding | Because:
    """The encoding that a quantize op makes."""
    scale, zero = constant_of(op.scale), constant_of(op.zero)
    if scale is None or zero is None:
        return Because("its scale or zero point is not constant")
    if scale.ndim:
        return Because("activations with one scale for each channel have no integer form")
    if op.zero.tensor.dtype not in BYTES:
        return Because(f"{op.zero.tensor.dtype} activations have no integer form")
    return Encoding(float(scale), int(zero), op.zero.tensor.dtype)


@dataclass(frozen=True, slots=True)
class Sum:
    """clamp(product + biases + residual, lo, hi), read backwards from a quantize op."""

    product: Conv | Matmul
    biases: tuple[Value, ...]
    """Constants that are added to the product; its own bias is `product.b`."""
    residual: Value | None
    lo: float
    hi: float


def read_sum(value: Value) -> Sum | Because | None:
    """The sum of products that a value is, with the adds and clamps that follow it.

    None if it is none.
    """
    lo, hi = -math.inf, math.inf
    biases: list[Value] = []
    residual: Value | None = None
    added = False
    while True:
        op = value.op
        if op is None or not isinstance(op, Relu | Clip | Add | Conv | Matmul):
            return None
        bounds = _bounds(op)
        if added and bounds != (-math.inf, math.inf):
            return (
                Because("it is clamped before something is added") if _product_below(op) else None
            )
        lo, hi = max(lo, bounds[0]), min(hi, bounds[1])
        if isinstance(op, Conv | Matmul):
            if op.r is not None and residual is not None:
                return Because("two residuals are added to one product")
            return Sum(op, tuple(biases), op.r if op.r is not None else residual, lo, hi)
        if isinstance(op, Relu | Clip):
            inner = op.x
        else:
            added = True
            picked = _add_operands(op)
            if picked is None:
                return None
            inner, other, is_bias = picked
            if is_bias:
                biases.append(other)
            elif residual is not None:
                return None
            else:
                residual = other
        if sum(inner.uses.values()) != 1:
            return (
                Because("something else reads the value before it is quantized")
                if (_product_below(inner.op))
                else None
            )
        value = inner


def _bounds(op: Op) -> tuple[float, float]:
    if isinstance(op, Relu):
        return 0.0, math.inf
    if isinstance(op, Clip | Add | Conv | Matmul):
        return op.lo, op.hi
    return -math.inf, math.inf


def _product_below(op: Op | None) -> bool:
    """Whether a chain of adds and clamps ends in a product."""
    while isinstance(op, Relu | Clip | Add):
        if isinstance(op, Add):
            picked = _add_operands(op)
            if picked is None:
                return False
            op = picked[0].op
        else:
            op = op.x.op
    return isinstance(op, Conv | Matmul)


def _add_operands(op: Add) -> tuple[Value, Value, bool] | None:
    """The operand that holds the product, the other one, and whether that is a bias."""
    for inner, other in ((op.a, op.b), (op.b, op.a)):
        if constant_real(other) is not None and constant_real(inner) is None:
            return inner, other, True
    for inner, other in ((op.a, op.b), (op.b, op.a)):
        if scaled(other) is not None and scaled(inner) is None and inner.type == other.type:
            return inner, other, False
    return None


def constant_real(value: Value) -> Array | None:
    """The real numbers of a constant, or of a dequantized constant."""
    array = constant_of(value)
    if array is not None:
        return array
    op = value.op
    if not isinstance(op, Dequantize):
        return None
    parts = (constant_of(op.x), constant_of(op.scale), constant_of(op.zero))
    if parts[0] is None or parts[1] is None or parts[2] is None:
        return None
    return op.evaluate(parts[0], parts[1], parts[2])


def noted(value: Value, encoding: Encoding) -> Value:
    """The value with its note of what its integers stand for."""
    value.quant = encoding.quant
    return value


def accumulator_note(unit: Array, axis: int) -> Quant:
    """The note of an accumulator whose unit is one number or one for each channel."""
    if not unit.ndim:
        return Quant((float(unit),), (0,))
    return Quant(tuple(float(s) for s in unit), (0,) * len(unit), axis)


__all__ = [
    "Scaled",
    "Sum",
    "accumulator_note",
    "activation",
    "constant_real",
    "encoding_of",
    "noted",
    "read_sum",
    "scaled",
]
