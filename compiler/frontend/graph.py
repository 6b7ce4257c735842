"""An ONNX graph as plain records: the one place that takes protos apart."""

from collections.abc import Mapping
from dataclasses import dataclass

import onnx
from onnx import numpy_helper

from mcc.ir import Array, DType, OpError, Tensor, UserError

Attribute = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | Array
"""The value of an attribute that mcc understands; a subgraph, for one, is none."""


@dataclass(frozen=True)
class Node:
    """One node: missing optional inputs and outputs are empty names."""

    op_type: str
    domain: str
    name: str
    """Its own name, or the name of its first output."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute | None]
    """None stands for an attribute of a kind that mcc does not read, such as a subgraph."""


@dataclass(frozen=True)
class Graph:
    """A whole model, ready to be imported: inputs are static, nodes are sorted."""

    name: str
    opset: int
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]
    weights: Mapping[str, Array]
    nodes: tuple[Node, ...]


def read_graph(
    model: onnx.ModelProto, opset: int, inputs: list[onnx.ValueInfoProto], where: str
) -> Graph:
    """Take a checked model with static inputs apart."""
    graph = model.graph
    if graph.sparse_initializer:
        raise UserError("the model has sparse weights, which mcc does not read", where=where)
    return Graph(
        graph.name or "main",
        opset,
        {info.name: _input_type(info, where) for info in inputs},
        tuple(info.name for info in graph.output),
        {tensor.name: _weights(tensor, where) for tensor in graph.initializer},
        tuple(read_node(node) for node in graph.node),
    )


def _weights(tensor: onnx.TensorProto, where: str) -> Array:
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"the weights {tensor.name!r} are damaged: {error}",
            where=where,
            remedy="export or copy the model again",
        ) from None


def read_node(node: onnx.NodeProto) -> Node:
    """One node as a record."""
    return Node(
        node.op_type,
        node.domain,
        node_name(node),
        tuple(node.input),
        tuple(node.output),
        {attribute.name: _read_attribute(attribute) for attribute in node.attribute},
    )


def node_name(node: onnx.NodeProto) -> str:
    """What to call a node in messages and as provenance."""
    return node.name or next((name for name in node.output if name), node.op_type)


def _read_attribute(attribute: onnx.AttributeProto) -> Attribute | None:
    kind = onnx.AttributeProto
    match attribute.type:
        case kind.INT:
            return attribute.i
        case kind.FLOAT:
            return attribute.f
        case kind.STRING:
            return attribute.s.decode("utf-8", "replace")
        case kind.INTS:
            return tuple(attribute.ints)
        case kind.FLOATS:
            return tuple(attribute.floats)
        case kind.STRINGS:
            return tuple(item.decode("utf-8", "replace") for item in attribute.strings)
        case kind.TENSOR:
            return numpy_helper.to_array(attribute.t)
        case _:
            return None


def _input_type(info: onnx.ValueInfoProto, where: str) -> Tensor:
    tensor = info.type.tensor_type
    try:
        dtype = element_type(tensor.elem_type)
    except OpError as error:
        raise UserError(f"input {info.name!r}: {error.message}", where=where) from None
    return Tensor(dtype, tuple(dim.dim_value for dim in tensor.shape.dim))


def element_type(number: int) -> DType:
    """The dtype behind a number of onnx's TensorProto.DataType.

    An `OpError` where the IR has none.
    """
    if number == onnx.TensorProto.STRING:
        return DType.STRING
    try:
        return DType.of(onnx.helper.tensor_dtype_to_np_dtype(number))
    except KeyError:
        raise OpError(f"element type {number} is unknown") from None
