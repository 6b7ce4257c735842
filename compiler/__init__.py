"""mcc compiles trained ONNX models for a CPU or for a RISC-V accelerator.

`compile` makes an `Artifact` of a model, `load` reads one from its file, and a `Session` runs it.
Each is imported when it is first asked for, so that `import mcc` stays light.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mcc.driver import compile
    from mcc.ir import UserError
    from mcc.runtime import Artifact, Session, load

__version__ = "0.1.0"

__all__ = ["Artifact", "Session", "UserError", "compile", "load"]

_HOMES = {
    "Artifact": "mcc.runtime",
    "Session": "mcc.runtime",
    "UserError": "mcc.ir",
    "compile": "mcc.driver",
    "load": "mcc.runtime",
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in _HOMES:
        known = ", ".join(__all__)
        raise AttributeError(f"module 'mcc' has no {name!r}; it has {known}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
