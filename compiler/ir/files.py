"""A module on disk: `name.mir` is the text, `name.safetensors` beside it the constants."""

import json
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

import numpy as np

from .errors import UserError
from .module import Module
from .parser import parse
from .printer import print_module
from .types import Array
from .verifier import VerifyError, verify


def save_module(module: Module, path: str | Path) -> tuple[Path, ...]:
    """Write `path` and, where the text names constants, its `.safetensors` neighbour.

    Returns:
        The files that were written.

    Raises:
        UserError: If `path` is such a neighbour itself.
    """
    path = Path(path)
    beside = path.with_suffix(".safetensors")
    if path == beside:
        raise UserError(
            "a module's text cannot have this suffix: its weights do",
            where=str(path),
            remedy=f"call it {path.with_suffix('.mir')}",
        )
    printed = print_module(module)
    if printed.weights:
        write_atomically(beside, weights_to_bytes(dict(printed.weights)))
    write_atomically(path, printed.text.encode())
    return (path, beside) if printed.weights else (path,)


def load_module(path: str | Path) -> Module:
    """Read a `.mir` file and its weights; raises `UserError` for a missing or malformed file."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError("no such file", where=str(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read: {error}", where=str(path)) from None
    beside = path.with_suffix(".safetensors")
    try:
        weights = weights_from_bytes(beside.read_bytes(), str(beside)) if beside.exists() else {}
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=str(beside)) from None
    return parse_verified(text, weights, source=str(path))


def parse_verified(text: str, weights: Mapping[str, Array] | None = None, *, source: str) -> Module:
    """A module from text that somebody may have edited: what `verify` finds is a `UserError`."""
    module = parse(text, weights or {}, source=source)
    try:
        verify(module)
    except VerifyError as error:
        raise UserError(error.message, where=source) from None
    return module


def weights_to_bytes(weights: dict[str, Array]) -> bytes:
    """Named arrays as safetensors; of a type that it lacks, the bytes, and the type as metadata."""
    from safetensors.numpy import save_file  # pyright: ignore[reportUnknownVariableType]

    plain: dict[str, Array] = {}
    notes: dict[str, str] = {}
    for name, array in weights.items():
        if array.dtype == object:
            items = json.dumps([str(item) for item in array.ravel()])
            plain[name] = np.frombuffer(items.encode(), np.uint8)
            notes[name] = f"string {list(array.shape)}"
        elif array.dtype.name in ("bfloat16", "int4", "uint4"):
            plain[name] = np.frombuffer(array.tobytes(), np.uint8)
            notes[name] = f"{array.dtype.name} {list(array.shape)}"
        else:
            plain[name] = np.ascontiguousarray(array).reshape(array.shape)
    # Through a file: in memory, safetensors holds two copies at a time.
    with tempfile.TemporaryDirectory(prefix="mcc-weights-") as folder:
        path = Path(folder) / "weights.safetensors"
        save_file(plain, path, notes or None)
        return path.read_bytes()


def weights_from_bytes(content: bytes, where: str) -> dict[str, Array]:
    """The inverse of `weights_to_bytes`; raises `UserError` naming `where` for a damaged file."""
    import ml_dtypes
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        weights: dict[str, Array] = load(content)
        length = int.from_bytes(content[:8], "little")
        notes = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    except (SafetensorError, ValueError) as error:
        raise UserError(f"not a valid safetensors file: {error}", where=where) from None
    for name, note in notes.items():
        kind, _, shape = note.partition(" ")
        dims = json.loads(shape)
        raw = weights[name].tobytes()
        if kind == "string":
            strings = np.empty(math.prod(dims), object)
            strings[:] = json.loads(raw)
            weights[name] = strings.reshape(dims)
        else:
            storage = np.dtype(getattr(ml_dtypes, kind))
            weights[name] = np.frombuffer(raw, storage).reshape(dims)
    return weights


def write_atomically(path: Path, content: bytes | Callable[[IO[bytes]], object]) -> None:
    """Write to a temporary file in the same folder and rename it: nobody sees half a file.

    A link stays a link to the new content; what is no file, such as a pipe, is written directly.
    `content` may be a function that writes to a file, for what is too large to be made first.

    Raises:
        UserError: Where the file cannot be written, for want of a folder, a right or space.
    """
    try:
        check_writable(path)
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                _write(file, content)
        else:
            _replace(Path(os.path.realpath(path)), content)
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from None


def check_writable(path: Path) -> None:
    """Refuse a path that cannot become a file, before long work; raises as `write_atomically`."""
    try:
        if path.is_dir():
            raise _unwritable(path, "it is a folder")
        folder = Path(os.path.realpath(path)).parent
        if not folder.is_dir():
            raise _unwritable(path, f"there is no folder {folder}", f"mkdir -p {folder}")
        if not os.access(path if path.exists() else folder, os.W_OK):
            raise _unwritable(path, "no permission")
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from None


def _write(file: IO[bytes], content: bytes | Callable[[IO[bytes]], object]) -> None:
    if isinstance(content, bytes):
        file.write(content)
    else:
        content(file)


def _replace(path: Path, content: bytes | Callable[[IO[bytes]], object]) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".mcc-")
    try:
        with os.fdopen(handle, "wb") as file:
            _write(file, content)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _unwritable(path: Path, reason: str, remedy: str = "") -> UserError:
    return UserError(f"cannot be written: {reason}", where=str(path), remedy=remedy)
