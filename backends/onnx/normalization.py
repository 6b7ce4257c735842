"""Reductions, normalizations and softmax."""

from mcc.ops import BatchNorm, LayerNorm, Reduce, ReduceMax, ReduceMean, ReduceSum, Softmax

from .registry import emits
from .writer import Writer


@emits(ReduceMax, ReduceMean, ReduceSum)
def write_reduce(writer: Writer, op: Reduce) -> None:
    writer.node(
        op,
        type(op).__name__,
        [writer.name(op.x), writer.integers(op.axes, "axes")],
        writer.name(op.result),
        keepdims=int(op.keepdims),
    )


@emits(Softmax)
def write_softmax(writer: Writer, op: Softmax) -> None:
    writer.node(op, "Softmax", [writer.name(op.x)], writer.name(op.result), axis=op.axis)


@emits(BatchNorm)
def write_batch_norm(writer: Writer, op: BatchNorm) -> None:
    inputs = [writer.name(value) for value in (op.x, op.scale, op.bias, op.mean, op.var)]
    writer.node(op, "BatchNormalization", inputs, writer.name(op.result), epsilon=op.epsilon)


@emits(LayerNorm)
def write_layer_norm(writer: Writer, op: LayerNorm) -> None:
    inputs = [writer.name(op.x), writer.name(op.scale)]
    if op.bias is not None:
        inputs.append(writer.name(op.bias))
    writer.node(
        op,
        "LayerNormalization",
        inputs,
        writer.name(op.result),
        axis=op.axis,
        epsilon=op.epsilon,
    )
