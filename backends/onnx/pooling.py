"""Pooling."""

from mcc.ops import AvgPool, MaxPool

from .layout import from_nchw, to_nchw
from .registry import emits
from .writer import AttributeValue, Writer


@emits(AvgPool)
def write_avg_pool(writer: Writer, op: AvgPool) -> None:
    _write(writer, op, "AveragePool", count_include_pad=int(op.include_pad))


@emits(MaxPool)
def write_max_pool(writer: Writer, op: MaxPool) -> None:
    _write(writer, op, "MaxPool")


def _write(writer: Writer, op: AvgPool | MaxPool, type: str, **more: AttributeValue) -> None:
    strides, pads, dilations = op.geometry
    if isinstance(op, MaxPool) or any(step > 1 for step in dilations):
        more["dilations"] = dilations
    if op.ceil:
        more["ceil_mode"] = 1
    final, rank = writer.name(op.result), op.x.tensor.rank
    x = to_nchw(writer, op, writer.name(op.x), op.layout, rank)
    y = writer.node(
        op,
        type,
        [x],
        final if op.layout == "nchw" else "",
        kernel_shape=op.kernel,
        strides=strides,
        pads=pads,
        **more,
    )
    from_nchw(writer, op, y, op.layout, rank, final)
