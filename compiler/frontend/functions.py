"""Operators that ONNX itself defines by other operators: their bodies take their place."""

from collections.abc import Iterator, Mapping

import onnx
from onnx import inliner

from .graph import node_name
from .registry import find
from .schemas import defaults, has_body
from .source import opset_of

Types = Mapping[str, onnx.TypeProto]
"""By name, as far as they are known."""
Body = tuple[onnx.NodeProto, ...]
"""The nodes of a function: it reads `in0`, `in1`, ... and makes `out0`, `out1`, ..."""


def inline_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Put function bodies in the place of calls: the model's own, and those that ONNX defines.

    The nodes of a body get the name of the node that called it. A body may call further functions,
    and one that depends on types needs those of the body before it: hence the rounds.
    """
    if model.functions:
        model = _named_after_callers(model, inliner.inline_local_functions(model, True))
    bodies = _Bodies(model)
    closed: set[str] = set()  # whose bodies onnx does not give out; they will be refused
    while any(bodies.has(node) and node.op_type not in closed for node in model.graph.node):
        types, names = _types(model), _names(model)
        nodes: list[onnx.NodeProto] = []
        for node in model.graph.node:
            body = bodies.of(node, types) if bodies.has(node) else None
            if body is not None:
                nodes += _substituted(body, node, names)
                continue
            nodes.append(node)
            if bodies.has(node):
                closed.add(node.op_type)
        changed = onnx.GraphProto(node=nodes)
        del model.graph.node[:]
        model.graph.node.extend(changed.node)
    return model


class _Bodies:
    """The bodies of ONNX's own functions: one for all calls that are alike.

    onnx's inliner takes time quadratic in the calls of a model, so it sees one at a time.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._opset = opset_of(model)
        self._empty = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
        self._known: dict[tuple[object, ...], Body | None] = {}

    def has(self, node: onnx.NodeProto) -> bool:
        """Whether a node is a call: mcc does not know its operator, and ONNX defines it."""
        known = find(node.op_type, node.domain, self._opset)
        return known is None and has_body(node.op_type, node.domain, self._opset)

    def of(self, node: onnx.NodeProto, types: Types) -> Body | None:
        """What a call stands for; None where onnx does not say."""
        alone = self._alone(node)
        read = [types.get(name, onnx.TypeProto()) for name in node.input]
        key = alone.SerializeToString(), *(type.SerializeToString() for type in read)
        if key not in self._known:
            self._known[key] = self._inlined(alone, read)
        return self._known[key]

    def _alone(self, node: onnx.NodeProto) -> onnx.NodeProto:
        """A call with names that no other has, and all attributes: the inliner forgets defaults."""
        inputs, outputs = list(node.input), list(node.output)
        while inputs and not inputs[-1]:
            inputs.pop()  # it would ask for the type of what a node leaves out
        alone = onnx.NodeProto(op_type=node.op_type, domain=node.domain, attribute=node.attribute)
        alone.input.extend(name and f"in{n}" for n, name in enumerate(inputs))
        alone.output.extend(name and f"out{n}" for n, name in enumerate(outputs))
        stated = {attribute.name for attribute in node.attribute}
        missing = defaults(node.op_type, self._opset).items()
        alone.attribute.extend(value for name, value in missing if name not in stated)
        return alone

    def _inlined(self, alone: onnx.NodeProto, read: list[onnx.TypeProto]) -> Body | None:
        model = onnx.ModelProto()
        model.CopyFrom(self._empty)
        model.graph.node.append(alone)
        for name, type in zip(alone.input, read, strict=False):
            if name:
                model.graph.input.add(name=name, type=type)
        for name in filter(None, alone.output):
            model.graph.output.add(name=name)
        try:
            chosen = [(alone.domain, alone.op_type)]
            found = inliner.inline_selected_functions(model, chosen, False, True).graph.node
        except RuntimeError:
            return None
        return None if any(node.op_type == alone.op_type for node in found) else tuple(found)


def _substituted(body: Body, call: onnx.NodeProto, taken: set[str]) -> Iterator[onnx.NodeProto]:
    """The nodes of a body with the names of a call; further names become `taken`."""
    names = {f"in{n}": name for n, name in enumerate(call.input)}
    names |= {f"out{n}": name for n, name in enumerate(call.output) if name}
    prefix = next((name for name in call.output if name), call.op_type)
    for inner in body:
        node = onnx.NodeProto()
        node.CopyFrom(inner)
        node.name = node_name(call)
        _rename(node, names, prefix, taken)
        yield node


def _rename(node: onnx.NodeProto, names: dict[str, str], prefix: str, taken: set[str]) -> None:
    """Give a node of a body, and the graphs in it, the names of the model around."""
    node.input[:] = [names.get(name, name) for name in node.input]
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                _rename(inner, names, prefix, taken)
            for output in graph.output:
                output.name = names.get(output.name, output.name)
    for n, name in enumerate(node.output):
        if name and name not in names:
            names[name] = _fresh(f"{prefix}.{name}", taken)
        node.output[n] = names.get(name, name)


def _fresh(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _names(model: onnx.ModelProto) -> set[str]:
    graph = model.graph
    found = {name for node in graph.node for name in (*node.input, *node.output)}
    return found | {tensor.name for tensor in (*graph.initializer, *graph.input)}


def _types(model: onnx.ModelProto) -> Types:
    """All types, those of weights too: some bodies depend on them."""
    del model.graph.value_info[:]
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    found = {info.name: info.type for info in (*graph.input, *graph.output, *graph.value_info)}
    for tensor in graph.initializer:
        found[tensor.name] = onnx.helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
    return found


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
