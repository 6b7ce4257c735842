"""Recurrent layers: the state after each step, from projected inputs.

What an input adds to the gates does not depend on the state. It is a matrix product over all steps
at once, and an op of its own; what is left is here.
"""

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np

from mcc.ir import Array, DType, Op, OpError, Tensor, Value

Squash = Literal["sigmoid", "tanh", "relu", "hard_sigmoid"]
"""A function that a gate applies; `hard_sigmoid` is max(0, min(1, 0.2 x + 0.5))."""


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1 / (1 + e), e / (1 + e)))


_SQUASH: dict[str, Callable[[Array], Array]] = {
    "sigmoid": _sigmoid,
    "tanh": lambda x: np.asarray(np.tanh(x)),
    "relu": lambda x: np.asarray(np.maximum(x, 0)),
    "hard_sigmoid": lambda x: np.asarray(np.clip(x.dtype.type(0.2) * x + x.dtype.type(0.5), 0, 1)),
}


class Recurrent(Op):
    """Base: steps over x [T, N, gates * H] from a state h [N, H], with weights r [H, gates * H].

    In a batch of sequences of different `lengths` [N] (i32), a state stays as it was in steps that
    its sequence does not have. `reverse` steps from the last to the first. What goes into the
    function of a gate is first clipped to [-clip, clip]. 16-bit floats are computed in float32.
    """

    x: Value
    r: Value
    h: Value

    gates = 1

    def check(self, lengths: Value | None, clip: float) -> Tensor:
        """The type of the states' hidden part, [T, N, H]."""
        x, r, h = self.x.tensor, self.r.tensor, self.h.tensor
        if x.rank != 3 or not x.dtype.is_float:
            raise OpError(f"x must be floats [steps, batch, gates], is {x}", "x")
        if r.rank != 2 or r.dtype is not x.dtype or r.shape[1] != x.shape[2]:
            raise OpError(f"r {r} must be a matrix with the columns of x {x}", "r")
        size = r.shape[0]
        if not isinstance(size, int) or r.shape[1] != self.gates * size:
            raise OpError(f"r {r} must have {self.gates} times as many columns as rows", "r")
        self.check_type("h", self.h, Tensor(x.dtype, (x.shape[1], size)))
        if lengths is not None:
            self.check_type("lengths", lengths, Tensor(DType.I32, (x.shape[1],)))
        if not clip > 0:
            raise OpError(f"clip {clip} must be positive", "clip")
        return Tensor(x.dtype, (*x.shape[:2], *h.shape[1:]))

    def check_type(self, name: str, value: Value, expected: Tensor) -> None:
        if value.tensor != expected:
            raise OpError(f"{name} is {value.tensor}, expected {expected}", name)

    def steps(
        self, x: Array, lengths: Array | None, *, reverse: bool
    ) -> Iterator[tuple[int, Array]]:
        """Each step, and which sequences have it, [N, 1]."""
        order = range(len(x))
        for step in reversed(order) if reverse else order:
            live = np.ones((x.shape[1], 1), bool) if lengths is None else lengths[:, None] > step
            yield step, live


def _wide(array: Array) -> Array:
    return array.astype(np.float32) if array.dtype.itemsize == 2 else array


def _apply(name: Squash, x: Array, clip: float) -> Array:
    return _SQUASH[name](np.asarray(np.clip(x, -clip, clip)))


