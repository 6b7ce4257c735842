"""Recurrent layers on the CPU, against their definition."""

from typing import Any

import numpy as np
import pytest
from cpu_cases import Cases, floats
from numpy.typing import NDArray

from mcc.ir import Op, Value
from mcc.ops import Gru, Lstm, Rnn


class _Layers:
    """Adds every form of the layers at one size."""

    def __init__(
        self, cases: Cases, shape: tuple[int, int, int], dtype: str, **common: Any
    ) -> None:
        self.cases, self.common = cases, common
        rng = np.random.default_rng(sum(shape))
        self.steps, self.batch, self.hidden = shape
        self.lengths = rng.integers(0, self.steps + 1, self.batch).astype(np.int32)
        self.rng, self.dtype = rng, dtype

    def draw(self, *dims: int) -> NDArray[Any]:
        return np.asarray(floats(self.rng, *dims, dtype=self.dtype) * 0.4)

    def inputs(self, gates: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        x = self.draw(self.steps, self.batch, gates * self.hidden)
        return x, self.draw(self.hidden, gates * self.hidden), self.draw(self.batch, self.hidden)

    def lstm(self) -> None:
        def plain(x: Value, h: Value, c: Value, r: Value) -> Op:
            return Lstm(x, r, h, c, **self.common)

        def full(x: Value, h: Value, c: Value, n: Value, p: Value, r: Value) -> Op:
            return Lstm(x, r, h, c, p, n, clip=0.7, gate="hard_sigmoid", cell="relu", **self.common)

        x, r, h = self.inputs(4)
        c, p = self.draw(self.batch, self.hidden), self.draw(3 * self.hidden)
        self.cases.add("lstm", plain, x, h, c, constants=[r], tolerance=1e-4)
        self.cases.add("lstm_full", full, x, h, c, self.lengths, p, r, tolerance=1e-4)

    def gru(self) -> None:
        def plain(x: Value, h: Value, r: Value) -> Op:
            return Gru(x, r, h, **self.common)

        def full(x: Value, h: Value, b: Value, n: Value, r: Value) -> Op:
            return Gru(x, r, h, b, n, clip=0.8, **self.common)

        def lengths(x: Value, h: Value, n: Value, r: Value) -> Op:
            return Gru(x, r, h, None, n, **self.common)

        x, r, h = self.inputs(3)
        b = self.draw(self.hidden)
        self.cases.add("gru", plain, x, h, constants=[r], tolerance=1e-4)
        self.cases.add("gru_full", full, x, h, b, self.lengths, constants=[r], tolerance=1e-4)
        self.cases.add("gru_lengths", lengths, x, h, self.lengths, r, tolerance=1e-4)

    def rnn(self) -> None:
        def plain(x: Value, h: Value, r: Value) -> Op:
            return Rnn(x, r, h, cell="sigmoid", **self.common)

        def full(x: Value, h: Value, n: Value, r: Value) -> Op:
            return Rnn(x, r, h, n, **self.common)

        x, r, h = self.inputs(1)
        self.cases.add("rnn", plain, x, h, constants=[r], tolerance=1e-4)
        self.cases.add("rnn_full", full, x, h, self.lengths, r, tolerance=1e-4)


def check(shapes: list[tuple[int, int, int]], dtype: str, *, reverse: bool) -> None:
    cases = Cases()
    for shape in shapes:
        layers = _Layers(cases, shape, dtype, reverse=reverse)
        layers.lstm()
        layers.gru()
        layers.rnn()
    cases.check()


@pytest.mark.parametrize("reverse", [False, True])
def test_recurrent_layers(reverse: bool) -> None:
    check([(3, 1, 16), (0, 2, 4), (3, 0, 4)], "f4", reverse=reverse)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("reverse", [False, True])
def test_recurrent_layers_of_all_sizes(dtype: str, reverse: bool) -> None:
    check([(3, 1, 7), (4, 6, 20), (1, 2, 16), (5, 1, 50), (2, 3, 1)], dtype, reverse=reverse)
