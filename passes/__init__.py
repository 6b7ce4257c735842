"""Passes: the pass base, the manager, the pipelines and every target-independent rewrite.

Importing this package registers every pass of mcc.
"""

from .base import PASSES, Pass, pass_named
from .canonicalize import Canonicalize
from .cse import Cse
from .dce import Dce
from .fold_batch_norm import FoldBatchNorm
from .fold_constants import FoldConstants
from .fuse_activation import FuseActivation
from .fuse_bias import FuseBias
from .fuse_pad import FusePad
from .fuse_residual import FuseResidual
from .manager import Declined, Hook, PassError, PassRun, print_after, run_passes
from .pipelines import LEVELS, pipeline, pipeline_for
from .plugins import discover, load_plugin
from .spec import format_pass, format_passes, option_types, parse_passes, type_text

# isort: split -- quantization: calibration, the quantizer, the lowering to integer ops.

__all__ = [
    "LEVELS",
    "PASSES",
    "Canonicalize",
    "Cse",
    "Dce",
    "Declined",
    "FoldBatchNorm",
    "FoldConstants",
    "FuseActivation",
    "FuseBias",
    "FusePad",
    "FuseResidual",
    "Hook",
    "Pass",
    "PassError",
    "PassRun",
    "discover",
    "format_pass",
    "format_passes",
    "load_plugin",
    "option_types",
    "parse_passes",
    "pass_named",
    "pipeline",
    "pipeline_for",
    "print_after",
    "run_passes",
    "type_text",
]
