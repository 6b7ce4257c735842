"""Operators that ONNX itself defines by other operators: their bodies take their place."""

import onnx
from onnx import inliner

from .graph import node_name
from .registry import find
from .schemas import defaults, has_body
from .source import opset_of


def inline_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Put function bodies in the place of calls: the model's own, and those that ONNX defines.

    The nodes of a body get the name of the node that called it. A body may call further functions,
    and one that depends on types needs those of the body before it: hence the rounds.
    """
    if model.functions:
        model = _named_after_callers(model, inliner.inline_local_functions(model, True))
    opset = opset_of(model)
    closed: set[str] = set()  # whose bodies onnx does not give out; they will be refused
    while called := [
        node for node in model.graph.node if _is_call(node, opset) and node.op_type not in closed
    ]:
        for node in called:
            _state_defaults(node, opset)
        _write_types(model)
        asked = {(node.op_type, *node.output) for node in called}
        inlined = _inlined(model, sorted({node.op_type for node in called}))
        closed |= {n.op_type for n in inlined.graph.node if (n.op_type, *n.output) in asked}
        model = _named_after_callers(model, inlined)
    return model


def _inlined(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """Bodies in the place of calls of some operators, as far as the inliner can.

    It asks for the types of all inputs, those too that a node leaves out, and fails as a whole.
    Only then are operators tried one by one: each time copies the model.
    """
    try:
        return inliner.inline_selected_functions(model, [("", name) for name in names], False, True)
    except RuntimeError:
        if len(names) == 1:
            return model
    for name in names:
        model = _inlined(model, [name])
    return model


def _is_call(node: onnx.NodeProto, opset: int) -> bool:
    known = find(node.op_type, node.domain, opset)
    return known is None and has_body(node.op_type, node.domain, opset)


def _state_defaults(node: onnx.NodeProto, opset: int) -> None:
    """Write out the attributes that a node leaves to their defaults: the inliner forgets them."""
    stated = {attribute.name for attribute in node.attribute}
    for name, value in defaults(node.op_type, opset).items():
        if name not in stated:
            node.attribute.add().CopyFrom(value)


def _write_types(model: onnx.ModelProto) -> None:
    """Write out all types, those of weights too: some bodies depend on them."""
    del model.graph.value_info[:]
    model.CopyFrom(onnx.shape_inference.infer_shapes(model, data_prop=True))
    for tensor in model.graph.initializer:
        info = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        model.graph.value_info.append(info)


def _named_after_callers(before: onnx.ModelProto, after: onnx.ModelProto) -> onnx.ModelProto:
    """Name the inlined nodes, in place.

    A body ends with the node that makes its caller's output.
    """
    callers = {name: node_name(node) for node in before.graph.node for name in node.output if name}
    caller = ""
    for node in reversed(after.graph.node):
        caller = next((callers[name] for name in node.output if name in callers), caller)
        node.name = caller
    return after
