"""How a contraction combines an element of x with an element of w, and what it accumulates in."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mcc.ir import Array, DType

from ..machine import Machine
from ..tir import Buffer, Expr, Index, Number, Writer, intrinsic, lowest
from . import maths


@dataclass(frozen=True)
class Product:
    """One kind of inner step: `step` elements of the reduction for `lanes` results at once."""

    dtype: str
    """Of the accumulator."""
    lanes: int
    start: Number
    step: int = 1
    has_weights: bool = True
    registers: int = 1
    """Vector registers that an accumulator takes."""

    def x(self, buffer: Buffer, place: Index, lanes: int, stride: int) -> Expr:
        """The x operand: one element for all lanes (stride 0), or one a lane."""
        return buffer.load(place, lanes, stride).cast(self.dtype)

    def w(self, buffer: Buffer, place: Index, lanes: int, stride: int) -> Expr:
        return buffer.load(place, lanes, stride).cast(self.dtype)

    def combine(self, writer: Writer, total: Expr, x: Expr, w: Expr | None) -> Expr:
        assert w is not None
        return total + x * w

    def packed(self, weights: Array) -> Array:
        """Constant weights as `w` reads them."""
        return weights

    def vectors(self, extent: int) -> list[tuple[int, int]]:
        """An extent as vectors: the lanes of each, and how many of them count."""
        found: list[tuple[int, int]] = []
        lanes = self.lanes
        while extent:
            while lanes > extent:
                lanes //= 2
            found.append((lanes, lanes))
            extent -= lanes
        return found


@dataclass(frozen=True)
class Fold(Product):
    """A reduction of x alone, by a function of two values."""

    has_weights: bool = False
    fold: Callable[[Writer, Expr, Expr], Expr] = maths.larger

    def combine(self, writer: Writer, total: Expr, x: Expr, w: Expr | None) -> Expr:
        return self.fold(writer, total, x)


@dataclass(frozen=True)
class Dots(Product):
    """Four products of 8-bit integers for each lane, in one instruction: VNNI, ARM's dot products.

    The instruction takes weights with a sign, and x of one kind. An x of the other kind enters as
    x + shift, which whoever packs the weights takes back by adding -shift * sum(w) to every result.
    """

    step: int = 4
    instruction: str = "llvm.x86.avx512.vpdpbusd.{bits}"
    """LLVM's name, where the size of the accumulator in bits is part of it."""
    shift: int = 0
    """128, -128 or 0."""

    def x(self, buffer: Buffer, place: Index, lanes: int, stride: int) -> Expr:
        four = buffer.load(place, 4).bits("int32", 1)
        # Modulo 256, adding and subtracting 128 are the same, and neither carries.
        shifted = four ^ -0x7F7F7F80 if self.shift else four
        return shifted.broadcast(lanes)

    def w(self, buffer: Buffer, place: Index, lanes: int, stride: int) -> Expr:
        return buffer.load(place, 4 * lanes)

    def combine(self, writer: Writer, total: Expr, x: Expr, w: Expr | None) -> Expr:
        assert w is not None
        bytes_ = x.bits("uint8", 4 * total.lanes)
        return intrinsic(self.instruction.format(bits=32 * total.lanes), total, bytes_, w)

    def vectors(self, extent: int) -> list[tuple[int, int]]:
        return _padded_vectors(extent, self.lanes)


@dataclass(frozen=True)
class Pairs(Product):
    """SSE2, AVX2, AVX-512: two products of 16-bit integers for each lane, in one instruction.

    Bytes are widened: those of x when they are read, the weights when they are packed.
    """

    step: int = 2

    def x(self, buffer: Buffer, place: Index, lanes: int, stride: int) -> Expr:
        two = buffer.load(place, 2).cast("int16").bits("int32", 1)
        return two.broadcast(lanes)

    def w(self, buffer: Buffer, place: Index, lanes: int, stride: int) -> Expr:
        return buffer.load(place, 2 * lanes)

    def combine(self, writer: Writer, total: Expr, x: Expr, w: Expr | None) -> Expr:
        assert w is not None
        name = {
            4: "llvm.x86.sse2.pmadd.wd",
            8: "llvm.x86.avx2.pmadd.wd",
            16: "llvm.x86.avx512.pmaddw.d.512",
        }[total.lanes]
        words = x.bits("int16", 2 * total.lanes)
        return total + intrinsic(name, words, w, dtype="int32", lanes=total.lanes)

    def packed(self, weights: Array) -> Array:
        return weights.astype(np.int16)

    def vectors(self, extent: int) -> list[tuple[int, int]]:
        return _padded_vectors(extent, self.lanes)


@dataclass(frozen=True)
class Widening(Product):
    """RISC-V: 16-bit integers by one of x, added to two registers of 32-bit lanes (`vwmacc.vx`)."""

    registers: int = 2

    def x(self, buffer: Buffer, place: Index, lanes: int, stride: int) -> Expr:
        # LLVM takes the scalar into the instruction where it is widened before it is spread.
        return buffer.load(place).cast(self.dtype).broadcast(lanes)

    def packed(self, weights: Array) -> Array:
        return weights.astype(np.int16)


def _padded_vectors(extent: int, lanes: int) -> list[tuple[int, int]]:
    """Vectors of at least four lanes; those of the last may count in part."""
    found: list[tuple[int, int]] = []
    while extent:
        while lanes > max(extent, 4):
            lanes //= 2
        found.append((lanes, min(lanes, extent)))
        extent -= min(lanes, extent)
    return found


def multiply_add(dtype: str, machine: Machine) -> Product:
    """Products in the accumulator's own type; LLVM fuses them for floats."""
    return Product(dtype, machine.lanes(dtype), 0.0 if dtype.startswith("float") else 0)


def product_of(x: DType, w: DType, result: str, machine: Machine, *, constant_w: bool) -> Product:
    """The fastest kind for these types on this machine."""
    if not constant_w or x not in (DType.I8, DType.U8) or w is not DType.I8:
        return multiply_add(result, machine)
    signed = x is DType.I8
    if machine.vnni_lanes:
        return Dots("int32", machine.vnni_lanes, 0, shift=128 if signed else 0)
    if machine.arm_dots:
        if not signed and machine.arm_mixed_dots:
            return Dots("int32", 4, 0, instruction="llvm.aarch64.neon.usdot")
        return Dots(
            "int32", 4, 0, instruction="llvm.aarch64.neon.sdot", shift=0 if signed else -128
        )
    if machine.pair_lanes:
        return Pairs("int32", machine.pair_lanes, 0)
    if machine.widening_lanes:
        return Widening("int32", machine.widening_lanes, 0)
    return multiply_add(result, machine)


def folding(
    dtype: str, machine: Machine, fold: Callable[[Writer, Expr, Expr], Expr], start: Number
) -> Fold:
    return Fold(dtype, machine.lanes(dtype), start, fold=fold)


def largest(dtype: str, machine: Machine) -> Fold:
    """The maximum; NaN wins."""
    return folding(dtype, machine, maths.larger, lowest(dtype))


def total(dtype: str, machine: Machine) -> Fold:
    """The sum."""
    return folding(dtype, machine, _plus, 0.0 if dtype.startswith("float") else 0)


def _plus(writer: Writer, a: Expr, b: Expr) -> Expr:
    return a + b


def correction(product: Product, weights: Array) -> Array | None:
    """What takes back a product's shift of x, for each row of `weights` [rows, taps]."""
    if not isinstance(product, Dots) or not product.shift:
        return None
    sums: Array = weights.astype(np.int64).sum(1)
    return (-product.shift * sums).astype(np.int32)
