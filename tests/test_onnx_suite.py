"""The cases of ONNX's own backend suite, for the operators whose attributes have many meanings."""

from typing import Any, cast

import numpy as np
import onnx
import pytest
from conformance import open_shapes
from onnx import numpy_helper
from onnx.backend.test.case import node as suite

from mcc.frontend import load
from mcc.ir import Array, evaluate

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # the cases' own warnings

ELEMENTWISE = """
Acos Acosh Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Ceil Cos Cosh
Floor IsInf IsNaN Mod Round Sign Sin Sinh Tan
"""
FED = {
    **dict.fromkeys(ELEMENTWISE.split(), 2),
    **{"CumProd": 1, "CumSum": 1, "Einsum": 3, "GatherElements": 2, "GatherND": 2},
    **{"LayerNormalization": 3, "LpNormalization": 1, "LpPool": 1, "OneHot": 1, "ReduceProd": 1},
    **{"Hardmax": 1, "LRN": 1},
    **{"Resize": 1, "Upsample": 1, "LSTM": 8, "GRU": 8, "RNN": 8, "ConvTranspose": 9},
}
"""Operators, and how many inputs count as fed; further ones are constants of the model."""
EXPECTED = {"Resize": 39, "Upsample": 1, "LSTM": 5, "GRU": 6, "RNN": 4, "ConvTranspose": 11}
"""Cases that there were at least when this was written."""


def cases(op_type: str) -> list[Any]:
    collect = cast("Any", suite).collect_testcases
    return [
        case
        for case in collect(None)
        if [node.op_type for node in case.model.graph.node] == [op_type]
    ]


@pytest.mark.parametrize("op_type", FED)
def test_every_case_of_an_operator(op_type: str) -> None:
    found = cases(op_type)
    assert len(found) >= EXPECTED.get(op_type, 1)
    for case in found:
        (inputs, outputs), *_ = case.data_sets
        model, feeds = with_constants(case.model, inputs, FED[op_type])
        for got, wanted in zip(
            evaluate(load(model, shapes=open_shapes(model, feeds, {})), feeds).values(),
            outputs,
            strict=True,
        ):
            want = np.asarray(wanted)
            assert (got.shape, got.dtype) == (want.shape, want.dtype), case.name
            np.testing.assert_allclose(got, want, case.rtol, case.atol or 1e-7, err_msg=case.name)


def with_constants(
    model: onnx.ModelProto, inputs: list[Array], fed: int
) -> tuple[onnx.ModelProto, dict[str, Array]]:
    """The model with all inputs but the first `fed` of its node as constants, and those."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    names = [info.name for info in model.graph.input]
    feeds = {name: np.asarray(array) for name, array in zip(names, inputs, strict=True)}
    order = list(model.graph.node[0].input)
    for info in model.graph.input:
        if order.index(info.name) >= fed:
            made.graph.initializer.append(numpy_helper.from_array(feeds.pop(info.name), info.name))
            made.graph.input.remove(info)
    return made, feeds
