"""Small ONNX models to test with."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Array = NDArray[Any]


def model_of(
    nodes: Sequence[onnx.NodeProto],
    feeds: Mapping[str, Array],
    outputs: Sequence[str],
    weights: Mapping[str, Array] | None = None,
    opset: int = 17,
) -> onnx.ModelProto:
    """A model whose inputs have the types of `feeds`, its outputs the types that onnx infers."""
    graph = helper.make_graph(
        nodes,
        "small",
        [input_info(name, array.dtype, array.shape) for name, array in feeds.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10 if opset > 18 else 8)
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    for output in model.graph.output:
        if output.type.WhichOneof("value") is None:  # onnx has no rule for some operators
            output.type.CopyFrom(model.graph.input[0].type)
    return model


def input_info(
    name: str, dtype: np.dtype[Any], shape: Sequence[int | str | None]
) -> onnx.ValueInfoProto:
    """The declaration of an input: integers, symbols, or dimensions without even a name."""
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), shape)


def one_node(
    op_type: str,
    inputs: Mapping[str, Array],
    weights: Mapping[str, Array] | None = None,
    outputs: int = 1,
    opset: int = 17,
    order: Sequence[str] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> onnx.ModelProto:
    """One node on the inputs, then the weights; or on what `order` names, empty for none."""
    names = [f"y{number}" for number in range(outputs)]
    given = [*inputs, *(weights or {})] if order is None else order
    node = helper.make_node(op_type, given, names, "the_node", **(attributes or {}))
    return model_of([node], inputs, names, weights, opset)


def floats(*shape: int, seed: int = 0) -> Array:
    """Normally distributed float32 numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def ints(*numbers: int) -> Array:
    """An int64 vector."""
    return np.asarray(numbers, np.int64)
