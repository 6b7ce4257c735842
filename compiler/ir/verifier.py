"""Checks a module against the rules of its ops; every violation is shown on the op in its IR."""

from .builtin import Yield
from .core import Op, Region, Value
from .errors import OpError
from .module import Module
from .printer import with_caret
from .types import Tensor


class VerifyError(OpError):
    """A module that breaks a rule: the message shows the op with a caret and its ONNX node."""


def verify(module: Module) -> None:
    """Raise `VerifyError` for the first op that breaks a rule; linear in the size of the module."""
    if len(module.output_names) != len(module.outputs):
        raise VerifyError(
            f"module {module.name} names {len(module.output_names)} outputs and yields {len(module.outputs)}"
        )
    seen_uses: dict[Value, dict[Op, int]] = {}
    _verify_regions(module.body, seen_uses)
    for value in module.values():
        if value.uses != seen_uses.get(value, {}):
            raise VerifyError(f"use list of {value} is out of date (a pass bypassed the rewriter)")


def _verify_regions(body: Region, seen_uses: dict[Value, dict[Op, int]]) -> None:
    """Visit all regions with an explicit stack; `scopes[i]` holds what region i defines so far."""
    defined: set[Value] = set(body.args)
    stack = [(body, iter(body), list(body.args))]
    while stack:
        region, ops, local = stack[-1]
        op = next(ops, None)
        if op is None:
            _verify_end(region)
            defined.difference_update(local)
            stack.pop()
            continue
        _verify_op(op, region, defined)
        for value in op.operands:
            uses = seen_uses.setdefault(value, {})
            uses[op] = uses.get(op, 0) + 1
        defined.update(op.results)
        local.extend(op.results)
        for nested in op.regions:
            defined.update(nested.args)
            stack.append((nested, iter(nested), list(nested.args)))


def _verify_end(region: Region) -> None:
    if not isinstance(region.last, Yield):
        last = "it is empty" if region.last is None else f"it ends in {region.last.op_name}"
        raise VerifyError(f"a region must end in a yield; {last}")


def _verify_op(op: Op, region: Region, defined: set[Value]) -> None:
    if op.region is not region:
        raise VerifyError(f"{op.op_name} is linked into another region\n{with_caret(op, None)}")
    if isinstance(op, Yield) and region.last is not op:
        raise VerifyError(f"yield must be the last op of its region\n{with_caret(op, None)}")
    for field in op.spec_fields:
        operand = op.__dict__[field.name]
        for value in operand if isinstance(operand, tuple) else (operand,):
            if isinstance(value, Value) and value not in defined:
                raise VerifyError(
                    f"{op.op_name}: {field.name} is used before it is defined, or outside its region\n"
                    f"{with_caret(op, field.name)}",
                    field.name,
                )
    try:
        types = op.infer()
    except OpError as error:
        raise VerifyError(
            f"{op.op_name}: {error.message}\n{with_caret(op, error.field)}", error.field
        ) from None
    inferred = types if isinstance(types, tuple) else (types,)
    stated = tuple(value.type for value in op.results)
    if inferred != stated:
        shown = ", ".join(map(str, inferred))
        raise VerifyError(f"{op.op_name}: its rule gives {shown}\n{with_caret(op, None)}")
    for value in op.results:
        rank = value.type.rank if isinstance(value.type, Tensor) else None
        if value.axes is not None and sorted(value.axes) != list(range(rank or 0)):
            raise VerifyError(
                f"{op.op_name}: axes{value.axes} is no permutation\n{with_caret(op, None)}"
            )
