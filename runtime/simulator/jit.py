"""numba's compiler behind a typed decorator."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

from numba import njit

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compiles `function` at its first call and keeps the machine code beside the source."""
    # Without reference counting (the kernels allocate nothing) they compile a third faster.
    compiler = njit(cache=True, error_model="numpy", _nrt=False)
    return cast("Callable[P, R]", compiler(function))
