"""numba's compiler behind a typed decorator."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

from numba import njit

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compiles `function`, which only kernels call, and keeps the machine code by the source.

    It is always inlined: a call would pass the state (`Clock`, `Memory`) array by array, some 200
    words, which costs more than most kernels do.
    """
    return _compiled(function, no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True)


def entry(function: Callable[P, R]) -> Callable[P, R]:
    """The same for one that Python calls, at its first call."""
    return _compiled(function)


def _compiled(function: Callable[P, R], **options: bool) -> Callable[P, R]:
    # `_nrt` is missing in numba's stubs. Without reference counting (the kernels allocate nothing)
    # and without wrappers for Python, which unpack every array, they compile in half the time.
    decorate = cast("Callable[..., Callable[[Callable[P, R]], Callable[P, R]]]", njit)
    return decorate(cache=True, error_model="numpy", _nrt=False, **options)(function)
