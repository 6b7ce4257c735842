"""numba's compiler behind a typed decorator."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

from numba import njit

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compiles `function` at its first call and keeps the machine code beside the source."""
    # `_nrt` is missing in numba's stubs. Without reference counting (the kernels allocate nothing)
    # they compile a third faster.
    decorate = cast("Callable[..., Callable[[Callable[P, R]], Callable[P, R]]]", njit)
    return decorate(cache=True, error_model="numpy", _nrt=False)(function)
