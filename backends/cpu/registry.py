"""How ops meet the CPU: rules that attach to op classes from outside, by registration."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from mcc.ir import Op, Value

if TYPE_CHECKING:
    from .plan import Planner
    from .tail import Tail

Strides = tuple[int, ...]
Align = Callable[[Op, int, Value], Strides]
"""`align(op, number, operand)`: its stride along each axis of the result, 0 where it repeats."""


@dataclass(frozen=True)
class Elementwise:
    """An op whose every result element depends on one element of each operand."""

    meaning: Callable[..., object]
    """`meaning(op, writer, *operands) -> Expr`, for any number of lanes unless `scalar`."""
    align: Align
    scalar: Callable[[Op], bool]
    """Whether it is computed one element at a time (a call to the C library, a table)."""
    whole: tuple[int, ...]
    """Operands handed over as whole buffers."""


@dataclass(frozen=True)
class Lowering:
    """An op that has kernels of its own."""

    write: Callable[..., None]
    """`write(op, planner, tail)`."""
    fuses: bool
    """Whether element-wise readers may be computed on its result before it is stored."""


ELEMENTWISE: dict[type[Op], Elementwise] = {}
LOWERINGS: dict[type[Op], Lowering] = {}

_O = TypeVar("_O", bound=Op)
_Meaning = TypeVar("_Meaning", bound=Callable[..., object])


def contiguous(shape: tuple[int, ...]) -> Strides:
    """Row-major strides, in elements."""
    strides: list[int] = []
    step = 1
    for extent in reversed(shape):
        strides.append(step)
        step *= extent
    return tuple(reversed(strides))


def broadcast(op: Op, number: int, operand: Value) -> Strides:
    """Numpy's rule: trailing axes agree, an extent of 1 repeats."""
    shape = operand.tensor.dims
    strides = contiguous(shape)
    missing = len(op.results[0].tensor.shape) - len(shape)
    kept = tuple(
        0 if extent == 1 else stride for extent, stride in zip(shape, strides, strict=True)
    )
    return (0,) * missing + kept


def channel(axis: Callable[[Op], int]) -> Align:
    """The first operand as the result is; the others scalars or vectors along `axis`."""

    def align(op: Op, number: int, operand: Value) -> Strides:
        if number == 0:
            return broadcast(op, number, operand)
        rank = len(op.results[0].tensor.shape)
        if not operand.tensor.rank or operand.tensor.size == 1:
            return (0,) * rank
        along = axis(op)
        return tuple(1 if i == along else 0 for i in range(rank))

    return align


def never(op: Op) -> bool:
    return False


def elementwise(
    *classes: type[Op],
    align: Align = broadcast,
    scalar: Callable[[Op], bool] = never,
    whole: tuple[int, ...] = (),
) -> Callable[[_Meaning], _Meaning]:
    """Register the meaning of element-wise op classes."""

    def register(meaning: _Meaning) -> _Meaning:
        for cls in classes:
            ELEMENTWISE[cls] = Elementwise(meaning, align, scalar, whole)
        return meaning

    return register


def lower(
    cls: type[_O], *, fuses: bool = False
) -> "Callable[[Callable[[_O, Planner, Tail], None]], Callable[[_O, Planner, Tail], None]]":
    """Register what writes the kernels of an op class."""

    def register(
        write: "Callable[[_O, Planner, Tail], None]",
    ) -> "Callable[[_O, Planner, Tail], None]":
        LOWERINGS[cls] = Lowering(write, fuses)
        return write

    return register
