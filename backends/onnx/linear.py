"""Convolution, matrix product and addition, taken apart into ONNX's smaller operators."""

from mcc.ops import Add, Conv, Matmul

from .bounds import clamped, is_bounded
from .layout import from_nchw, to_nchw
from .registry import emits
from .writer import UnexportableError, Writer


@emits(Conv)
def write_conv(writer: Writer, op: Conv) -> None:
    """Conv, then Add for the residual, then Relu or Clip."""
    _refuse_integers(op)
    strides, pads, dilations = op.geometry
    x = to_nchw(writer, op, writer.name(op.x), op.layout, op.x.tensor.rank)
    inputs = [x, writer.name(op.w), "" if op.b is None else writer.name(op.b)]
    final = writer.name(op.result)
    plain = op.r is None and not is_bounded(op)
    y = writer.node(
        op,
        "Conv",
        inputs,
        final if plain and op.layout == "nchw" else "",
        kernel_shape=op.w.tensor.dims[2:],
        strides=strides,
        pads=pads,
        dilations=dilations,
        group=op.groups,
    )
    rank = op.x.tensor.rank
    y = from_nchw(writer, op, y, op.layout, rank, final if plain else "")
    _finish(writer, op, y)


@emits(Matmul)
def write_matmul(writer: Writer, op: Matmul) -> None:
    """Gemm for two matrices and a bias, else MatMul and Add; then residual, then Relu or Clip."""
    _refuse_integers(op)
    x, w = writer.name(op.x), writer.name(op.w)
    final = "" if op.r is not None or is_bounded(op) else writer.name(op.result)
    if op.b is None:
        y = writer.node(op, "MatMul", [x, w], final)
    elif op.x.tensor.rank == op.w.tensor.rank == 2:
        y = writer.node(op, "Gemm", [x, w, writer.name(op.b)], final)
    else:
        product = writer.node(op, "MatMul", [x, w])
        y = writer.node(op, "Add", [product, writer.name(op.b)], final)
    _finish(writer, op, y)


@emits(Add)
def write_add(writer: Writer, op: Add) -> None:
    """Add, then Relu or Clip."""
    final = "" if is_bounded(op) else writer.name(op.result)
    y = writer.node(op, "Add", [writer.name(op.a), writer.name(op.b)], final)
    clamped(writer, op, y)


def _finish(writer: Writer, op: Conv | Matmul, y: str) -> None:
    if op.r is not None:
        final = "" if is_bounded(op) else writer.name(op.result)
        y = writer.node(op, "Add", [y, writer.name(op.r)], final)
    clamped(writer, op, y)


def _refuse_integers(op: Conv | Matmul) -> None:
    if not op.result.tensor.dtype.is_float:
        raise UnexportableError(f"{op.op_name} on integers has no counterpart in ONNX's QDQ form")
    if isinstance(op, Conv) and op.pad_value:
        raise UnexportableError("a float convolution that pads with another number than 0")
