"""What -O0 to -O3 mean: the float passes between the importer and the quantizer or a backend."""

from mcc.ir import UserError

from .base import Pass
from .canonicalize import Canonicalize
from .cse import Cse
from .dce import Dce
from .fold_constants import FoldConstants
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
            return (*_simplify(exact=True), Dce())
        case 3:
            return (*_simplify(exact=False), Dce())
        case _:
            raise UserError(f"no optimization level {level}", remedy="known: 0, 1, 2, 3")


def pipeline_for(text: str | None, level: int) -> tuple[Pass, ...]:
    """The passes that `--passes TEXT` asks for, else those of the level."""
    return pipeline(level) if text is None else parse_passes(text)


def _simplify(*, exact: bool) -> tuple[Pass, ...]:
    return (
        FoldConstants(),  # first: every later rule asks for constants
        Canonicalize(exact=exact),
        FoldConstants(),  # again: canonicalize writes new constant expressions
        Cse(),  # after canonicalize: one form makes equal things look equal
    )
