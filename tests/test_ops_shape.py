"""Ops that move elements, against numpy and onnxruntime."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.ir_judge import onnxruntime_op, run

from mcc.ir import Array, Op, OpError, UserError
from mcc.ops import Concat, Expand, Gather, Pad, Resample, Reshape, Slice, Transpose


def numbers(*shape: int) -> Array:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


X = numbers(2, 3, 4)


def test_reshape_and_transpose() -> None:
    np.testing.assert_array_equal(run(Reshape, X, shape=(6, 4)), X.reshape(6, 4))
    np.testing.assert_array_equal(run(Reshape, X[:1, :1, :1], shape=()), X[0, 0, 0])
    found = run(Transpose, X, perm=(2, 0, 1))
    np.testing.assert_array_equal(found, X.transpose(2, 0, 1))
    assert found.flags.c_contiguous
    assert run(Transpose, np.array(3.0), perm=()).shape == ()


def test_concat() -> None:
    y = numbers(2, 1, 4)
    np.testing.assert_array_equal(run(Concat, X, y, X, axis=1), np.concatenate([X, y, X], 1))
    assert run(Concat, X, numbers(2, 0, 4), axis=1).shape == X.shape


@given(st.data())
@settings(deadline=None)
def test_slice(data: st.DataObject) -> None:
    """As Python slices do, once the bounds are normalized."""
    size = data.draw(st.integers(0, 7))
    bound = st.none() | st.integers(-9, 9)
    step = data.draw(st.integers(-3, 3).filter(bool))
    picked = slice(data.draw(bound), data.draw(bound), step)
    start, stop, step = picked.indices(size)
    x = numbers(size, 2)
    found = run(Slice, x, starts=(start, 0), stops=(stop, 2), steps=(step, 1))
    np.testing.assert_array_equal(found, x[picked])


@given(st.integers(0, 2), st.lists(st.integers(-2, 1), max_size=4))
@settings(deadline=None)
def test_gather(axis: int, picked: list[int]) -> None:
    indices = np.array(picked, np.int64)
    np.testing.assert_array_equal(run(Gather, X, indices, axis=axis), np.take(X, indices, axis))


@pytest.mark.parametrize("index", [3, -4])
def test_gather_out_of_range(index: int) -> None:
    with pytest.raises(UserError) as caught:
        run(Gather, X, np.array([0, index], np.int64), axis=1)
    assert f"gather reads index {index} of an axis of 3" in str(caught.value)
    assert "check those" in str(caught.value)


def test_expand() -> None:
    np.testing.assert_array_equal(run(Expand, numbers(3, 1), shape=(2, 1, 4)),
                                  np.broadcast_to(numbers(3, 1), (2, 3, 4)))  # fmt: skip
    np.testing.assert_array_equal(run(Expand, X, shape=(1,)), X)


@given(
    st.lists(st.integers(-1, 3), min_size=4, max_size=4),
    st.sampled_from(["constant", "reflect", "edge"]),
)
@settings(deadline=None)
def test_pad(pads: list[int], mode: str) -> None:
    x = numbers(5, 4)
    if mode != "constant":
        pads = [max(0, pad) for pad in pads]  # onnxruntime does not crop and mirror at once
    (expected,) = onnxruntime_op(
        "Pad",
        [x, np.array(pads, np.int64), np.array(7.0, np.float32)],
        mode=mode,
    )
    found = run(Pad, x, pads=tuple(pads), value=7.0, mode=mode)
    np.testing.assert_array_equal(found, expected)


def test_pad_of_integers_and_scalars() -> None:
    found = run(Pad, np.array([1, 2], np.int8), pads=(1, 1), value=-128.0)
    assert found.tolist() == [-128, 1, 2, -128]
    assert run(Pad, np.array(3.0), pads=()).item() == 3.0


PICKS = np.array([[0, 1], [-1, 7]])
HALVES = np.full((2, 2), 0.5, np.float32)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_resample_is_a_product_with_a_matrix(axis: int, dtype: str) -> None:
    x, weights = X.astype(dtype), np.array([[0.25, 0.5], [1.0, -2.0]], dtype)
    matrix = np.zeros((2, X.shape[axis]))
    for row, (picks, factors) in enumerate(zip(PICKS, weights, strict=True)):
        for pick, factor in zip(picks, factors, strict=True):
            matrix[row, min(max(pick, 0), X.shape[axis] - 1)] += factor
    expected = np.moveaxis(np.tensordot(matrix, X, (1, axis)), 0, axis)
    found = run(Resample, x, PICKS, weights, axis=axis)
    np.testing.assert_array_equal(found, expected.astype(dtype))


WRONG: list[tuple[type[Op], list[Array], dict[str, Any], str]] = [
    (Reshape, [X], {"shape": (5,)}, r"has 24 elements, shape \[5\] another number"),
    (Reshape, [X], {"shape": (-6, -4)}, "negative dimension"),
    (Transpose, [X], {"perm": (0, 1)}, r"perm \[0, 1\] is no permutation of x's 3 axes"),
    (Concat, [], {"axis": 0}, "nothing to concatenate"),
    (Concat, [X, numbers(2, 3)], {"axis": 0}, "do not concatenate along axis 0"),
    (Concat, [numbers(2), numbers()], {"axis": 0}, "do not concatenate along axis 0"),
    (Concat, [X], {"axis": 3}, "axis 3 is outside rank 3"),
    (Slice, [numbers(3)], {"starts": (0,), "stops": (9,)}, "0:9:1 runs out of a dimension of 3"),
    (Slice, [numbers(3)], {"starts": (0,), "stops": ()}, "need 1 numbers each"),
    (Slice, [numbers(3)], {"starts": (0,), "stops": (1,), "steps": (0,)}, "must not be 0"),
    (Gather, [X, numbers(1)], {}, "indices must be i32 or i64"),
    (Gather, [X, np.array([0])], {"axis": 3}, "axis 3 is outside rank 3"),
    (Resample, [X.astype("i4"), PICKS, HALVES], {"axis": 1}, "x must be a float tensor"),
    (Resample, [X, PICKS, HALVES], {"axis": 3}, "axis 3 is outside rank 3"),
    (Resample, [X[:0], PICKS, HALVES], {"axis": 0}, "nothing to sample along axis 0"),
    (Resample, [X, HALVES, HALVES], {"axis": 1}, "indices must be an i32 or i64 matrix"),
    (Resample, [X, PICKS, HALVES[:1]], {"axis": 1}, r"expected f32\[2,2\]"),
    (Expand, [X], {"shape": (5,)}, "shapes do not broadcast"),
    (Pad, [numbers(3)], {"pads": (0,)}, "pads has 1 numbers, 2 are needed"),
    (Pad, [numbers(3)], {"pads": (-5, 10)}, "pads crop more than the 3 elements"),
    (Pad, [numbers(0)], {"pads": (1, 1), "mode": "edge"}, "nothing to take the border from"),
]


@pytest.mark.parametrize(("op_class", "arrays", "attributes", "complaint"), WRONG)
def test_operands_are_checked(
    op_class: type[Op], arrays: list[Array], attributes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(OpError, match=complaint):
        run(op_class, *arrays, **attributes)
