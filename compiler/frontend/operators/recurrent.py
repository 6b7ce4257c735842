"""LSTM, GRU and RNN: a matrix product over all steps, then the recurrence, for each direction."""
# ruff: noqa: N802, N803  (names are ONNX's)

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

import numpy as np

import mcc.ops as ops
from mcc.ir import DType, OpError, Value, constant
from mcc.ops import Squash

from ..registry import OutputCount, UnsupportedError, operator
from .movement import reshaped


@dataclass(frozen=True)
class _Layer:
    """What the three operators share."""

    X: Value
    W: Value
    R: Value
    B: Value | None
    lengths: Value | None
    initial_h: Value | None
    direction: str
    layout: int
    gates: int
    clip: float
    functions: Sequence[Squash]
    """For each direction in turn."""
    states: dict[str, Value] = field(default_factory=dict[str, Value])

    @property
    def x(self) -> Value:
        """The input, [steps, batch, features]."""
        return ops.Transpose(self.X, (1, 0, 2)).result if self.layout else self.X

    @property
    def directions(self) -> tuple[bool, ...]:
        """Whether each direction goes backwards."""
        known = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
        if self.direction not in known:
            raise UnsupportedError(
                f"its direction is {self.direction!r}; mcc knows {', '.join(known)}"
            )
        return known[self.direction]

    @property
    def batch(self) -> int:
        return self.X.tensor.dims[0 if self.layout else 1]

    @property
    def hidden(self) -> int:
        return self.R.tensor.dims[2]

    def own(self, value: Value, number: int) -> Value:
        """A direction's part of a tensor whose first axis is the directions."""
        dims = value.tensor.dims
        starts = (number, *(0,) * (len(dims) - 1))
        part = ops.Slice(value, starts, (number + 1, *dims[1:])).result
        return reshaped(part, dims[1:])

    def initial(self, value: Value | None, number: int) -> Value:
        """The state [batch, hidden] that a direction begins with."""
        if value is None:
            zeros = np.zeros((self.batch, self.hidden), self.X.tensor.dtype.numpy)
            return constant(zeros).result
        turned = ops.Transpose(value, (1, 0, 2)).result if self.layout else value
        return self.own(turned, number)

    def biases(self, number: int) -> tuple[Value, Value] | None:
        """Of the input and of the recurrence, [gates * hidden] each."""
        if self.B is None:
            return None
        both, half = self.own(self.B, number), self.gates * self.hidden
        first = ops.Slice(both, (0,), (half,)).result
        return first, ops.Slice(both, (half,), (2 * half,)).result

    def projected(self, x: Value, number: int, bias: Value | None) -> Value:
        """What the inputs of all steps add to the gates, [steps, batch, gates * hidden]."""
        w = ops.Transpose(self.own(self.W, number), (1, 0)).result
        product = ops.Matmul(x, w).result
        return product if bias is None else ops.Add(product, bias).result

    def recurrence(self, number: int) -> Value:
        return ops.Transpose(self.own(self.R, number), (1, 0)).result

    def of(self, number: int) -> Sequence[Squash]:
        """A direction's functions."""
        count = len(self.functions) // len(self.directions)
        return self.functions[number * count : (number + 1) * count]

    def outputs(
        self, step: Callable[[int, bool], Sequence[Value]], wanted: int
    ) -> tuple[Value, ...]:
        """Y, Y_h and perhaps Y_c from the states [steps, batch, hidden] of each direction."""
        every = [tuple(step(n, backwards)) for n, backwards in enumerate(self.directions)]
        hidden = [states[0] for states in every]
        steps = hidden[0].tensor.dims[0]
        if not steps:
            raise OpError("the sequence has no steps")
        y = self._joined([self._masked(states) for states in hidden], 1, (steps,))
        last = [
            self._joined([self._last(states[kind], n) for n, states in enumerate(every)], 0, ())
            for kind in range(len(every[0]))
        ]
        if self.layout:
            y = ops.Transpose(y, (2, 0, 1, 3)).result
            last = [ops.Transpose(value, (1, 0, 2)).result for value in last]
        return (y, *last)[: max(wanted, 1)]

    def _joined(self, parts: list[Value], axis: int, lead: tuple[int, ...]) -> Value:
        """[*lead, batch, hidden] of each direction as [*lead, directions, batch, hidden]."""
        shape = (*lead, 1, self.batch, self.hidden)
        split = [reshaped(part, shape) for part in parts]
        return split[0] if len(split) == 1 else ops.Concat(tuple(split), axis).result

    def _last(self, states: Value, number: int) -> Value:
        """The state after all steps."""
        dims = states.tensor.dims
        at = 0 if self.directions[number] else dims[0] - 1
        return ops.Slice(states, (at, 0, 0), (at + 1, *dims[1:])).result

    def _masked(self, states: Value) -> Value:
        """0 in the steps that a sequence does not have."""
        if self.lengths is None:
            return states
        steps = constant(np.arange(states.tensor.dims[0], dtype=np.int32)[:, None, None]).result
        ends = reshaped(self.lengths, (self.batch, 1))
        zero = constant(np.zeros((), states.tensor.dtype.numpy)).result
        return ops.Where(ops.Less(steps, ends).result, states, zero).result


