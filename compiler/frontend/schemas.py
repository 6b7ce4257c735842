"""What onnx knows of its own operators; its stubs leave out half of it, so the types stand here."""

from collections.abc import Mapping, Sequence
from typing import Protocol, cast

import onnx


class _Attribute(Protocol):
    default_value: onnx.AttributeProto


class _Schema(Protocol):
    attributes: Mapping[str, _Attribute]
    has_function: bool
    has_context_dependent_function: bool
    function_opset_versions: Sequence[int]
    context_dependent_function_opset_versions: Sequence[int]


class _Schemas(Protocol):
    def has(self, op_type: str, version: int, domain: str) -> bool: ...

    def get_schema(self, op_type: str, version: int, domain: str) -> _Schema: ...

    def onnx_opset_version(self) -> int: ...


_SCHEMAS = cast("_Schemas", onnx.defs)


def newest_opset() -> int:
    """The newest opset that the installed onnx knows."""
    return _SCHEMAS.onnx_opset_version()


def is_standard(domain: str) -> bool:
    """Whether a domain is that of the standard operators, which has two names."""
    return domain in ("", "ai.onnx")


def exists(name: str, domain: str, opset: int) -> bool:
    """Whether an operator is a standard one that holds at an opset."""
    return is_standard(domain) and _SCHEMAS.has(name, opset, "")


def has_body(name: str, domain: str, opset: int) -> bool:
    """Whether ONNX ships a function body for an operator, in operators of this opset or older."""
    if not exists(name, domain, opset):
        return False
    schema = _SCHEMAS.get_schema(name, opset, "")
    versions: list[int] = []
    if schema.has_function:
        versions.extend(schema.function_opset_versions)
    if schema.has_context_dependent_function:
        versions.extend(schema.context_dependent_function_opset_versions)
    return any(version <= opset for version in versions)


def defaults(name: str, opset: int) -> dict[str, onnx.AttributeProto]:
    """The attributes of a standard operator that have a default, by name."""
    found = {
        key: attribute.default_value
        for key, attribute in _SCHEMAS.get_schema(name, opset, "").attributes.items()
    }
    return {
        key: value for key, value in found.items() if value.type != onnx.AttributeProto.UNDEFINED
    }
