"""What -O0 to -O3 mean: the float passes between the importer and the quantizer or a backend."""

import re

from mcc.ir import UserError

from .base import Pass
from .canonicalize import Canonicalize
from .cse import Cse
from .dce import Dce
from .fold_batch_norm import FoldBatchNorm
from .fold_constants import FoldConstants
from .fuse_activation import FuseActivation
from .fuse_bias import FuseBias
from .fuse_pad import FusePad
from .fuse_residual import FuseResidual
from .recompose import Recompose
from .spec import parse_passes

LEVELS = (0, 1, 2, 3)


def pipeline(level: int) -> tuple[Pass, ...]:
    """The target-independent passes of an optimization level.

    -O0 changes nothing; -O1 keeps every bit; -O2 folds and fuses, which re-associates float
    arithmetic where weights absorb constants; -O3 also takes rules that hold for real numbers only.

    Raises:
        UserError: For a level that does not exist.
    """
    match level:
        case 0:
            return ()
        case 1:
            return (*_simplify(exact=True), Dce())
        case 2:
            return (*_simplify(exact=True), *_fuse(exact=True), Dce())
        case 3:
            return (*_simplify(exact=False), *_fuse(exact=False), Dce())
        case _:
            known = ", ".join(map(str, LEVELS))
            raise UserError(f"no optimization level {level}", remedy=f"known: {known}")


def pipeline_for(text: str | None, level: int) -> tuple[Pass, ...]:
    """The passes that `--passes TEXT` asks for, else those of the level.

    `O0` to `O3` in the text stand for the passes of that level: `O2,prune{sparsity=0.5}`.
    """
    if text is None:
        return pipeline(level)
    steps: list[Pass] = []
    for part in re.split(r"(?<![^,])\s*(O[0-3])\s*(?:,|$)", text):
        if re.fullmatch(r"O[0-3]", part):
            steps += pipeline(int(part[1]))
        elif part.strip(", ") or part == text:
            steps += parse_passes(part.removesuffix(","))
    return tuple(steps)


def _simplify(*, exact: bool) -> tuple[Pass, ...]:
    return (
        FoldConstants(),  # first: every later rule asks for constants
        Canonicalize(exact=exact),
        FoldConstants(),  # again: canonicalize writes new constant expressions
        Cse(),  # after canonicalize: one form makes equal things look equal
    )


def _fuse(*, exact: bool) -> tuple[Pass, ...]:
    return (
        Recompose(),  # after cse: x - mean(x) must be one value; before fuse-bias: it takes c
        FuseBias(),  # before fold-batch-norm: a Gemm's bias stands between product and batch_norm
        FoldBatchNorm(),  # before fuse-activation: nothing multiplies behind a clamp
        FuseBias(),  # again: a batch_norm that no weights took is a mul and an add now
        FusePad(),  # after fold-batch-norm: a padded convolution does not take one from its input
        FuseResidual(),  # after fuse-bias: a constant operand belongs into the bias
        FuseActivation(),  # after fuse-residual: the clamp comes behind the residual
        FoldConstants(),  # weights that absorbed something are expressions no longer
        Canonicalize(exact=exact),  # what fusing left over
        Cse(),  # fusing makes constants, some of them equal
    )
