"""Outside judges, with types: what other programs make of a model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import onnxruntime
from numpy.typing import NDArray


def onnxruntime_outputs(
    model: Path | bytes, feeds: Mapping[str, NDArray[Any]], *, integers: bool = False
) -> list[NDArray[Any]]:
    """All outputs of an ONNX model, by onnxruntime on one CPU thread, graph optimizations on.

    With `integers`, operators between dequantize and quantize are computed in int8; on x86
    onnxruntime leaves them in float unless told so.
    """
    options = cast("Any", onnxruntime.SessionOptions())
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if integers:
        options.add_session_config_entry("session.qdqisint8allowed", "1")
    source = model if isinstance(model, bytes) else str(model)
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    return list(cast("Sequence[NDArray[Any]]", session.run(None, dict(feeds))))
