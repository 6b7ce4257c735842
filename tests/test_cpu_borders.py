"""Copies and element-wise kernels write the border that a sliding window wants around them."""

import numpy as np
import pytest
from cpu_cases import Array, Cases, attach, bind
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cpu_program import check, module_of, program_of, weights

from mcc.ir import DType, Module, Region, Tensor
from mcc.ops import Conv, MaxPool, Mul, Relu, Transpose

SHAPES = st.tuples(
    st.integers(1, 2), st.integers(1, 6), st.integers(1, 9), st.sampled_from([5, 15, 16, 33, 70])
)
"""Images, channels first."""


def image(shape: tuple[int, ...]) -> Array:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype("f4")


def windowed(
    shape: tuple[int, ...], pads: tuple[int, int, int, int], made: str, reader: str
) -> Module:
    """A window over channels last, which a transpose or an element-wise op has made."""
    region = Region([Tensor(DType.F32, shape)], ["x"])
    turned = attach(region, Transpose(region.args[0], (0, 2, 3, 1)), "turned")
    value = turned
    if made == "map":
        value = attach(region, Relu(turned), "cut")
    if made == "square":
        value = attach(region, Mul(turned, turned), "square")
    if reader == "pool":
        return module_of(
            region, attach(region, MaxPool(value, (3, 3), pads=pads, layout="nhwc"), "y")
        )
    w = weights(region, 5, shape[1], 3, 3)
    y = attach(region, Conv(value, w, pads=pads, layout="nhwc"), "y")
    return module_of(region, y, value) if reader == "both" else module_of(region, y)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    shape=SHAPES,
    pads=st.tuples(*[st.integers(1, 2)] * 4),
    made=st.sampled_from(["transpose", "map", "square"]),
    reader=st.sampled_from(["conv", "pool", "both"]),
)
def test_windows_see_what_the_evaluator_sees(
    shape: tuple[int, ...], pads: tuple[int, int, int, int], made: str, reader: str
) -> None:
    check(windowed(shape, pads, made, reader), image(shape))


@pytest.mark.parametrize("made", ["transpose", "map"])
def test_nothing_is_copied_for_a_border(made: str) -> None:
    module = windowed((1, 3, 8, 33), (1, 1, 1, 1), made, "conv")
    program = program_of(module)
    assert "pad" not in {program.plan.calls[number].name for number in program.steps}
    check(module, image((1, 3, 8, 33)))


@pytest.mark.parametrize("dtype", ["f4", "u1", "i8", "i2"])
def test_rows_take_turns(dtype: str) -> None:
    cases = Cases()
    rng = np.random.default_rng(0)
    for rows in range(1, 7):
        for length in (1, 7, 16, 64, 65, 200):
            x = rng.integers(0, 100, (2, rows, length)).astype(dtype)
            cases.add(f"{rows} of {length}", bind(Transpose, perm=(0, 2, 1)), x)
    cases.check()
