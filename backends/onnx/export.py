"""The exporter's page: from a module to a checked ONNX model."""

import onnx
from onnx import helper

from mcc.ir import Constant, DType, Module, Op, OpError, UserError, Value, Yield
from mcc.ops import AvgPool, Dequantize, MaxPool, Quantize

from . import elementwise, linear, movement, normalization, pooling, quantization, recurrent
from .registry import emitter
from .writer import Writer, value_info

FAMILIES = (elementwise, linear, movement, normalization, pooling, quantization, recurrent)
"""Importing them has registered what writes which op."""

OPSET, IR_VERSION = 18, 8
NEWER_IR_VERSION = 10
"""For opset 21: 4- and 16-bit quantization, average pools with dilations; for 22: some `ceil`."""


def export(module: Module) -> onnx.ModelProto:
    """A module as an ONNX model, the same bytes each time.

    Float modules and quantized ones in QDQ form can be written, before `lower-quantized` turns them
    into integer ops. Inputs, outputs and tensors keep their names; a node is named after the ONNX
    node that its op comes from.

    Raises:
        UserError: Lists the ops that have no counterpart in ONNX.
    """
    opset = max((_opset(op) for op in module.ops()), default=OPSET)
    ir_version = IR_VERSION if opset == OPSET else NEWER_IR_VERSION
    _refuse_unknown(module)
    writer = Writer(opset)
    for value in module.inputs:
        writer.reserve(value.name, value)
    again = _reserve_outputs(writer, module)
    for op in module.body:
        _write(writer, op)
    for name, value in again:
        writer.identity(writer.name(value), name)
    graph = helper.make_graph(
        writer.nodes,
        module.name,
        [value_info(value.name, value.tensor) for value in module.inputs],
        [
            value_info(name, value.tensor)
            for name, value in zip(module.output_names, module.outputs, strict=True)
        ],
        writer.initializers,
    )
    model = helper.make_model(
        graph,
        producer_name="mcc",
        ir_version=ir_version,
        opset_imports=[helper.make_opsetid("", opset)],
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _reserve_outputs(writer: Writer, module: Module) -> list[tuple[str, Value]]:
    """Name the outputs' values.

    Returns those that must be handed out by a copy: inputs, constants, repetitions.
    """
    again: list[tuple[str, Value]] = []
    taken = set(module.inputs)
    for name, value in zip(module.output_names, module.outputs, strict=True):
        if value in module.inputs and name == value.name:
            continue  # handed through: ONNX lets an input be an output
        if value in taken or isinstance(value.op, Constant):
            writer.reserve(name)
            again.append((name, value))
        else:
            writer.reserve(name, value)
            taken.add(value)
    return again


def _write(writer: Writer, op: Op) -> None:
    if isinstance(op, Yield):
        return
    try:
        if isinstance(op, Constant):
            writer.constant(op)
            return
        write = emitter(op)
        assert write is not None  # ops without one were refused before
        write(writer, op)
    except OpError as error:
        raise UserError(error.message, where=_place(op), remedy=_REMEDY) from None


_REMEDY = "export from the stage `quantized` (or `optimized` for a float model), before integer ops"


def _refuse_unknown(module: Module) -> None:
    known = (Constant, Yield)
    unknown = sorted(
        {op.op_name for op in module.ops() if not isinstance(op, known) and emitter(op) is None}
    )
    if unknown:
        raise UserError(
            f"module {module.name} has ops without a counterpart in ONNX: {', '.join(unknown)}",
            remedy=_REMEDY,
        )


def _opset(op: Op) -> int:
    """The oldest opset, from `OPSET` on, that says what `op` does."""
    match op:
        case Quantize():
            newer = op.result.tensor.dtype not in _INTEGERS
        case Dequantize():
            newer = op.x.tensor.dtype not in _INTEGERS
        case AvgPool() | MaxPool() if pooling.ceil_needs_newer(op):
            return 22
        case AvgPool():
            newer = any(step > 1 for step in op.dilations)
        case _:
            newer = False
    return 21 if newer else OPSET


_INTEGERS = (DType.I8, DType.U8, DType.I32)


def _place(op: Op) -> str:
    node = f" from ONNX node {op.nodes[0]!r}" if op.nodes else ""
    return f"op {op.op_name}{node}"
