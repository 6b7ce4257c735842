"""Pooling."""

from mcc.ops import AvgPool, MaxPool, spatial_axes

from .layout import from_nchw, to_nchw
from .registry import emits
from .writer import AttributeValue, Writer


@emits(AvgPool)
def write_avg_pool(writer: Writer, op: AvgPool) -> None:
    _write(writer, op, "AveragePool", count_include_pad=int(op.include_pad))


@emits(MaxPool)
def write_max_pool(writer: Writer, op: MaxPool) -> None:
    _write(writer, op, "MaxPool")


def ceil_needs_newer(op: AvgPool | MaxPool) -> bool:
    """Whether older opsets count a last window that starts behind the input.

    Before opset 22 ONNX's shapes have it (onnxruntime does not compute it, nor does mcc).
    """
    extents = _extents(op)
    return any(ours > floor for floor, _, ours in extents) and any(
        ceil > ours for _, ceil, ours in extents
    )


def _extents(op: AvgPool | MaxPool) -> list[tuple[int, int, int]]:
    """Windows along each spatial axis: rounded down, rounded up, and those that there are."""
    strides, pads, dilations = op.geometry
    rank = len(op.kernel)
    extents: list[tuple[int, int, int]] = []
    for i, axis in enumerate(spatial_axes(op.layout, rank + 2)):
        span = dilations[i] * (op.kernel[i] - 1) + 1
        room = op.x.tensor.dims[axis] + pads[i] + pads[rank + i] - span
        ours = op.result.tensor.dims[axis]
        extents.append((room // strides[i] + 1, -(-room // strides[i]) + 1, ours))
    return extents


def _write(writer: Writer, op: AvgPool | MaxPool, type: str, **more: AttributeValue) -> None:
    strides, pads, dilations = op.geometry
    if isinstance(op, MaxPool) or any(step > 1 for step in dilations):
        more["dilations"] = dilations
    if any(ours > floor for floor, _, ours in _extents(op)):
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
