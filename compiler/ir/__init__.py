"""The intermediate representation: values, ops, modules; their text, rules, meaning and change."""

from .builtin import Constant, Yield, constant, constant_of
from .core import OPS, Op, Region, Value
from .data import Data
from .errors import OpError, UserError, known_names
from .evaluator import evaluate
from .fields import Field, Kind
from .files import (
    check_writable,
    load_module,
    parse_verified,
    save_module,
    weights_from_bytes,
    weights_to_bytes,
    write_atomically,
)
from .module import Module
from .parser import parse
from .printer import Printed, Weights, format_op, print_module, with_caret
from .rewriter import (
    Because,
    Progress,
    Rewriter,
    RewriteReport,
    Rule,
    apply_rules,
    no_progress,
)
from .types import Array, Buffer, Dim, DType, Index, Quant, Space, Symbol, Tensor, Type
from .verifier import VerifyError, verify

__all__ = [
    "OPS",
    "Array",
    "Because",
    "Buffer",
    "Constant",
    "DType",
    "Data",
    "Dim",
    "Field",
    "Index",
    "Kind",
    "Module",
    "Op",
    "OpError",
    "Printed",
    "Progress",
    "Quant",
    "Region",
    "RewriteReport",
    "Rewriter",
    "Rule",
    "Space",
    "Symbol",
    "Tensor",
    "Type",
    "UserError",
    "Value",
    "VerifyError",
    "Weights",
    "Yield",
    "apply_rules",
    "check_writable",
    "constant",
    "constant_of",
    "evaluate",
    "format_op",
    "known_names",
    "load_module",
    "no_progress",
    "parse",
    "parse_verified",
    "print_module",
    "save_module",
    "verify",
    "weights_from_bytes",
    "weights_to_bytes",
    "with_caret",
    "write_atomically",
]
