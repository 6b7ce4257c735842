"""Calibration samples: from an .npz, from a folder of .npy files, or made up."""

import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from mcc.ir import Array, DType, Module, Tensor, UserError, Value

from .ranges import Feeds

LABELS = {"y", "label", "labels", "target", "targets"}
"""Array names that never stand for an input, unless the model calls one so."""

Note = Callable[[str], None]


def load_samples(module: Module, path: str | Path, note: Note | None = None) -> Iterator[Feeds]:
    """Feeds of a module's inputs, one for each sample of a file or folder.

    An .npz holds one array for each input, under its name, the first axis counting samples. Where
    no name is an input's, the only array that could be the only input is taken. Images of other
    integer types, or with a missing batch axis, are converted. A folder holds one .npy file for
    each sample; with several inputs, one folder for each input, or files called `INPUT_NUMBER.npy`.

    Args:
        module: Whose inputs the samples are for.
        path: The file or folder.
        note: Receives a sentence where something was guessed.

    Raises:
        UserError: If there is no such file, or its arrays do not fit the inputs.
    """
    path = Path(path)
    if path.is_dir():
        return _from_folder(module, path)
    if not path.exists():
        raise UserError(
            "no such file of samples",
            where=str(path),
            remedy="give an .npz with one array for each input, or a folder of .npy files",
        )
    return _from_npz(module, path, note)


def synthetic_samples(
    module: Module,
    input_range: tuple[float, float] = (0.0, 1.0),
    count: int = 16,
    seed: int = 0,
) -> Iterator[Feeds]:
    """Made-up feeds.

    Smooth random fields over the last two axes of length > 8, so that they are a little like
    images.

    Args:
        module: Whose inputs the samples are for.
        input_range: The range of float inputs; integer inputs take all values from 0 up to 1.
        count: How many.
        seed: Of the generator.
    """
    generator = np.random.default_rng(seed)
    for _ in range(count):
        yield {value.name: _synthetic(value, input_range, generator) for value in module.inputs}


def _synthetic(
    value: Value, input_range: tuple[float, float], generator: np.random.Generator
) -> Array:
    type = value.tensor
    shape = type.dims
    if not type.dtype.is_float:
        return generator.integers(0, 2, shape).astype(type.dtype.numpy)
    field = generator.random(shape)
    long = [axis for axis, size in enumerate(shape) if axis and size > 8][:2]
    for axis in long:
        # A third of the samples keep hard edges; the others are averaged with their neighbours.
        for shift in range(int(generator.integers(0, 3))):
            field = (field + np.roll(field, 1 << shift, axis)) / 2
    spread = np.ptp(field) or 1.0
    field = (field - field.min()) / spread if field.size > 1 else field
    low, high = input_range
    return np.asarray(low + field * (high - low), type.dtype.numpy)


def _from_npz(module: Module, path: Path, note: Note | None) -> Iterator[Feeds]:
    try:
        with path.open("rb") as file:
            start = file.read(6)
            if not start.startswith((b"PK", b"\x93NUMPY")):
                raise ValueError("it is no archive of arrays")
            file.seek(0)
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                raise ValueError("it holds a single array; that is an .npy file")
            arrays: dict[str, Array] = {name: content[name] for name in content.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"not a readable .npz file: {error}",
            where=str(path),
            remedy="write one with numpy.savez(path, INPUT=array), first axis = samples",
        ) from None
    stacks = _matched(module, arrays, path, note)
    counts = {name: len(stack) for name, stack in stacks.items()}
    if len(set(counts.values())) > 1:
        shown = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise UserError(
            f"the inputs have different numbers of samples: {shown}",
            where=str(path),
            remedy="the first axis of every array counts the samples",
        )
    return _feeds(stacks)


def _feeds(stacks: dict[str, Array]) -> Iterator[Feeds]:
    for i in range(min(len(stack) for stack in stacks.values())):
        yield {name: stack[i] for name, stack in stacks.items()}


def _matched(
    module: Module, arrays: dict[str, Array], path: Path, note: Note | None
) -> dict[str, Array]:
    """For each input its samples, as [count, *shape of the input]."""
    stacks: dict[str, Array] = {}
    for value in module.inputs:
        if value.name in arrays:
            stack = _stacked(arrays[value.name], value.tensor)
            if stack is None:
                raise _unfit(module, arrays, path, f"array {value.name!r} does not fit its input")
            stacks[value.name] = stack
    missing = [value for value in module.inputs if value.name not in stacks]
    if not missing:
        return stacks
    if len(missing) == 1:
        free = {
            name: stack
            for name, array in arrays.items()
            if name not in stacks
            and name.lower() not in LABELS
            and (stack := _stacked(array, missing[0].tensor)) is not None
        }
        if len(free) == 1:
            (name, stack), *_ = free.items()
            if note is not None:
                note(f"{path}: array {name!r} is taken for input {missing[0].name!r}")
            return stacks | {missing[0].name: stack}
        if len(free) > 1:
            several = ", ".join(repr(name) for name in sorted(free))
            raise _unfit(
                module,
                arrays,
                path,
                f"several arrays could be input {missing[0].name!r}: {several}",
            )
    names = ", ".join(repr(value.name) for value in missing)
    raise _unfit(module, arrays, path, f"no array fits input {names}")


