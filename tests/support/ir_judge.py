"""One op on arrays, by its own definition and by onnxruntime."""

from typing import Any

import numpy as np
import onnx
from reference import onnxruntime_outputs

from mcc.ir import Array, DType, Kind, Module, Op, Region, Tensor, Value, Yield, evaluate, verify


def run(op_class: type[Op], *arrays: Array | None, **attributes: object) -> Array:
    """The (only) result of an op on arrays for its operands, in order of declaration.

    `None` leaves an optional operand out; a variadic operand takes all arrays that are left.
    """
    body = Region()
    left = list(arrays)
    feeds: dict[str, Array] = {}
    args: list[Value] = []

    def source(array: Array) -> Value:
        array = np.asarray(array)
        value = Value(Tensor(DType.of(array), array.shape), body, f"x{len(args)}")
        feeds[value.name] = array
        args.append(value)
        return value

    keywords = dict(attributes)
    for field in op_class.spec_fields:
        if field.kind is Kind.VARIADIC:
            keywords[field.name] = tuple(source(array) for array in left if array is not None)
            left = []
        elif field.kind in (Kind.OPERAND, Kind.OPTIONAL) and left:
            array = left.pop(0)
            keywords[field.name] = None if array is None else source(array)
    construct: Any = op_class
    op: Op = construct(**keywords)
    body.args = tuple(args)
    body.append(op)
    body.append(Yield(op.results))
    module = Module("one", body, ["y"])
    verify(module)
    return evaluate(module, feeds)["y"]


def onnxruntime_op(
    op_type: str, arrays: list[Array], outputs: int = 1, opset: int = 21, **attributes: Any
) -> list[Array]:
    """What onnxruntime makes of a single ONNX node."""
    names = [f"x{i}" for i in range(len(arrays))]
    node: Any = onnx.helper.make_node(
        op_type, names, [f"y{i}" for i in range(outputs)], **attributes
    )
    inputs = [
        onnx.helper.make_tensor_value_info(
            name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        )
        for name, array in zip(names, arrays, strict=True)
    ]
    graph: Any = onnx.helper.make_graph(
        [node], "g", inputs, [onnx.ValueInfoProto(name=f"y{i}") for i in range(outputs)]
    )
    model: Any = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=10
    )
    model = onnx.shape_inference.infer_shapes(model)
    return onnxruntime_outputs(model.SerializeToString(), dict(zip(names, arrays, strict=True)))
