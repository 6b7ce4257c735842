"""Pruned weights: blocks of zeros are skipped where there are enough of them."""

from typing import Any

import numpy as np
import pytest
from cpu_cases import Array, Cases, bind
from hypothesis import given, settings
from hypothesis import strategies as st

from mcc.backends.cpu.kernels import pruned
from mcc.backends.cpu.kernels.sparse import Blocks
from mcc.ir import Op, Value
from mcc.ops import Conv, Matmul
from mcc.passes import Prune
from mcc.runtime.library import Library


def floats(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape).astype("f4")


def thinned(rng: np.random.Generator, weights: Array, kept: float) -> Array:
    """Weights [reduction, results] with most blocks of 1 x 16 zero."""
    depth, results = weights.shape
    mask = rng.random((depth, -(-results // 16))) < kept
    return np.where(np.repeat(mask, 16, 1)[:, :results], weights, np.float32(0))


def sparse_kernels(library: Library) -> int:
    return sum("sparse" in call.kernel for call in library.table.calls)


@pytest.fixture
def always_sparse(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(*arguments: object) -> float:
        return float("inf")

    monkeypatch.setattr(pruned, "contraction_cycles", endless)


@pytest.mark.usefixtures("always_sparse")
def test_random_products_and_convolutions() -> None:
    @settings(max_examples=2, deadline=None)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        cases = Cases()
        for number in range(8):
            rng = np.random.default_rng(number)
            kept = data.draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
            m, k, n = (data.draw(st.integers(1, limit)) for limit in (70, 60, 50))
            shape = data.draw(st.sampled_from([(m, k), (2, m, k), (k,)]))
            w, bias = thinned(rng, floats(rng, k, n), kept), floats(rng, n)
            make = bind(Matmul, lo=-1.0)
            label = f"matmul {shape} {n} {kept}"
            cases.add(label, make, floats(rng, *shape), constants=[w, bias], tolerance=1e-4)
            cases.add("empty", Matmul, floats(rng, 0, k), constants=[w])

            kernel = tuple(data.draw(st.integers(1, 3)) for _ in range(2))
            c = data.draw(st.integers(1, 20))
            layout = data.draw(st.sampled_from(["nchw", "nhwc"]))
            options: dict[str, Any] = {
                "strides": tuple(data.draw(st.integers(1, 2)) for _ in kernel),
                "pads": tuple(data.draw(st.integers(0, 2)) for _ in kernel * 2),
                "dilations": tuple(data.draw(st.integers(1, 2)) for _ in kernel),
                "layout": layout,
            }
            x = floats(rng, 2, c, *(data.draw(st.integers(6, 33)) for _ in kernel))
            flat = thinned(rng, floats(rng, c * kernel[0] * kernel[1], n), kept)
            weights = np.ascontiguousarray(np.moveaxis(flat.reshape(*kernel, c, n), (3, 2), (0, 1)))

            def conv(x: Value, w: Value, b: Value, options: dict[str, Any] = options) -> Op:
                return Conv(x, w, b, **options)

            x = x if layout == "nchw" else np.ascontiguousarray(np.moveaxis(x, 1, -1))
            cases.add(f"conv {options}", conv, x, constants=[weights, bias], tolerance=1e-4)
        library = cases.check()
        assert sparse_kernels(library) > 0

    check()


def test_enough_zeros_choose_the_kernel_and_few_do_not() -> None:
    rng = np.random.default_rng(0)
    x, w = floats(rng, 64, 512), floats(rng, 512, 256)
    for kept, expected in ((0.2, 1), (1.0, 0)):
        cases = Cases()
        cases.add("ffn", Matmul, x, constants=[thinned(rng, w, kept)], tolerance=1e-4)
        assert sparse_kernels(cases.check()) == expected


def test_pruning_in_rows_of_16_makes_the_blocks() -> None:
    rng = np.random.default_rng(1)
    w = floats(rng, 32, 40)
    op = Matmul(value(32), value(32, 40))
    kept = Prune(sparsity=0.75, structure="row16").pruned(w, op)
    blocks = Blocks.of(kept)
    assert blocks.count == 32 * 3 // 4
    assert list(blocks.begins)[-1] == blocks.count
    norms = np.add.reduceat(w.astype("f8") ** 2, [0, 16, 32], axis=1) / [16, 16, 8]
    least = np.sort(norms.ravel())[: 32 * 3 * 3 // 4]
    zeroed = np.add.reduceat(kept != 0, [0, 16, 32], axis=1) == 0
    np.testing.assert_allclose(np.sort(norms[zeroed]), least)


def value(*shape: int) -> Value:
    from mcc.ir import DType, Tensor

    return Value(Tensor(DType.F32, shape))


def test_blocks_are_lists_by_groups_of_results() -> None:
    weights = np.zeros((4, 20), "f4")
    weights[1, 3], weights[3, 17], weights[0, 0] = 2, 5, 7
    blocks = Blocks.of(weights)
    assert list(blocks.elements) == [0, 1, 3]
    assert list(blocks.begins) == [0, 2, 3]
    assert blocks.values[2, 1] == 5
