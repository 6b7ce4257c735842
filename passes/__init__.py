"""Passes: the pass base, the manager, the pipelines and every target-independent rewrite.

Importing this package registers every pass of mcc.
"""

from .axis_maps import from_onnx_layout, to_onnx_layout
from .base import PASSES, Pass, pass_named
from .canonicalize import Canonicalize
from .cse import Cse
from .dce import Dce
from .fold_batch_norm import FoldBatchNorm
from .fold_constants import FoldConstants
from .fuse_activation import FuseActivation
from .fuse_attention import FuseAttention
from .fuse_bias import FuseBias
from .fuse_pad import FusePad
from .fuse_residual import FuseResidual
from .integer_edges import IntegerEdges
from .layout import ChannelsLast
from .manager import Declined, Hook, PassError, PassRun, print_after, run_passes
from .matching import rebuild, single_use
from .narrow import Bf16, is_rounded
from .pipelines import LEVELS, pipeline, pipeline_for
from .plugins import discover, load_plugin
from .prune import Prune

# isort: split -- quantization: calibration, the quantizer, the lowering to integer ops.
from .quantization import (
    LABELS,
    LowerQuantized,
    QuantizePass,
    RecordStatistics,
    Scheme,
    load_samples,
    scheme_for,
    synthetic_samples,
)
from .recompose import Recompose
from .spec import format_pass, format_passes, option_types, parse_passes, type_text

__all__ = [
    "LABELS",
    "LEVELS",
    "PASSES",
    "Bf16",
    "Canonicalize",
    "ChannelsLast",
    "Cse",
    "Dce",
    "Declined",
    "FoldBatchNorm",
    "FoldConstants",
    "FuseActivation",
    "FuseAttention",
    "FuseBias",
    "FusePad",
    "FuseResidual",
    "Hook",
    "IntegerEdges",
    "LowerQuantized",
    "Pass",
    "PassError",
    "PassRun",
    "Prune",
    "QuantizePass",
    "Recompose",
    "RecordStatistics",
    "Scheme",
    "discover",
    "format_pass",
    "format_passes",
    "from_onnx_layout",
    "is_rounded",
    "load_plugin",
    "load_samples",
    "option_types",
    "parse_passes",
    "pass_named",
    "pipeline",
    "pipeline_for",
    "print_after",
    "rebuild",
    "run_passes",
    "scheme_for",
    "single_use",
    "synthetic_samples",
    "to_onnx_layout",
    "type_text",
]
