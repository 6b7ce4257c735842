"""Passes from outside: files given by `--load`, and packages with an `mcc.passes` entry point."""

import hashlib
import importlib.util
import sys
import traceback
from functools import cache
from pathlib import Path

from mcc.ir import OPS, UserError

from .base import PASSES

GROUP = "mcc.passes"
"""The entry point group: each entry names a module, which registers passes by defining them."""

_PREFIX = "loaded_plugin_"


def load_plugin(path: str | Path) -> tuple[str, ...]:
    """Run a Python file and return the names of the passes that it defines; again: replaces them.

    Raises:
        UserError: When the file is missing, or raises; with the line at fault.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError("no such file", where=str(path), remedy="--load takes a Python file")
    resolved = path.resolve()
    name = f"{_PREFIX}{resolved.stem}_{hashlib.sha256(str(resolved).encode()).hexdigest()[:8]}"
    _forget(name)
    spec = importlib.util.spec_from_file_location(name, resolved)
    if spec is None or spec.loader is None:
        raise UserError("not a Python file", where=str(path), remedy="its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    # Annotations are looked up by the module's name.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        _forget(name)
        raise _user_error(path, resolved, error) from error
    return tuple(key for key, found in PASSES.items() if found.__module__ == name)


@cache
def discover() -> tuple[str, ...]:
    """Import every installed plugin, once; returns the names of the passes that they define.

    Raises:
        UserError: When a plugin cannot be imported, with the package that brought it.
    """
    from importlib.metadata import entry_points

    before = set(PASSES)
    for entry in entry_points(group=GROUP):
        try:
            entry.load()
        except Exception as error:
            package = entry.dist.name if entry.dist is not None else "?"
            raise UserError(
                f"plugin {entry.name!r} of package {package} cannot be imported: {_summary(error)}",
                remedy=f"repair or uninstall {package}",
            ) from error
    return tuple(name for name in PASSES if name not in before)


def _forget(module: str) -> None:
    """Take back what an earlier load of the same file registered."""
    sys.modules.pop(module, None)
    for registry in (PASSES, OPS):
        for key in [key for key, found in registry.items() if found.__module__ == module]:
            del registry[key]


def _user_error(path: Path, resolved: Path, error: BaseException) -> UserError:
    line = error.lineno if isinstance(error, SyntaxError) else None
    for frame in traceback.extract_tb(error.__traceback__):
        if frame.filename == str(resolved):
            line = frame.lineno
    where = f"{path}:{line}" if line else str(path)
    return UserError(f"the file raises {_summary(error)}", where=where)


def _summary(error: BaseException) -> str:
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
