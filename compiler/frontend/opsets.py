"""Old models in today's operators: onnx's version converter, where it is needed."""

import onnx

from .registry import find
from .schemas import has_body
from .source import opset_of

OLDEST = 13
"""The first opset that is imported as it is."""
TARGET = 18
"""Most function bodies that ONNX ships are written for this opset."""
_RESIZE_WITH_COORDINATES = 11
"""Since then Resize has attributes for what was fixed before, with other defaults."""

_LEFT_AS_IT_IS = "Hardmax"
"""Its axis means another thing from `OLDEST` on, which the converter overlooks."""


def convert(model: onnx.ModelProto, notes: list[str]) -> onnx.ModelProto:
    """The model in opset `TARGET`, where it is too old or calls a function whose body is newer.

    What the converter cannot do is left to the functions for older operators; a note says so.
    """
    opset = opset_of(model)
    if opset >= OLDEST and not (opset < TARGET and _needs_bodies(model, opset)):
        return model
    if opset < OLDEST and any(node.op_type == _LEFT_AS_IT_IS for node in model.graph.node):
        notes.append(f"imported as opset {opset}: onnx converts {_LEFT_AS_IT_IS} wrongly")
        return model
    try:
        converted = onnx.version_converter.convert_version(model, TARGET)
        if opset < _RESIZE_WITH_COORDINATES:
            _state_coordinates(converted)
        onnx.checker.check_model(converted)
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as error:
        reason = (str(error).strip() or type(error).__name__).split("\n", 1)[0]
        notes.append(f"imported as opset {opset}: onnx cannot convert it to {TARGET} ({reason})")
        return model
    notes.append(f"converted from opset {opset} to {TARGET}")
    return converted


def _needs_bodies(model: onnx.ModelProto, opset: int) -> bool:
    return any(
        find(node.op_type, node.domain, opset) is None
        and has_body(node.op_type, node.domain, TARGET)
        for node in model.graph.node
    )


def _state_coordinates(model: onnx.ModelProto) -> None:
    """Write out what Resize and Upsample did before they could be told: the converter forgets."""
    for node in model.graph.node:
        if node.op_type == "Resize":
            stated = [*node.attribute]
            del node.attribute[:]
            before = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            node.attribute.extend(item for item in stated if item.name not in before)
            node.attribute.extend(onnx.helper.make_attribute(*item) for item in before.items())
