"""The meaning of a module: each op's numpy definition, in order."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .builtin import Yield
from .core import Op, Region, Value
from .errors import UserError, known_names
from .fields import Kind
from .module import Module
from .printer import with_caret
from .types import Array, Buffer, Symbol, Tensor

Observer = Callable[[Value, Array], None]
Handler = Callable[..., Any]
"""`handler(op, *operands)`: executes an op in the place of its own `evaluate`."""


def evaluate(
    module: Module,
    feeds: Mapping[str, Array],
    observe: Observer | None = None,
    handlers: Mapping[type[Op], Handler] | None = None,
) -> dict[str, Array]:
    """Run a module on numpy arrays.

    Args:
        module: What to run.
        feeds: One array for each input, by name, of the input's dtype and shape.
        observe: Called with every value of the module's own region and its array, in order.
        handlers: Who executes ops of a class instead of their definition (a machine, a library).

    Returns:
        The outputs by name. Arrays are dropped after their last use.

    Raises:
        UserError: For a missing or unknown input, a wrong dtype or a wrong shape.
    """
    check_feeds(module, feeds)
    arrays = [np.asarray(feeds[value.name]) for value in module.inputs]
    # Float overflow and 0/0 are IEEE results here, not mistakes.
    with np.errstate(all="ignore"):
        outputs = _run(module.body, arrays, {}, observe, handlers or {})
    return dict(zip(module.output_names, outputs, strict=True))


def check_feeds(module: Module, feeds: Mapping[str, Array]) -> None:
    """Hold the feeds against the module's inputs: names, dtypes, shapes."""
    inputs = {value.name: value for value in module.inputs}
    for name in feeds:
        if name not in inputs:
            raise UserError(f"the model has no input {name!r}", remedy=known_names(inputs))
    symbols: dict[Symbol, int] = {}
    for name, value in inputs.items():
        if name not in feeds:
            raise UserError(f"input {name!r} is missing", remedy=f"it is {value.type}")
        if isinstance(value.type, Buffer):
            continue
        check_array(f"input {name!r}", np.asarray(feeds[name]), value.tensor, symbols)


def check_array(what: str, array: Array, type: Tensor, symbols: dict[Symbol, int]) -> None:
    """Hold an array against a type; symbols must mean the same integer everywhere."""
    if type.dtype.numpy != array.dtype and not (
        array.dtype.kind in "OUS" and type.dtype.value == "string"
    ):
        raise UserError(f"{what} has dtype {array.dtype}, the model expects {type}")
    shape = tuple(
        symbols.setdefault(dim, size) if isinstance(dim, Symbol) else dim
        for dim, size in zip(type.shape, array.shape, strict=False)
    )
    if len(array.shape) != type.rank or shape != array.shape:
        raise UserError(f"{what} has shape {list(array.shape)}, the model expects {type}")


def _run(
    region: Region,
    arguments: Sequence[Any],
    scope: dict[Value, Any],
    observe: Observer | None,
    handlers: Mapping[type[Op], Handler],
) -> tuple[Any, ...]:
    """Evaluate one region. Nested ones share the scope: a value belongs to one region."""
    left: dict[Value, int] = {}

    def define(value: Value, array: Any) -> None:
        if observe is not None:
            observe(value, array)
        reads = _reads(value)
        if reads:
            scope[value] = array
            left[value] = reads

    for value, array in zip(region.args, arguments, strict=True):
        define(value, array)
    for op in region:
        if isinstance(op, Yield):
            outputs = tuple(scope[value] for value in op.values)
            for value in left:
                scope.pop(value, None)
            return outputs
        results = _results(op, scope, handlers)
        for value in op.operands:
            if value in left:
                left[value] -= 1
                if left[value] == 0:
                    del scope[value]
        for value, array in zip(op.results, results, strict=True):
            define(value, array)
    raise AssertionError("a region without a yield passed the verifier")


def _reads(value: Value) -> int:
    """How many operands read a value, where that tells when it may be dropped.

    One inside a nested region keeps it for good (a count that never reaches 0): a loop comes again.
    """
    region = value.owner.region if isinstance(value.owner, Op) else value.owner
    if any(op.region is not region for op in value.uses):
        return -1
    return sum(value.uses.values())


def _results(
    op: Op, scope: dict[Value, Any], handlers: Mapping[type[Op], Handler]
) -> tuple[Any, ...]:
    arguments: list[object] = []
    for field in op.spec_fields:
        item = op.__dict__[field.name]
        match field.kind:
            case Kind.OPERAND:
                arguments.append(scope[item])
            case Kind.OPTIONAL:
                arguments.append(None if item is None else scope[item])
            case Kind.VARIADIC:
                arguments.append(tuple(scope[value] for value in item))
            case Kind.REGION:
                arguments.append(_runner(item, scope, handlers))
            case Kind.ATTRIBUTE:
                pass
    handler = handlers.get(type(op))
    method: Handler | None = getattr(op, "evaluate", None)
    if handler is not None:
        found = handler(op, *arguments)
    elif method is not None:
        found = method(*arguments)
    else:
        raise NotImplementedError(f"{op.op_name} defines no evaluate: {op}")
    if found is None:
        found = ()
    results: list[Any] = list(found) if isinstance(found, tuple) else [found]  # pyright: ignore[reportUnknownArgumentType] -- a handler's, so anything
    return tuple(
        _typed(op, value, result) for value, result in zip(op.results, results, strict=True)
    )


def _runner(
    region: Region, scope: dict[Value, Any], handlers: Mapping[type[Op], Handler]
) -> Handler:
    """What an op calls to run its region: arguments in, what the region yields out."""
    return lambda *arguments: _run(region, arguments, scope, None, handlers)


def _typed(op: Op, value: Value, result: Any) -> Any:
    """Hold a result against its type: an op that computes in another dtype has two meanings."""
    if not isinstance(value.type, Tensor):
        return result
    array: Array = np.asarray(result)
    expected = tuple(
        size if isinstance(dim, Symbol) else dim
        for dim, size in zip(value.type.shape, array.shape, strict=False)
    )
    if (
        array.dtype != value.type.dtype.numpy
        or array.shape != expected
        or array.ndim != value.type.rank
    ):
        raise RuntimeError(
            f"{op.op_name} computed {array.dtype}{list(array.shape)}, its type says {value.type}"
            f"\n{with_caret(op, None)}"
        )
    return array
