"""Transposes around operators that ONNX has with the channels second only."""

from mcc.ir import Op

from .writer import Writer


def to_nchw(writer: Writer, op: Op, x: str, layout: str, rank: int) -> str:
    """The tensor with its channels second."""
    if layout == "nchw":
        return x
    return writer.node(op, "Transpose", [x], perm=(0, rank - 1, *range(1, rank - 1)))


def from_nchw(writer: Writer, op: Op, y: str, layout: str, rank: int, output: str) -> str:
    """The tensor in the op's own layout, called `output` where that is not empty."""
    if layout == "nchw":
        return y
    return writer.node(op, "Transpose", [y], output, perm=(0, *range(2, rank), 1))
