"""Ops that move elements."""

import numpy as np

from mcc.ops import Concat, Expand, Gather, Pad, Reshape, Slice, Transpose

from .registry import emits
from .writer import Writer


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
