"""Builds a module from a graph: one node after the other, constants folded on the way."""

import math
from collections.abc import Iterable, Sequence

from mcc.ir import (
    Array,
    Constant,
    Module,
    Op,
    OpError,
    Region,
    UserError,
    Value,
    Yield,
    constant,
    constant_of,
    evaluate,
)

from .graph import Attribute, Graph, Node
from .registry import Input, InputKind, Operator, Result, UnsupportedError, find

_KEPT = frozenset({"DequantizeLinear"})
"""Never folded: a quantized weight stays an integer constant and its dequantize."""


class DynamicInputError(Exception):
    """An input that must be known while importing is computed at run time."""


def build(graph: Graph, where: str) -> Module:
    """The module of a graph whose operators are all known.

    Raises:
        UserError: A node that breaks its own rule, uses its operator in a way that mcc lacks, or
        computes at run time what must be known while importing; names the node.
    """
    region = Region(list(graph.inputs.values()), list(graph.inputs))
    for value in region.args:
        _refuse_huge(value, where)
    values = {value.name: value for value in region.args}
    values |= {name: constant(array, name).result for name, array in graph.weights.items()}
    for node in graph.nodes:
        try:
            results = _import_node(node, graph.opset, values, region)
        except OpError as error:
            raise _user_error(node, error.message, where) from None
        except UnsupportedError as error:
            raise _user_error(node, str(error), where) from None
        except DynamicInputError as error:
            raise _user_error(node, str(error), where, _DYNAMIC) from None
        for value in results.values():
            _refuse_huge(value, where)
        values.update(results)
    outputs = [values[name] for name in graph.outputs]
    for name, value in zip(graph.outputs, outputs, strict=True):
        computed = value.op is not None and not isinstance(value.op, Constant)
        if computed and value.name not in graph.outputs:
            value.name = name
    _attach(outputs, region)
    region.append(Yield(tuple(outputs)))
    return Module(graph.name, region, graph.outputs)


MOST_ELEMENTS = 2**31 - 1
"""Compiled code and the accelerator count elements in 32 bits."""


def _refuse_huge(value: Value, where: str) -> None:
    count = math.prod(value.tensor.dims)
    if count > MOST_ELEMENTS:
        raise UserError(
            f"tensor {value.name!r} has {count:,} elements, more than the {MOST_ELEMENTS:,} that "
            "mcc can count",
            where=where,
            remedy="compile for a smaller shape (--shape name=1x3x32x32)",
        )


_DYNAMIC = (
    "mcc compiles static shapes: export the model with this input as a constant, "
    "or with fixed input shapes (--shape name=1x3x32x32)"
)


def _import_node(
    node: Node, opset: int, values: dict[str, Value], region: Region
) -> dict[str, Value]:
    operator = find(node.op_type, node.domain, opset)
    assert operator is not None, node.op_type  # unknown ones were refused before
    given = [values[name] if name else None for name in node.inputs]
    arrays = [constant_of(value) for value in given]
    known = [array is not None for array, name in zip(arrays, node.inputs, strict=True) if name]
    if all(known) and node.op_type not in _KEPT:
        # Fresh constants, so that evaluating leaves no trace in the module.
        fresh = [None if array is None else constant(array).result for array in arrays]
        results = _folded(_call(operator, node, fresh))
    else:
        results = _call(operator, node, given)
        # A constant (the result of Shape, say) waits until an op reads it.
        computed = [value for value in results if not isinstance(value.op, Constant)]
        _attach(computed, region, node.name)
    named = {name: value for name, value in zip(node.outputs, results, strict=False) if name}
    for name, value in named.items():
        value.name = value.name or name
    return named


def _call(operator: Operator, node: Node, given: Sequence[Value | None]) -> tuple[Value, ...]:
    """Call an operator's function with a node's inputs and attributes."""
    arguments: list[Value | Array | tuple[int, ...] | None] = []
    for position, value in enumerate(given):
        if position < len(operator.inputs):
            arguments.append(_argument(operator.inputs[position], value, node.inputs[position]))
        elif operator.variadic and value is not None:
            arguments.append(value)
        elif value is not None:
            raise UnsupportedError(f"it has {len(given)} inputs, {len(operator.inputs)} are known")
    missing = [item.name for item in operator.inputs[len(given) :] if item.required]
    if missing:
        raise UnsupportedError(f"its input {missing[0]} is missing")
    keywords = _keywords(operator, node)
    found: Result = operator.function(*arguments, **keywords)
    results = found if isinstance(found, tuple) else (found,)
    for extra in node.outputs[len(results) :]:
        if extra:
            raise UnsupportedError(f"its output {extra!r} is not computed by mcc")
    return results


def _keywords(operator: Operator, node: Node) -> dict[str, Attribute | int]:
    keywords: dict[str, Attribute | int] = {}
    for name, value in node.attributes.items():
        if name not in operator.attributes:
            raise UnsupportedError(f"its attribute {name!r} is not known to mcc")
        if value is None:
            raise UnsupportedError(f"its attribute {name!r} is of a kind that mcc does not read")
        keywords[name] = value
    for name, required in operator.attributes.items():
        if required and name not in keywords:
            raise UnsupportedError(f"its attribute {name!r} is missing")
    if operator.count is not None:
        keywords[operator.count] = len(node.outputs)
    return keywords


def _argument(
    declared: Input, value: Value | None, name: str
) -> Value | Array | tuple[int, ...] | None:
    if value is None:
        if declared.required:
            raise UnsupportedError(f"its input {declared.name} is missing")
        return None
    if declared.kind is InputKind.VALUE:
        return value
    array = constant_of(value)
    if array is None:
        raise DynamicInputError(
            f"its input {declared.name} ({name!r}) is computed from the model's inputs at run time"
        )
    if declared.kind is InputKind.ARRAY:
        return array
    return tuple(int(item) for item in array.ravel())


def _folded(results: tuple[Value, ...]) -> tuple[Value, ...]:
    """The values of a detached expression without inputs, as constants."""
    region = Region()
    _attach(results, region)
    region.append(Yield(results))
    names = [str(position) for position in range(len(results))]
    arrays = evaluate(Module("fold", region, names), {})
    return tuple(constant(array).result for array in arrays.values())


def _attach(values: Iterable[Value], region: Region, node: str = "") -> None:
    """Append the detached ops that define `values`, operands first. Depth costs no recursion."""
    stack = [(value.op, False) for value in values]
    stack.reverse()
    while stack:
        op, ready = stack.pop()
        if op is None or op.region is not None:
            continue
        if ready:
            _append(op, region, node)
        else:
            stack.append((op, True))
            stack.extend((value.op, False) for value in reversed(op.operands))


def _append(op: Op, region: Region, node: str) -> None:
    if node and not isinstance(op, Constant):
        op.named(op.results[0].name if op.results else "", [node])
    region.append(op)


def _user_error(node: Node, message: str, where: str, remedy: str = "") -> UserError:
    return UserError(f"node {node.name!r} ({node.op_type}): {message}", where=where, remedy=remedy)