def _stacked(array: Array, type: Tensor) -> Array | None:
    """An array of samples as [count, *type.shape] in the input's dtype.

    None if it cannot be that.
    """
    shape = type.dims
    if array.ndim == len(shape) + 1 and array.shape[1:] == shape:
        stack = array
    elif shape and shape[0] == 1 and array.ndim == len(shape) and array.shape[1:] == shape[1:]:
        stack = array[:, None]
    elif array.shape == shape:
        stack = array[None]
    elif shape and shape[0] and array.shape[1:] == shape[1:] and array.ndim == len(shape):
        count = len(array) // shape[0]
        stack = array[: count * shape[0]].reshape(count, *shape)
    else:
        return None
    return _converted(stack, type.dtype) if len(stack) else None


def _converted(stack: Array, dtype: DType) -> Array | None:
    """The array in the input's dtype, where that loses nothing that matters."""
    if stack.dtype == dtype.numpy:
        return stack
    if dtype.is_float and stack.dtype.kind in "fiub":
        return stack.astype(dtype.numpy)
    if dtype.is_integer and stack.dtype.kind in "iub" and stack.size:
        low, high = dtype.limits
        if low <= int(stack.min()) and int(stack.max()) <= high:
            return stack.astype(dtype.numpy)
    return None


def _unfit(module: Module, arrays: dict[str, Array], path: Path, message: str) -> UserError:
    found = ", ".join(f"{n} {a.dtype}{list(a.shape)}" for n, a in sorted(arrays.items())) or "none"
    wanted = ", ".join(f"{value.name} {value.type}" for value in module.inputs)
    return UserError(
        message,
        where=str(path),
        remedy=f"the file's arrays: {found}\n  the model's inputs: {wanted} "
        "(an array has one more axis in front, or as many samples as its first axis)",
    )


def _from_folder(module: Module, folder: Path) -> Iterator[Feeds]:
    inputs = list(module.inputs)
    files = {value.name: _files_of(value.name, folder, single=len(inputs) == 1) for value in inputs}
    empty = [name for name, found in files.items() if not found]
    if empty:
        raise UserError(
            f"the folder has no samples of input {', '.join(map(repr, empty))}",
            where=str(folder),
            remedy="one .npy file for each sample; with several inputs, a folder for each input, "
            "or files called INPUT_NUMBER.npy",
        )
    counts = {name: len(found) for name, found in files.items()}
    if len(set(counts.values())) > 1:
        shown = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise UserError(
            f"the inputs have different numbers of samples: {shown}",
            where=str(folder),
            remedy="the files of the inputs belong together in the order of their names",
        )
    return _read_folder(inputs, files)


def _files_of(name: str, folder: Path, *, single: bool) -> list[Path]:
    safe = re.sub(r"[^\w.\-]", "_", name)
    for sub in (folder / name, folder / safe):
        if sub.is_dir():
            return sorted(sub.glob("*.npy"))
    own = [
        p for p in sorted(folder.glob("*.npy")) if re.fullmatch(re.escape(safe) + r"_\d+", p.stem)
    ]
    return own or (sorted(folder.glob("*.npy")) if single else [])


def _read_folder(inputs: list[Value], files: dict[str, list[Path]]) -> Iterator[Feeds]:
    for row in zip(*(files[value.name] for value in inputs), strict=True):
        yield {value.name: _read(path, value) for value, path in zip(inputs, row, strict=True)}


def _read(path: Path, value: Value) -> Array:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(
            f"not a readable .npy file: {error}",
            where=str(path),
            remedy="write one with numpy.save(path, array)",
        ) from None
    type = value.tensor
    if array.shape == type.dims[1:] and type.dims[0] == 1:
        array = array[None]
    converted = _converted(array, type.dtype) if array.shape == type.dims else None
    if converted is None:
        raise UserError(
            f"this sample is {array.dtype}{list(array.shape)}, input {value.name!r} is {type}",
            where=str(path),
            remedy="each file holds one sample, shaped like the input",
        )
    return converted