_KNOWN: dict[str, Squash] = {
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "relu": "relu",
    "hardsigmoid": "hard_sigmoid",
}


def _functions(
    given: tuple[str, ...] | None,
    alphas: tuple[float, ...] | None,
    betas: tuple[float, ...] | None,
    default: Sequence[Squash],
    count: int,
) -> Sequence[Squash]:
    """The functions of all directions; those with parameters only at the usual ones."""
    found: list[Squash] = []
    if not given:
        return tuple(default) * count
    if len(given) != len(default) * count:
        raise OpError(f"{len(given)} activations are given, {len(default) * count} are needed")
    for name, alpha, beta in zip_longest(given, alphas or (), betas or ()):
        known = _KNOWN.get(name.lower())
        if known is None:
            shown = "Sigmoid, Tanh, Relu, HardSigmoid"
            raise UnsupportedError(f"its activation is {name!r}; mcc knows {shown}")
        if known == "hard_sigmoid" and not (_is(alpha, 0.2) and _is(beta, 0.5)):
            raise UnsupportedError("its HardSigmoid is not that with alpha 0.2 and beta 0.5")
        found.append(known)
    return found


def _is(given: float | None, usual: float) -> bool:
    return given is None or abs(given - usual) < 1e-6


def _lengths(sequence_lens: Value | None) -> Value | None:
    if sequence_lens is None or sequence_lens.tensor.dtype is DType.I32:
        return sequence_lens
    return ops.Cast(sequence_lens, DType.I32).result


def _bound(clip: float | None) -> float:
    return float("inf") if clip is None else clip


@operator(since=7)
def LSTM(
    X: Value,
    W: Value,
    R: Value,
    B: Value | None = None,
    sequence_lens: Value | None = None,
    initial_h: Value | None = None,
    initial_c: Value | None = None,
    P: Value | None = None,
    *,
    activation_alpha: tuple[float, ...] | None = None,
    activation_beta: tuple[float, ...] | None = None,
    activations: tuple[str, ...] | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    input_forget: int = 0,
    layout: int = 0,
    outputs: OutputCount,
) -> tuple[Value, ...]:
    if input_forget:
        raise UnsupportedError("it couples the input and forget gates (input_forget=1)")
    functions = _functions(
        activations,
        activation_alpha,
        activation_beta,
        ("sigmoid", "tanh", "tanh"),
        W.tensor.dims[0],
    )
    lengths = _lengths(sequence_lens)
    layer = _Layer(X, W, R, B, lengths, initial_h, direction, layout, 4, _bound(clip), functions)
    x = layer.x

    def step(number: int, reverse: bool) -> tuple[Value, Value]:
        biases = layer.biases(number)
        bias = None if biases is None else ops.Add(*biases).result
        gate, cell, output = layer.of(number)
        states = ops.Lstm(
            layer.projected(x, number, bias),
            layer.recurrence(number),
            layer.initial(initial_h, number),
            layer.initial(initial_c, number),
            p=None if P is None else layer.own(P, number),
            lengths=lengths,
            reverse=reverse,
            clip=layer.clip,
            gate=gate,
            cell=cell,
            output=output,
        ).result
        steps, _, batch, hidden = states.tensor.dims
        kinds = (
            ops.Slice(states, (0, kind, 0, 0), (steps, kind + 1, batch, hidden)).result
            for kind in (0, 1)
        )
        shown, kept = (reshaped(kind, (steps, batch, hidden)) for kind in kinds)
        return shown, kept

    return layer.outputs(step, outputs)


