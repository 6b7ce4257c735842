"""Collects the nodes and initializers of an ONNX graph, and hands out their names."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mcc.ir import Array, Constant, Dim, DType, Op, OpError, Tensor, Value

AttributeValue = int | float | str | Sequence[int] | Sequence[float] | Sequence[str]


class UnexportableError(OpError):
    """An op, or this use of it, that ONNX cannot say."""


class Writer:
    """The growing graph. Every name is given once; values keep their own where they can."""

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._tensors: dict[Value, str] = {}
        self._tensor_names: set[str] = set()
        self._node_names: set[str] = set()
        self._literals: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def reserve(self, name: str, value: Value | None = None) -> None:
        """Keep `name` for an input or an output of the graph, which `value` is to be."""
        self._tensor_names.add(name)
        if value is not None:
            self._tensors[value] = name

    def name(self, value: Value) -> str:
        """The tensor that a value is in the graph.

        A constant becomes an initializer when first asked for.
        """
        known = self._tensors.get(value)
        if known is None:
            hint = value.name or (value.op.op_name if value.op is not None else "value")
            known = self._tensors[value] = self._fresh(hint, self._tensor_names)
        return known

    def constant(self, op: Constant) -> None:
        """Write a constant as an initializer under its value's name."""
        if op.dtype is DType.B1:
            raise UnexportableError("ONNX has no tensors of one-bit weights")
        if not op.result.name and op.data.name:
            self._tensors[op.result] = self._fresh(op.data.name, self._tensor_names)
        self._add_initializer(op.data.array, self.name(op.result))

    def literal(self, array: Array, hint: str) -> str:
        """An initializer for a parameter such as axes or bounds; equal ones are shared."""
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in self._literals:
            name = self._literals[key] = self._fresh(hint, self._tensor_names)
            self._add_initializer(array, name)
        return self._literals[key]

    def integers(self, numbers: Sequence[int], hint: str) -> str:
        """An int64 vector as an initializer."""
        return self.literal(np.asarray(numbers, np.int64), hint)

    def node(
        self,
        op: Op,
        type: str,
        inputs: Sequence[str],
        output: str = "",
        **attributes: AttributeValue,
    ) -> str:
        """Add the node that computes `output` for `op`.

        Without an output name, an inner tensor gets a fresh one.

        Trailing absent inputs are dropped. The node is named after the ONNX node that the op comes
        from.
        """
        return self.node_with(op, type, inputs, 1, output, **attributes)[0]

    def node_with(
        self,
        op: Op,
        type: str,
        inputs: Sequence[str],
        count: int,
        output: str = "",
        **attributes: AttributeValue,
    ) -> list[str]:
        """The same for a node with `count` outputs, of which the first may have a name."""
        result = self.name(op.results[0])
        outputs = [output] if output else []
        while len(outputs) < count:
            outputs.append(self._fresh(f"{result}/{type}", self._tensor_names))
        given = list(inputs)
        while given and not given[-1]:
            given.pop()
        base = op.nodes[0] if op.nodes else result
        name = base if output == result else f"{base}/{type}"
        node = helper.make_node(type, given, outputs, self._fresh(name, self._node_names))
        node.attribute.extend(helper.make_attribute(key, attributes[key]) for key in attributes)
        if len(op.nodes) > 1:
            node.doc_string = "from " + ", ".join(op.nodes)
        self.nodes.append(node)
        return outputs

    def identity(self, source: str, output: str) -> None:
        """Hand a tensor out under a second name."""
        name = self._fresh(f"{output}/Identity", self._node_names)
        self.nodes.append(helper.make_node("Identity", [source], [output], name))

    def _add_initializer(self, array: Array, name: str) -> None:
        self.initializers.append(
            numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)
        )

    @staticmethod
    def _fresh(hint: str, taken: set[str]) -> str:
        name, count = hint, 1
        while name in taken:
            name, count = f"{hint}.{count}", count + 1
        taken.add(name)
        return name


def element_type(dtype: DType) -> int:
    """The number of onnx's TensorProto.DataType for a dtype."""
    if dtype is DType.STRING:
        return TensorProto.STRING
    if dtype is DType.B1:
        raise UnexportableError("ONNX has no tensors of one-bit weights")
    return int(helper.np_dtype_to_tensor_dtype(dtype.numpy))


def value_info(name: str, type: Tensor) -> onnx.ValueInfoProto:
    """The declaration of a graph input or output."""
    dims: list[Dim] = list(type.shape)
    shape = [dim if isinstance(dim, int) else dim.name for dim in dims]
    return helper.make_tensor_value_info(name, element_type(type.dtype), shape)
