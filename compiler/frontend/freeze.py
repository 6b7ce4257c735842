"""Inputs that become constants, because the user says what will always be fed."""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from mcc.ir import Array, OpError, UserError, known_names

from .graph import element_type
from .shapes import declared_dims, graph_inputs


def freeze_inputs(model: onnx.ModelProto, constants: Mapping[str, Array], where: str) -> None:
    """Turn inputs into weights of the same name, in place.

    Raises:
        UserError: An unknown input, or an array of another type or shape than the input's.
    """
    inputs = {info.name: info for info in graph_inputs(model)}
    for name, array in constants.items():
        if name not in inputs:
            raise UserError(
                f"a constant is given for {name!r}, which is no input of the model",
                where=where,
                remedy=known_names(inputs),
            )
        _refuse_other_type(inputs[name], array, where)
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    kept = [info for info in model.graph.input if info.name not in constants]
    del model.graph.input[:]
    model.graph.input.extend(kept)


def _refuse_other_type(info: onnx.ValueInfoProto, array: Array, where: str) -> None:
    tensor = info.type.tensor_type
    try:
        dtype: object = element_type(tensor.elem_type).numpy
    except OpError as error:
        raise UserError(f"input {info.name!r}: {error.message}", where=where) from None
    dims = declared_dims(info)
    fits = len(dims) == array.ndim and all(
        isinstance(dim, str) or dim == size for dim, size in zip(dims, array.shape, strict=True)
    )
    if array.dtype != dtype or (tensor.HasField("shape") and not fits):
        wanted = "x".join(str(dim) or "?" for dim in dims) or "a scalar"
        given = "x".join(map(str, array.shape)) or "a scalar"
        raise UserError(
            f"input {info.name!r} is {dtype}, {wanted}; the constant given for it is "
            f"{array.dtype}, {given}",
            where=where,
        )
