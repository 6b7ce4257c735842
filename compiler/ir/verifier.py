"""Checks a module against the rules of its ops; every violation is shown on the op in its IR."""

from typing import cast

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
    _verify_end(module.body)
    _verify_edge(module)
    seen_uses: dict[Value, dict[Op, int]] = {}
    _verify_region(module.body, set(), seen_uses)
    for value, uses in seen_uses.items():
        if value.uses != uses:
            raise VerifyError(f"use list of {value} is out of date (a pass bypassed the rewriter)")


def _verify_edge(module: Module) -> None:
    """Feeds and outputs go by name, so each name must mean one value."""
    names, count = module.output_names, len(module.outputs)
    if len(names) != count:
        raise VerifyError(f"module {module.name} names {len(names)} outputs and yields {count}")
    for what, found in (("inputs", [v.name for v in module.inputs]), ("outputs", list(names))):
        twice = [name for name in dict.fromkeys(found) if found.count(name) > 1]
        if twice:
            raise VerifyError(f"module {module.name} has two {what} called {twice[0]!r}")


def _verify_region(
    region: Region, defined: set[Value], seen_uses: dict[Value, dict[Op, int]]
) -> None:
    """Nested regions by recursion: loops nest a few levels, never thousands."""
    local = list(region.args)
    defined.update(local)
    seen_uses.update((value, {}) for value in local)
    for op in region:
        _verify_op(op, region, defined)
        for value in op.operands:
            seen_uses[value][op] = seen_uses[value].get(op, 0) + 1
        for nested in op.regions:
            _verify_region(nested, defined, seen_uses)
        seen_uses.update((value, {}) for value in op.results)
        defined.update(op.results)
        local.extend(op.results)
    _verify_end(region)
    defined.difference_update(local)


def _verify_end(region: Region) -> None:
    if not isinstance(region.last, Yield):
        last = "it is empty" if region.last is None else f"it ends in {region.last.op_name}"
        raise VerifyError(f"a region must end in a yield; {last}")


def _verify_op(op: Op, region: Region, defined: set[Value]) -> None:
    if op.region is not region:
        raise VerifyError(f"{op.op_name} is linked into another region\n{with_caret(op, None)}")
    if isinstance(op, Yield) and region.last is not op:
        raise VerifyError(f"yield must be the last op of its region\n{with_caret(op, None)}")
    if not defined.issuperset(op.operands):
        _refuse_undefined(op, defined)
    try:
        types = op.infer()
    except OpError as error:
        raise VerifyError(
            f"{op.op_name}: {error.reason}\n{with_caret(op, error.field)}",
            error.field,
            error.reason,
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


def _refuse_undefined(op: Op, defined: set[Value]) -> None:
    """The first field of an op that reads what is not there."""
    for field in op.spec_fields:
        held = op.__dict__[field.name]
        operands = cast(tuple[object, ...], held) if isinstance(held, tuple) else (held,)
        for value in operands:
            if isinstance(value, Value) and value not in defined:
                raise VerifyError(
                    f"{op.op_name}: {field.name} is not defined before, or in another region\n"
                    f"{with_caret(op, field.name)}",
                    field.name,
                )
