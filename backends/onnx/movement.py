"""Ops that move elements."""

import numpy as np

from mcc.ir import Array, constant_of
from mcc.ops import Concat, Expand, Gather, Pad, Resample, Reshape, Slice, Transpose

from .registry import emits
from .writer import UnexportableError, Writer


@emits(Reshape)
def write_reshape(writer: Writer, op: Reshape) -> None:
    shape = writer.integers(op.shape, "shape")
    inputs, result = [writer.name(op.x), shape], writer.name(op.result)
    if 0 in op.shape:  # which would otherwise mean «as in x»
        writer.node(op, "Reshape", inputs, result, allowzero=1)
    else:
        writer.node(op, "Reshape", inputs, result)


@emits(Transpose)
def write_transpose(writer: Writer, op: Transpose) -> None:
    writer.node(op, "Transpose", [writer.name(op.x)], writer.name(op.result), perm=op.perm)


@emits(Concat)
def write_concat(writer: Writer, op: Concat) -> None:
    inputs = [writer.name(value) for value in op.xs]
    writer.node(op, "Concat", inputs, writer.name(op.result), axis=op.axis)


@emits(Slice)
def write_slice(writer: Writer, op: Slice) -> None:
    """Only the axes that are cut; «down to the first element» is a number below every index."""
    steps = op.steps or (1,) * len(op.starts)
    dims = op.x.tensor.dims
    cut = [
        axis
        for axis, dim in enumerate(dims)
        if (op.starts[axis], op.stops[axis], steps[axis]) != (0, dim, 1)
    ]
    stops = [op.stops[a] if op.stops[a] >= 0 else -dims[a] - 1 for a in cut]
    inputs = [
        writer.name(op.x),
        writer.integers([op.starts[a] for a in cut], "starts"),
        writer.integers(stops, "ends"),
        writer.integers(cut, "axes"),
        writer.integers([steps[a] for a in cut], "steps"),
    ]
    if cut:
        writer.node(op, "Slice", inputs, writer.name(op.result))
    else:
        writer.node(op, "Identity", inputs[:1], writer.name(op.result))


@emits(Gather)
def write_gather(writer: Writer, op: Gather) -> None:
    inputs = [writer.name(op.x), writer.name(op.indices)]
    writer.node(op, "Gather", inputs, writer.name(op.result), axis=op.axis)


@emits(Expand)
def write_expand(writer: Writer, op: Expand) -> None:
    inputs = [writer.name(op.x), writer.integers(op.shape, "shape")]
    writer.node(op, "Expand", inputs, writer.name(op.result))


@emits(Pad)
def write_pad(writer: Writer, op: Pad) -> None:
    inputs = [writer.name(op.x), writer.integers(op.pads, "pads")]
    if op.mode == "constant":
        fill = np.asarray(op.value, op.x.tensor.dtype.numpy)
        inputs.append(writer.literal(fill, "value"))
    writer.node(op, "Pad", inputs, writer.name(op.result), mode=op.mode)


@emits(Resample)
def write_resample(writer: Writer, op: Resample) -> None:
    """ONNX has no sums of picked elements: a product with the whole matrix of the weights."""
    indices, weights = constant_of(op.indices), constant_of(op.weights)
    if indices is None or weights is None:
        raise UnexportableError(
            "resample with tables computed at run time has no counterpart in ONNX"
        )
    matrix = _dense(indices, weights, op.x.tensor.dims[op.axis])
    rank, last = op.x.tensor.rank, op.x.tensor.rank - 1
    swap = [last if axis == op.axis else op.axis if axis == last else axis for axis in range(rank)]
    x, y = writer.name(op.x), writer.name(op.result)
    factors = writer.literal(matrix, "weights")
    if op.axis == last:
        writer.node(op, "MatMul", [x, factors], y)
        return
    turned = writer.node(op, "Transpose", [x], perm=swap)
    product = writer.node(op, "MatMul", [turned, factors])
    writer.node(op, "Transpose", [product], y, perm=swap)


def _dense(indices: Array, weights: Array, size: int) -> Array:
    """The matrix [size, J] whose column j holds the weights of result j."""
    matrix = np.zeros((size, len(indices)), weights.dtype)
    places = np.clip(indices, 0, size - 1)
    np.add.at(matrix, (places, np.arange(len(indices))[:, None]), weights)
    return matrix
