"""One operator at a time, held against onnxruntime."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx_models import Array, one_node
from reference import onnxruntime_outputs

from mcc.frontend import load
from mcc.ir import evaluate


def check(model: onnx.ModelProto, feeds: Mapping[str, Array], *, exact: bool = False) -> None:
    """The imported module and onnxruntime agree on every output: shape, dtype, numbers."""
    expected = onnxruntime_outputs(model.SerializeToString(), feeds)
    module = load(model)
    found = evaluate(module, feeds)
    assert list(found) == [output.name for output in model.graph.output]
    for (name, mine), theirs in zip(found.items(), expected, strict=True):
        assert mine.shape == theirs.shape, name
        assert mine.dtype == theirs.dtype, name
        if exact or theirs.dtype.kind not in "f":
            np.testing.assert_array_equal(mine, theirs, err_msg=name)
        else:
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5, err_msg=name)


def check_node(
    op_type: str,
    feeds: Mapping[str, Array],
    weights: Mapping[str, Array] | None = None,
    opset: int = 17,
    order: Sequence[str] | None = None,
    outputs: int = 1,
    **attributes: Any,
) -> None:
    check(one_node(op_type, feeds, weights, outputs, opset, order, attributes), feeds)
