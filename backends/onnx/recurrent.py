"""Recurrent layers: ONNX's operators, whose projection of the input is made the identity."""

import math

import numpy as np

from mcc.ir import constant_of
from mcc.ops import Gru, Lstm, Recurrent, Rnn

from .registry import emits
from .writer import AttributeValue, UnexportableError, Writer

_NAMES = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu", "hard_sigmoid": "HardSigmoid"}
_ALPHA, _BETA = 0.2, 0.5
"""Of HardSigmoid."""


@emits(Lstm)
def write_lstm(writer: Writer, op: Lstm) -> None:
    """A node for each step: ONNX hands out the cell state after the last one only."""
    _refuse_lengths(op)
    steps, _, batch, hidden = op.result.tensor.dims
    attributes = _attributes(op, (op.gate, op.cell, op.output), op.clip)
    w, r = _weights(writer, op)
    p = ""
    if op.p is not None:
        p = _reshaped(writer, op, writer.name(op.p), (1, 3 * hidden))
    h, c = (_reshaped(writer, op, writer.name(value), (1, batch, hidden)) for value in (op.h, op.c))
    state = (1, 1, batch, hidden)
    found: dict[int, str] = {}
    order = range(steps)
    for step in reversed(order) if op.reverse else order:
        bounds = [writer.integers([number], "bound") for number in (step, step + 1, 0)]
        x = writer.node(op, "Slice", [writer.name(op.x), *bounds])
        _, h, c = writer.node_with(op, "LSTM", [x, w, r, "", "", h, c, p], 3, "", **attributes)
        parts = [_reshaped(writer, op, part, state) for part in (h, c)]
        found[step] = writer.node(op, "Concat", parts, axis=1)
    if not found:
        raise UnexportableError("ONNX has no sequence without steps")
    writer.node(op, "Concat", [found[s] for s in order], writer.name(op.result), axis=0)


@emits(Gru)
def write_gru(writer: Writer, op: Gru) -> None:
    attributes = _attributes(op, (op.gate, op.cell), op.clip, reverse=op.reverse)
    bias = ""
    if op.b is not None:
        hidden = op.r.tensor.dims[0]
        zeros = writer.literal(np.zeros((1, 5 * hidden), op.b.tensor.dtype.numpy), "zeros")
        late = _reshaped(writer, op, writer.name(op.b), (1, hidden))
        bias = writer.node(op, "Concat", [zeros, late], axis=1)
        attributes["linear_before_reset"] = 1
    _write_states(writer, op, "GRU", bias, attributes)


@emits(Rnn)
def write_rnn(writer: Writer, op: Rnn) -> None:
    attributes = _attributes(op, (op.cell,), op.clip, reverse=op.reverse)
    _write_states(writer, op, "RNN", "", attributes)


def _write_states(
    writer: Writer,
    op: Gru | Rnn,
    type: str,
    bias: str,
    attributes: dict[str, AttributeValue],
) -> None:
    _refuse_lengths(op)
    shape = op.result.tensor.dims
    w, r = _weights(writer, op)
    h = _reshaped(writer, op, writer.name(op.h), (1, *op.h.tensor.dims))
    y = writer.node(op, type, [writer.name(op.x), w, r, bias, "", h], "", **attributes)
    writer.node(op, "Reshape", [y, writer.integers(shape, "shape")], writer.name(op.result))


def _refuse_lengths(op: Lstm | Gru | Rnn) -> None:
    if op.lengths is not None:
        raise UnexportableError("ONNX forgets the states of sequences that have ended")


def _weights(writer: Writer, op: Recurrent) -> tuple[str, str]:
    """W, which leaves the gates as they are, and R."""
    dtype, width = op.x.tensor.dtype.numpy, op.r.tensor.dims[1]
    w = writer.literal(np.eye(width, dtype=dtype)[None], "identity")
    known = constant_of(op.r)
    if known is not None:
        return w, writer.literal(np.ascontiguousarray(known.T)[None], "recurrence")
    turned = writer.node(op, "Transpose", [writer.name(op.r)], perm=(1, 0))
    return w, _reshaped(writer, op, turned, (1, width, op.r.tensor.dims[0]))


def _attributes(
    op: Recurrent, functions: tuple[str, ...], clip: float, *, reverse: bool = False
) -> dict[str, AttributeValue]:
    found: dict[str, AttributeValue] = {
        "hidden_size": op.r.tensor.dims[0],
        "activations": [_NAMES[name] for name in functions],
    }
    if "hard_sigmoid" in functions:
        hard = sum(name == "hard_sigmoid" for name in functions)
        found |= {"activation_alpha": [_ALPHA] * hard, "activation_beta": [_BETA] * hard}
    if reverse:
        found["direction"] = "reverse"
    if clip < math.inf:
        found["clip"] = clip
    return found


def _reshaped(writer: Writer, op: Recurrent, x: str, shape: tuple[int, ...]) -> str:
    return writer.node(op, "Reshape", [x, writer.integers(shape, "shape")])
