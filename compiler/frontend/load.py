"""The importer's page: from a source to a verified module."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

from mcc.ir import Array, Module, UserError, verify

from .freeze import freeze_inputs
from .functions import inline_functions
from .graph import read_graph
from .importer import build
from .opsets import convert
from .refuse import refuse_unknown
from .shapes import fix_shapes, graph_inputs
from .source import Source, check, opset_of, read_model


def load(
    source: Source,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    constants: Mapping[str, Array] | None = None,
) -> Module:
    """Import an ONNX model.

    Args:
        source: The path of a file, its bytes, or a `ModelProto` (left as it is).
        shapes: Whole shapes of inputs by name, where the model leaves them open. A symbolic leading
        dimension needs none: it is the batch and becomes 1.
        constants: Arrays for inputs that will always be the same; they are inputs no more.

    Returns:
        A verified module with static shapes. Values are named after ONNX's tensors, ops know their
        ONNX nodes. `meta` tells the `source`, `producer` and `opset`; `batch` is `symbolic` and
        `batch_symbol` its name where the batch was open; `import_notes` says, line by line, what
        was decided on the way.

    Raises:
        UserError: What is wrong with the file, the shapes or the model, and what to do about it.
        Operators that mcc lacks are all listed at once.
    """
    model, where = read_model(source)
    original = opset_of(model)
    notes: list[str] = []
    refuse_unknown(model, where, original, only_unheard_of=True)
    check(model, where)
    freeze_inputs(model, constants or {}, where)
    model = convert(model, notes)
    batch = fix_shapes(model, shapes or {}, where)
    if batch is not None:
        symbol, size = batch
        notes.append(f"the batch {symbol!r} is symbolic; compiled for {size}")
    model = _infer_shapes(model, where)
    model = inline_functions(model)
    refuse_unknown(model, where, original)
    module = build(read_graph(model, opset_of(model), graph_inputs(model), where), where)
    module.meta |= {
        "source": Path(where).name,
        "producer": _producer(model),
        "opset": str(original),
    }
    if batch is not None:
        module.meta |= {"batch": "symbolic", "batch_symbol": batch[0]}
    if notes:
        module.meta["import_notes"] = "\n".join(notes)
    verify(module)
    return module


def _infer_shapes(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """Let onnx infer every type anew from the fixed inputs.

    It finds contradictions, and functions need the types.
    """
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")  # it may speak of another batch
    try:
        return onnx.shape_inference.infer_shapes(
            model, check_type=True, strict_mode=True, data_prop=True
        )
    except (onnx.shape_inference.InferenceError, ValueError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UserError(
            f"the shapes in the model contradict each other: {' '.join(lines)}", where=where
        ) from None


def _producer(model: onnx.ModelProto) -> str:
    return f"{model.producer_name} {model.producer_version}".strip() or "unknown"
