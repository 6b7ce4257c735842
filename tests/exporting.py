"""Modules to export, and the round trip: onnxruntime, and what is read back."""

import numpy as np
import onnx
from onnx_models import Array
from reference import onnxruntime_outputs

from mcc.backends.onnx import export
from mcc.frontend import load
from mcc.ir import (
    DType,
    Module,
    Op,
    Region,
    Tensor,
    Value,
    Yield,
    constant,
    evaluate,
    verify,
)


class Build:
    """A module with the inputs `x`, `z`, ... of the arrays given."""

    def __init__(self, **feeds: Array) -> None:
        self.feeds = feeds
        types = [Tensor(DType.of(array), array.shape) for array in feeds.values()]
        self.region = Region(types, list(feeds))

    @property
    def x(self) -> Value:
        return self.region.args[0]

    def weight(self, array: Array, name: str = "w") -> Value:
        return self.region.append(constant(np.asarray(array), name)).result

    def op(self, op: Op, name: str = "", *nodes: str) -> Value:
        return self.region.append(op.named(name, nodes)).result

    def module(self, **outputs: Value) -> Module:
        self.region.append(Yield(tuple(outputs.values())))
        module = Module("built", self.region, list(outputs))
        verify(module)
        return module


def round_trip(build: Build, module: Module, *, exact: bool = False) -> onnx.ModelProto:
    """Export; onnxruntime must agree with the evaluator, and the evaluator on what is read back."""
    model = export(module)
    mine = evaluate(module, build.feeds)
    theirs = onnxruntime_outputs(model.SerializeToString(), build.feeds)
    again = evaluate(load(model), build.feeds)
    for (name, array), judged in zip(mine.items(), theirs, strict=True):
        assert array.dtype == judged.dtype
        if exact or array.dtype.kind != "f":
            np.testing.assert_array_equal(judged, array)
        else:
            np.testing.assert_allclose(judged, array, rtol=1e-4, atol=1e-5)
        assert again[name].tobytes() == array.tobytes()
    return model


def op_types(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]
