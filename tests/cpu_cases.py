"""Many op cases in one CPU library: compiled together, each judged by the op's definition."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcc.backends.cpu import library_members, stages
from mcc.ir import Constant, DType, Module, Op, Region, Tensor, Value, Yield, constant, evaluate
from mcc.passes import run_passes
from mcc.runtime import load_target
from mcc.runtime.library import Library

Array = NDArray[Any]
Make = Callable[..., Op]


@dataclass(frozen=True)
class Case:
    """One op under test: its name in messages, and how far it may be off, relatively."""

    label: str
    tolerance: float


class Cases:
    """Collects cases, then compiles them in one library and compares with the evaluator."""

    def __init__(self) -> None:
        self.feeds: list[Array] = []
        self.recipes: list[tuple[Case, Make, list[Array], list[Array]]] = []

    def add(
        self,
        label: str,
        make: Make,
        *arrays: Array,
        constants: Sequence[Array] = (),
        tolerance: float = 0.0,
    ) -> None:
        """`make(*inputs, *constants)`, with arrays fed at run time and constants known before.

        A recipe marked by `chained` gets a `Chain` first, for the ops before its last.
        """
        case = Case(label, tolerance)
        self.recipes.append((case, make, list(arrays), list(constants)))

    def module(self) -> tuple[Module, dict[str, Array]]:
        types: list[Tensor] = []
        names: list[str] = []
        feeds: dict[str, Array] = {}
        for number, (_, _, arrays, _) in enumerate(self.recipes):
            for place, array in enumerate(arrays):
                name = f"in{number}_{place}"
                types.append(Tensor(DType.of(array), array.shape))
                names.append(name)
                feeds[name] = array
        region = Region(types, names)
        given = iter(region.args)
        results: list[Value] = []
        for number, (case, make, arrays, fixed) in enumerate(self.recipes):
            inputs = [next(given) for _ in arrays]
            held = [attach(region, constant(np.asarray(item))) for item in fixed]
            chain = Chain(region)
            op = make(*inputs, *held) if not wants_chain(make) else make(chain, *inputs, *held)
            results.append(attach(region, op, f"out{number}_{case.label}"))
        region.append(Yield(tuple(results)))
        return Module("cases", region, [value.name for value in results]), feeds

    def check(self, *, layout: bool = False) -> Library:
        """Compile, run, and compare every case; returns the library."""
        module, feeds = self.module()
        target = load_target("cpu")
        if layout:
            for stage in stages(target):
                module = run_passes(module, stage.passes)
        members = library_members(module, target)
        library = Library(members["library.so"], members["library.json"])
        found = library.run([feeds[value.name] for value in module.inputs])
        wanted = evaluate(module, feeds)
        failures: list[str] = []
        for (case, *_), array, name in zip(self.recipes, found, module.output_names, strict=True):
            problem = difference(array, wanted[name], case.tolerance)
            if problem:
                failures.append(f"{case.label}: {problem}")
        assert not failures, "\n" + "\n".join(failures)
        return library


class Chain:
    """Lets a case attach ops in front of its last one."""

    def __init__(self, region: Region) -> None:
        self._region = region

    def __call__(self, op: Op) -> Value:
        return attach(self._region, op)


def bind(make: Make, **options: Any) -> Make:
    """An op class with some of its attributes given."""
    return functools.partial(make, **options)


def chained(make: Make) -> Make:
    """Mark a recipe that takes a `Chain` first."""
    make.__dict__["chained"] = True
    return make


def wants_chain(make: Make) -> bool:
    return bool(getattr(make, "chained", False))


def attach(region: Region, op: Op, name: str = "") -> Value:
    if name and not isinstance(op, Constant):
        op.named(name)
    region.append(op)
    return op.results[0]


def difference(found: Array, wanted: Array, tolerance: float) -> str:
    """What differs by more than `tolerance`, of each element plus a tenth of the largest."""
    if found.dtype != wanted.dtype or found.shape != wanted.shape:
        return f"{found.dtype}{found.shape}, expected {wanted.dtype}{wanted.shape}"
    if not tolerance:
        same = (found == wanted) | ((found != found) & (wanted != wanted))
        return "" if same.all() else f"{(~same).sum()} of {same.size} elements differ"
    finite = wanted[np.isfinite(wanted)]
    largest = float(np.abs(finite).max(initial=0.0))
    close = np.isclose(
        found, wanted, rtol=tolerance, atol=tolerance * largest * 1e-1, equal_nan=True
    )
    worst = np.abs(np.nan_to_num(found) - np.nan_to_num(wanted)).max(initial=0.0)
    return "" if close.all() else f"{(~close).sum()} of {close.size} differ, by {worst} at most"


def floats(rng: np.random.Generator, *shape: int, dtype: str = "f4") -> Array:
    """Normally distributed numbers."""
    return rng.standard_normal(shape).astype(dtype)


def integers(rng: np.random.Generator, *shape: int, dtype: str = "i1") -> Array:
    """Numbers of all a type holds, or of 21 bits."""
    limits = np.iinfo(dtype)
    low, high = max(limits.min, -(2**20)), min(limits.max, 2**20)
    return rng.integers(low, high, shape, endpoint=True).astype(dtype)


def in_layout(array: Array, layout: str) -> Array:
    """An array of channels first, with its channels where a layout has them."""
    return array if layout == "nchw" else np.ascontiguousarray(np.moveaxis(array, 1, -1))
