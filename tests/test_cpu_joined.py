"""Parts of a concatenation are written where they belong, and nobody notices."""

from collections.abc import Sequence

import numpy as np
import pytest
from cpu_cases import Array, attach
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cpu_program import check, module_of, program_of, weights

from mcc.ir import DType, Module, Region, Tensor, Value
from mcc.ops import Add, Concat, Conv, MaxPool, Mul, Relu, Sigmoid

SHAPE = (2, 6, 6, 16)
"""Of every part, but for the axis of the concatenation."""


def grown(region: Region, x: Value, kind: str, channels: int, name: str) -> Value:
    """A part by a kernel of that kind; `given` is the input itself."""
    if kind == "given":
        return x
    if kind == "pool":
        return attach(region, MaxPool(x, (3, 3), pads=(1, 1, 1, 1), layout="nhwc"), name)
    if kind == "relu":
        return attach(region, Relu(x), name)
    if kind == "depthwise":
        w = weights(region, SHAPE[3], 1, 3, 3)
        conv = Conv(x, w, pads=(1, 1, 1, 1), groups=SHAPE[3], layout="nhwc")
        return attach(region, conv, name)
    taps = 3 if kind == "wide" else 1
    pads = (taps // 2,) * 4
    w = weights(region, channels, SHAPE[3], taps, taps)
    value = attach(region, Conv(x, w, pads=pads, layout="nhwc"), f"{name}_conv")
    if kind == "silu":
        factor = attach(region, Sigmoid(value), f"{name}_factor")
        value = attach(region, Mul(value, factor), name)
    if kind == "residual":
        value = attach(region, Add(value, x), name)
    return value


def joined(
    kinds: Sequence[str], axis: int, channels: Sequence[int], after: str, twice: bool
) -> Module:
    """Parts side by side along an axis; `after` says who reads them."""
    region = Region([Tensor(DType.F32, SHAPE)], ["x"])
    x = region.args[0]
    free = axis == 3
    parts = [
        grown(region, x, kind, count if free and kind != "residual" else SHAPE[3], f"part{number}")
        for number, (kind, count) in enumerate(zip(kinds, channels, strict=False))
    ]
    if twice:
        parts.append(parts[0])
    whole = attach(region, Concat(tuple(parts), axis=axis), "whole")
    if after == "output":
        return module_of(region, whole)
    if after == "part":
        return module_of(region, attach(region, Relu(whole), "z"), parts[-1])
    w = weights(region, 8, whole.tensor.dims[3], 3, 3)
    conv = Conv(whole, w, pads=(1, 1, 1, 1), layout="nhwc")
    return module_of(region, attach(region, conv, "z"))


KINDS = ("given", "pool", "relu", "depthwise", "wide", "narrow", "silu", "residual")


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=4),
    axis=st.integers(0, 3),
    channels=st.lists(st.integers(1, 40), min_size=4, max_size=4),
    after=st.sampled_from(["output", "part", "conv"]),
    twice=st.booleans(),
)
def test_parts_are_the_evaluators(
    kinds: list[str], axis: int, channels: list[int], after: str, twice: bool
) -> None:
    module = joined(kinds, axis, channels, after, twice)
    check(module, sample())


def sample() -> Array:
    return np.random.default_rng(0).standard_normal(SHAPE).astype("f4")


def copies(module: Module) -> int:
    """How many concatenations an inference still copies something for."""
    program = program_of(module)
    return sum(program.plan.calls[number].name == "concat" for number in program.steps)


def test_what_windows_make_is_not_copied() -> None:
    kinds = ("wide", "silu", "residual", "pool", "depthwise")
    every = joined(kinds, 3, (5, 24, 16, 16, 16), "conv", twice=False)
    assert not copies(every)
    check(every, sample())
    assert copies(joined(("wide", "given"), 3, (5, 16), "conv", twice=False)) == 1
    # The first part is read by both operands, the last one leaves the model.
    assert copies(joined(("wide", "wide"), 3, (5, 5), "conv", twice=True)) == 1
    assert copies(joined(("wide", "wide"), 3, (5, 5), "part", twice=False)) == 1
