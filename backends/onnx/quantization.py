"""QuantizeLinear and DequantizeLinear."""

import numpy as np

from mcc.ir import DType, constant_of
from mcc.ops import Dequantize, Quantize

from .registry import emits
from .writer import AttributeValue, UnexportableError, Writer


@emits(Quantize)
def write_quantize(writer: Writer, op: Quantize) -> None:
    _write(writer, op, "QuantizeLinear", op.result.tensor.dtype)


@emits(Dequantize)
def write_dequantize(writer: Writer, op: Dequantize) -> None:
    _write(writer, op, "DequantizeLinear", op.x.tensor.dtype)


def _write(writer: Writer, op: Quantize | Dequantize, type: str, dtype: DType) -> None:
    inputs = [writer.name(op.x), writer.name(op.scale)]
    if dtype is DType.I32:
        zero = constant_of(op.zero)
        if zero is None or np.any(zero):
            raise UnexportableError("ONNX has int32 with zero point 0 only")
    else:
        inputs.append(writer.name(op.zero))
    axis: dict[str, AttributeValue] = {"axis": op.axis} if op.scale.tensor.rank else {}
    writer.node(op, type, inputs, writer.name(op.result), **axis)
