"""Instructions of AVX-512 on float32 that LLVM does not emit unasked."""

from collections.abc import Callable

from ..tir import Expr, constant, intrinsic, shuffle

_NARROWEST, _WIDEST = 4, 16
_ROUND_DOWN = 1
_AS_IS = 4
"""Rounding: what the processor is set to."""


def in_vectors(x: Expr, function: Callable[[Expr], Expr]) -> Expr:
    """A function of vectors on fewer lanes than a vector has: with the same bits."""
    if x.lanes >= _NARROWEST:
        return function(x)
    wide = x.broadcast(_NARROWEST) if x.lanes == 1 else shuffle(x, x, range(_NARROWEST))
    done = function(wide)
    return shuffle(done, done, range(x.lanes))


def fraction(x: Expr) -> Expr:
    """How far x is above the integer below; 0 for infinities."""
    return _masked("reduce.ps", x, constant(_ROUND_DOWN, "int32"))


def scaled(x: Expr, exponent: Expr) -> Expr:
    """A product of x and 2^floor(exponent)."""
    return _masked("scalef.ps", x, exponent)


def reciprocal(x: Expr) -> Expr:
    """1 / x to 14 bits."""
    return intrinsic(f"llvm.x86.avx512.rcp14.ps.{32 * x.lanes}", x, *_everywhere(x))


def _masked(name: str, x: Expr, operand: Expr) -> Expr:
    """An instruction on all lanes; the widest form is told how to round, too."""
    rounding = [constant(_AS_IS, "int32")] if x.lanes == _WIDEST else []
    full_name = f"llvm.x86.avx512.mask.{name}.{32 * x.lanes}"
    return intrinsic(full_name, x, operand, *_everywhere(x), *rounding)


def _everywhere(x: Expr) -> tuple[Expr, Expr]:
    """What becomes of lanes outside of the mask, and the mask: all lanes."""
    dtype = "uint16" if x.lanes == _WIDEST else "uint8"
    return constant(0.0, "float32", x.lanes), constant((1 << x.lanes) - 1, dtype)