class Lstm(Recurrent, name="lstm"):
    """A long short-term memory: [T, 2, N, H], hidden and cell state after each step.

    With gates i, o, f, c side by side in x and r, and `p` [3 * H] the weights of peepholes for i,
    o, f: i = gate(x + h r + p c), f likewise, c' = f c + i cell(x + h r), o = gate(x + h r + p c'),
    h' = o output(c'). (Hochreiter, Schmidhuber 1997; Gers, Schraudolph, Schmidhuber 2002.)
    x is [T, N, 4 * H], r [H, 4 * H], h and c [N, H]. Of sequences with `lengths` [N] (i32) the
    states stay beyond the end; `reverse` goes from the last step to the first; what goes into
    `gate` and `cell` is clipped to [-clip, clip].
    """

    c: Value
    p: Value | None = None
    lengths: Value | None = None
    reverse: bool = False
    clip: float = float("inf")
    gate: Squash = "sigmoid"
    cell: Squash = "tanh"
    output: Squash = "tanh"

    gates = 4

    def infer(self) -> Tensor:
        hidden = self.check(self.lengths, self.clip)
        self.check_type("c", self.c, self.h.tensor)
        if self.p is not None:
            size = self.r.tensor.dims[0]
            self.check_type("p", self.p, Tensor(hidden.dtype, (3 * size,)))
        return Tensor(hidden.dtype, (hidden.shape[0], 2, *hidden.shape[1:]))

    def evaluate(
        self, x: Array, r: Array, h: Array, c: Array, p: Array | None, lengths: Array | None
    ) -> Array:
        states = np.zeros((len(x), 2, *h.shape), x.dtype)
        r, h, c = _wide(r), _wide(h), _wide(c)
        peep_i, peep_o, peep_f = (0, 0, 0) if p is None else np.split(_wide(p), 3)
        for step, live in self.steps(x, lengths, reverse=self.reverse):
            i, o, f, new = np.split(_wide(x[step]) + h @ r, 4, axis=1)
            i = _apply(self.gate, i + peep_i * c, self.clip)
            f = _apply(self.gate, f + peep_f * c, self.clip)
            kept = f * c + i * _apply(self.cell, new, self.clip)
            o = _apply(self.gate, o + peep_o * kept, self.clip)
            shown = o * _SQUASH[self.output](kept)
            states[step] = np.where(live, shown, h), np.where(live, kept, c)
            h, c = _wide(states[step, 0]), _wide(states[step, 1])
        return states


class Gru(Recurrent, name="gru"):
    """A gated recurrent unit: [T, N, H], the state after each step.

    With gates z, r, n side by side in x and r: z = gate(x + h r), r likewise,
    h' = (1 - z) n + z h, where n = cell(x + (r h) r), or with `b` [H], the bias of n in the
    recurrence, n = cell(x + r (h r + b)). (Cho et al. 2014; the second is cuDNN's.)
    x is [T, N, 3 * H], r [H, 3 * H], h [N, H]. Of sequences with `lengths` [N] (i32) the states
    stay beyond the end; `reverse` goes from the last step to the first; what goes into a function
    is clipped to [-clip, clip].
    """

    b: Value | None = None
    lengths: Value | None = None
    reverse: bool = False
    clip: float = float("inf")
    gate: Squash = "sigmoid"
    cell: Squash = "tanh"

    gates = 3

    def infer(self) -> Tensor:
        hidden = self.check(self.lengths, self.clip)
        if self.b is not None:
            self.check_type("b", self.b, Tensor(hidden.dtype, self.r.tensor.shape[:1]))
        return hidden

    def evaluate(
        self, x: Array, r: Array, h: Array, b: Array | None, lengths: Array | None
    ) -> Array:
        states = np.zeros((len(x), *h.shape), x.dtype)
        r, h = _wide(r), _wide(h)
        size = h.shape[1]
        early, late = r[:, : 2 * size], r[:, 2 * size :]
        for step, live in self.steps(x, lengths, reverse=self.reverse):
            given = _wide(x[step])
            first = given[:, : 2 * size] + h @ early
            z, reset = np.split(_apply(self.gate, first, self.clip), 2, axis=1)
            inner = (reset * h) @ late if b is None else reset * (h @ late + _wide(b))
            new = _apply(self.cell, given[:, 2 * size :] + inner, self.clip)
            states[step] = np.where(live, (1 - z) * new + z * h, h)
            h = _wide(states[step])
        return states


class Rnn(Recurrent, name="rnn"):
    """The plain recurrent layer: [T, N, H], h' = cell(x + h r) after each step.

    x is [T, N, H], r [H, H], h [N, H]. Of sequences with `lengths` [N] (i32) the states stay beyond
    the end; `reverse` goes from the last step to the first; what goes into the function is
    clipped to [-clip, clip]. (Elman 1990.)
    """

    lengths: Value | None = None
    reverse: bool = False
    clip: float = float("inf")
    cell: Squash = "tanh"

    def infer(self) -> Tensor:
        return self.check(self.lengths, self.clip)

    def evaluate(self, x: Array, r: Array, h: Array, lengths: Array | None) -> Array:
        states = np.zeros((len(x), *h.shape), x.dtype)
        r, h = _wide(r), _wide(h)
        for step, live in self.steps(x, lengths, reverse=self.reverse):
            new = _apply(self.cell, _wide(x[step]) + h @ r, self.clip)
            states[step] = np.where(live, new, h)
            h = _wide(states[step])
        return states
