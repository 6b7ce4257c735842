"""Static input shapes: a symbolic batch becomes 1, other symbolic dimensions come from the user."""

import re
from collections.abc import Iterable, Mapping, Sequence

import onnx

from mcc.ir import UserError, known_names

_MADE_UP = re.compile(r"unk__\d+|")
"""Names that exporters invent for a dimension that has none; they say nothing about what it is."""


def graph_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The inputs that a caller feeds: old models list their weights as inputs too."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [info for info in model.graph.input if info.name not in weights]


def fix_shapes(
    model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]], where: str
) -> tuple[str, int] | None:
    """Give every input of the model an integer shape, in place.

    A leading dimension that is symbolic is the batch, and becomes 1; the same symbol elsewhere
    follows it. `shapes` sets the whole shape of an input by name. A declared 0, which exporters
    write for what they do not know, is a symbol without a name, and the only one that may be 0.

    Returns:
        The symbol of the batch (`batch` where it has no name) and its size, or None when the batch
        was fixed.

    Raises:
        UserError: An unknown input, a shape that contradicts the model, or a symbolic dimension
            without a size.
    """
    inputs = {info.name: info for info in graph_inputs(model)}
    for name in shapes:
        if name not in inputs:
            raise UserError(
                f"a shape is given for {name!r}, which is no input of the model",
                where=where,
                remedy=known_names(inputs),
            )
    sizes: dict[str, int] = {}
    for name, shape in shapes.items():
        _match(inputs[name], tuple(shape), sizes, where)
    batch = _batch_symbol(inputs.values())
    for name, info in inputs.items():
        _fill(info, shapes.get(name), batch, sizes, where)
    return None if batch is None else (batch, _batch_size(batch, sizes))


def declared_dims(info: onnx.ValueInfoProto) -> list[int | str]:
    """The declared shape: integers, or a symbol's name (empty where it has none, and for 0)."""
    return [
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else dim.dim_param
        for dim in info.type.tensor_type.shape.dim
    ]


def _match(
    info: onnx.ValueInfoProto, shape: tuple[int, ...], sizes: dict[str, int], where: str
) -> None:
    """Hold a given shape against the declared one, and learn what its symbols stand for."""
    declared = declared_dims(info)
    fits = len(declared) == len(shape)
    if fits:
        written = info.type.tensor_type.shape.dim
        for axis, (dim, size) in enumerate(zip(declared, shape, strict=True)):
            if isinstance(dim, int):
                fits = fits and size == dim
            elif size < 1:
                fits = fits and size == 0 and written[axis].HasField("dim_value")
            elif not _MADE_UP.fullmatch(dim):
                fits = fits and size == sizes.setdefault(dim, size)
            elif axis == 0:
                sizes.setdefault("batch", size)
    if not fits:
        raise UserError(
            f"input {info.name!r} cannot have the shape {_shown(shape)}: "
            f"the model says {_shown(declared)}",
            where=where,
        )


def _batch_symbol(inputs: Iterable[onnx.ValueInfoProto]) -> str | None:
    """The first symbolic leading dimension; one that has a name of its own goes first."""
    first = [dims[0] for info in inputs if (dims := declared_dims(info))]
    leading = [dim for dim in first if isinstance(dim, str)]
    given = [name for name in leading if not _MADE_UP.fullmatch(name)]
    return (given or ["batch"])[0] if leading else None


def _batch_size(symbol: str, sizes: Mapping[str, int]) -> int:
    return sizes.get(symbol, sizes.get("batch", 1))


def _fill(
    info: onnx.ValueInfoProto,
    given: Sequence[int] | None,
    batch: str | None,
    sizes: Mapping[str, int],
    where: str,
) -> None:
    """Replace the symbols of one input by sizes."""
    tensor = info.type.tensor_type
    if not info.type.HasField("tensor_type"):
        raise UserError(f"input {info.name!r} is no tensor", where=where)
    if given is not None:
        shape: list[int | str] = list(given)
    else:
        shape = declared_dims(info)
        if shape and isinstance(shape[0], str) and _MADE_UP.fullmatch(shape[0]):
            shape[0] = _batch_size(batch or "batch", sizes)
        for axis, dim in enumerate(shape):
            if isinstance(dim, str) and dim and (dim in sizes or dim == batch):
                shape[axis] = sizes.get(dim, 1)
    if any(isinstance(dim, str) for dim in shape):
        raise _unknown(info, shape, where)
    tensor.ClearField("shape")
    for dim in shape:
        tensor.shape.dim.add().dim_value = int(dim)


def _unknown(info: onnx.ValueInfoProto, dims: Sequence[int | str], where: str) -> UserError:
    """The complaint about dimensions that are still symbols, with an example of what to say."""
    example = [
        str(dim) if isinstance(dim, int) else "32" if axis else "1" for axis, dim in enumerate(dims)
    ]
    return UserError(
        f"input {info.name!r} has the shape {_shown(dims)}, which is not fixed",
        where=where,
        remedy=f"say which sizes to compile for, as in --shape {info.name}={'x'.join(example)}",
    )


def _shown(dims: Sequence[int | str]) -> str:
    return "x".join(str(dim) or "?" for dim in dims) or "(a scalar)"