@operator(since=7)
def GRU(
    X: Value,
    W: Value,
    R: Value,
    B: Value | None = None,
    sequence_lens: Value | None = None,
    initial_h: Value | None = None,
    *,
    activation_alpha: tuple[float, ...] | None = None,
    activation_beta: tuple[float, ...] | None = None,
    activations: tuple[str, ...] | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    layout: int = 0,
    linear_before_reset: int = 0,
    outputs: OutputCount,
) -> tuple[Value, ...]:
    functions = _functions(
        activations, activation_alpha, activation_beta, ("sigmoid", "tanh"), W.tensor.dims[0]
    )
    lengths = _lengths(sequence_lens)
    layer = _Layer(X, W, R, B, lengths, initial_h, direction, layout, 3, _bound(clip), functions)
    x = layer.x

    def step(number: int, reverse: bool) -> tuple[Value]:
        bias, late = _gru_biases(layer, number, bool(linear_before_reset))
        gate, cell = layer.of(number)
        states = ops.Gru(
            layer.projected(x, number, bias),
            layer.recurrence(number),
            layer.initial(initial_h, number),
            b=late,
            lengths=lengths,
            reverse=reverse,
            clip=layer.clip,
            gate=gate,
            cell=cell,
        )
        return (states.result,)

    return layer.outputs(step, outputs)


def _gru_biases(
    layer: _Layer, number: int, linear_before_reset: bool
) -> tuple[Value | None, Value | None]:
    """The bias of the projection, and what the reset gate scales with the recurrence."""
    hidden = layer.hidden
    biases = layer.biases(number)
    if not linear_before_reset:
        return (None if biases is None else ops.Add(*biases).result), None
    if biases is None:
        return None, constant(np.zeros(hidden, layer.X.tensor.dtype.numpy)).result
    ours, theirs = biases
    early = ops.Slice(theirs, (0,), (2 * hidden,)).result
    widened = ops.Pad(early, (0, hidden)).result
    late = ops.Slice(theirs, (2 * hidden,), (3 * hidden,)).result
    return ops.Add(ours, widened).result, late


@operator(since=7)
def RNN(
    X: Value,
    W: Value,
    R: Value,
    B: Value | None = None,
    sequence_lens: Value | None = None,
    initial_h: Value | None = None,
    *,
    activation_alpha: tuple[float, ...] | None = None,
    activation_beta: tuple[float, ...] | None = None,
    activations: tuple[str, ...] | None = None,
    clip: float | None = None,
    direction: str = "forward",
    hidden_size: int | None = None,
    layout: int = 0,
    outputs: OutputCount,
) -> tuple[Value, ...]:
    default: Sequence[Squash] = ("tanh",)
    count = W.tensor.dims[0]
    if activations and len(activations) > count:  # the schema's default names two directions
        activations = activations[:count]
    functions = _functions(activations, activation_alpha, activation_beta, default, count)
    lengths = _lengths(sequence_lens)
    layer = _Layer(X, W, R, B, lengths, initial_h, direction, layout, 1, _bound(clip), functions)
    x = layer.x

    def step(number: int, reverse: bool) -> tuple[Value]:
        biases = layer.biases(number)
        states = ops.Rnn(
            layer.projected(x, number, None if biases is None else ops.Add(*biases).result),
            layer.recurrence(number),
            layer.initial(initial_h, number),
            lengths=lengths,
            reverse=reverse,
            clip=layer.clip,
            cell=layer.of(number)[0],
        )
        return (states.result,)

    return layer.outputs(step, outputs)
