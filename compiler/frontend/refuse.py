"""Says no to the operators that mcc lacks, to all of them at once."""

import onnx

from mcc.ir import UserError

from .graph import node_name
from .registry import find
from .schemas import exists, has_body, is_standard, newest_opset
from .source import opset_of


def refuse_unknown(
    model: onnx.ModelProto, where: str, original: int, *, only_unheard_of: bool = False
) -> None:
    """Raise a `UserError` that lists every operator of the model that cannot be imported.

    It names the `original` opset, not the one that the model was converted to.
    With `only_unheard_of`, nothing is refused unless onnx itself has no schema for some operator
    (its checker and converter would stop there with less to say).
    """
    opset = opset_of(model)
    own = {(function.domain, function.name) for function in model.functions}
    unknown = [
        node
        for node in model.graph.node
        if (node.domain, node.op_type) not in own and find(node.op_type, node.domain, opset) is None
    ]
    if only_unheard_of:
        unknown = [node for node in unknown if not _may_become_known(node)]
        if not any(_unheard_of(node, opset) for node in unknown):
            return
    if not unknown:
        return
    versions = {imported.domain: imported.version for imported in model.opset_import}
    versions |= {"": original, "ai.onnx": original}
    nodes: dict[str, list[str]] = {}
    for node in unknown:
        domain = "" if is_standard(node.domain) else f"{node.domain}::"
        version = versions.get(node.domain, "?")
        nodes.setdefault(f"{domain}{node.op_type} (opset {version})", []).append(node_name(node))
    lines = [f"{name}: {_listed(where_used)}" for name, where_used in sorted(nodes.items())]
    count = len(lines)
    raise UserError(
        f"{count} operator{'s' if count > 1 else ''} of the model cannot be imported:\n    "
        + "\n    ".join(lines),
        where=where,
        remedy="docs/onnx.md lists what mcc imports; replace the others before exporting the model",
    )


def _unheard_of(node: onnx.NodeProto, opset: int) -> bool:
    return not exists(node.op_type, node.domain, opset)


def _may_become_known(node: onnx.NodeProto) -> bool:
    """Whether converting and inlining may still replace the node by others."""
    return has_body(node.op_type, node.domain, newest_opset())


def _listed(names: list[str]) -> str:
    """Up to eight node names, and how many more there are."""
    shown = ", ".join(repr(name) for name in names[:8])
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"
