"""Operators that ONNX itself defines by other operators: their bodies take their place."""

import onnx
from onnx import inliner

from .graph import node_name
from .registry import find
from .schemas import has_body
from .source import opset_of


def inline_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Put function bodies in the place of calls: the model's own, and those that ONNX defines.

    The nodes of a body get the name of the node that called it. A body may call further functions,
    and one that depends on types needs those of the body before it: hence the rounds.
    """
    if model.functions:
        model = _named_after_callers(model, inliner.inline_local_functions(model, True))
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    opset = opset_of(model)
    while wanted := {
        ("", node.op_type)
        for node in model.graph.node
        if find(node.op_type, node.domain, opset) is None
        and has_body(node.op_type, node.domain, opset)
    }:
        inlined = inliner.inline_selected_functions(model, sorted(wanted), False, True)
        if len(inlined.graph.node) == len(model.graph.node) and wanted <= {
            ("", node.op_type) for node in inlined.graph.node
        }:
            return model  # a body that onnx does not give out; the operator will be refused
        model = _named_after_callers(model, inlined)
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    return model


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
