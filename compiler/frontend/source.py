"""From a file, bytes or a ModelProto to a checked ModelProto."""

import os
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import external_data_helper

from mcc.ir import UserError

from .schemas import is_standard, newest_opset

Source = str | os.PathLike[str] | bytes | onnx.ModelProto

_DAMAGED = "export or copy the model again; `python -m onnx.checker` should accept the file"


def read_model(source: Source) -> tuple[onnx.ModelProto, str]:
    """A model of the caller's own to change, its weights loaded, and where it comes from.

    Raises:
        UserError: No such file, an empty or damaged one, or weights in a file that is not there.
    """
    if isinstance(source, onnx.ModelProto):
        model = onnx.ModelProto()
        model.CopyFrom(source)
        _refuse_external(model, "the given model")
        return model, "the given model"
    if isinstance(source, bytes):
        model = _parse(source, "the given bytes")
        _refuse_external(model, "the given bytes")
        return model, "the given bytes"
    path = Path(source)
    return _read_file(path), str(path)


def check(model: onnx.ModelProto, where: str) -> None:
    """Let onnx's checker look at the model; its complaint becomes a `UserError`."""
    if not model.graph.node and not model.graph.output:
        raise UserError("the model has no graph", where=where, remedy=_DAMAGED)
    newest = newest_opset()
    if (opset := opset_of(model)) > newest:
        raise UserError(
            f"the model is of opset {opset}; "
            f"the installed onnx {onnx.__version__} knows up to {newest}",
            where=where,
            remedy="upgrade the package onnx, or export the model with an older opset",
        )
    outputs = [output.name for output in model.graph.output]
    if len(set(outputs)) < len(outputs):
        twice = next(name for name in outputs if outputs.count(name) > 1)
        raise UserError(f"two outputs are called {twice!r}", where=where, remedy=_DAMAGED)
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise UserError(
            f"not a valid ONNX model: {_first_line(error)}", where=where, remedy=_DAMAGED
        ) from None


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the standard operators that the model uses (1 where it does not say)."""
    return max((o.version for o in model.opset_import if is_standard(o.domain)), default=1)


def _read_file(path: Path) -> onnx.ModelProto:
    where = str(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UserError("no such file", where=where) from None
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=where) from None
    model = _parse(content, where)
    try:
        external_data_helper.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise UserError(
            f"its weights lie in another file, which cannot be read: {_first_line(error)}",
            where=where,
            remedy="put the external data file beside the model, under the name it was saved with",
        ) from None
    return model


def _parse(content: bytes, where: str) -> onnx.ModelProto:
    if not content:
        raise UserError("the file is empty", where=where, remedy=_DAMAGED)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        raise UserError(
            "not an ONNX model, or cut short: its bytes do not decode", where=where, remedy=_DAMAGED
        ) from None
    if any(isinstance(text, bytes) for text in _names(model.graph)):
        raise UserError("a name in it is no UTF-8 text", where=where, remedy=_DAMAGED)
    return model


def _names(graph: onnx.GraphProto) -> Iterator[object]:
    """Every name that is read as text; protobuf gives bytes for what is not UTF-8."""
    yield graph.name
    for node in graph.node:
        yield from (node.op_type, node.domain, node.name, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    for named in (graph.initializer, graph.input, graph.output, graph.value_info):
        yield from (item.name for item in named)


def _refuse_external(model: onnx.ModelProto, where: str) -> None:
    for tensor in model.graph.initializer:
        if external_data_helper.uses_external_data(tensor):
            raise UserError(
                f"the weights of {tensor.name!r} lie in another file",
                where=where,
                remedy="give the path of the model, or a model with its external data loaded",
            )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n", 1)[0]
