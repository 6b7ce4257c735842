"""The artifact: one `.mcc` file with everything that a run, a check or a report needs.

It is a zip of named members and a `manifest.json` with the versions that made it and a SHA-256 of
each member. The same model, options and versions give the same bytes.
"""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError, field_validator

from mcc.ir import DType, Module, UserError, parse, weights_from_bytes, write_atomically

from .target import Target

FORMAT = 2
"""Raised where an older mcc would misread a file. Format 1 kept each module's constants apart."""
MANIFEST = "manifest.json"
WEIGHTS = "weights.safetensors"
"""The member with the large constants of all modules, each once."""
_PROBE = 1 << 16
"""Bytes from the middle of a member that tell whether the rest is worth compressing."""
_WORTH = 0.8
"""To what part of their size they must shrink."""
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)
"""What Python's zip reader raises for damaged files."""


class Port(BaseModel):
    """One input or output as the outside sees it."""

    model_config = ConfigDict(frozen=True)

    name: str
    dtype: str
    """As in the IR: f32, i8, ..."""
    shape: tuple[NonNegativeInt, ...]
    scale: float | None = None
    """For an integer port: `real = scale * (value - zero)`."""
    zero: int | None = None
    low: float | None = None
    """For an input: the range seen in calibration, in real units."""
    high: float | None = None

    @field_validator("dtype")
    @classmethod
    def _known_dtype(cls, text: str) -> str:
        return DType(text).value


class Manifest(BaseModel):
    """What the artifact says of itself."""

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT
    model: str
    target: dict[str, object]
    options: dict[str, str]
    """How it was compiled, as on the command line."""
    versions: dict[str, str]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    batch: str | None = None
    """The model's symbolic batch dimension, if it had one: a session loops over larger batches."""
    members: dict[str, str] = {}
    """SHA-256 of each member, by name."""


@dataclass(frozen=True)
class Artifact:
    """A compiled model: the manifest and its members' bytes."""

    manifest: Manifest
    members: Mapping[str, bytes]

    @cached_property
    def target(self) -> Target:
        """The machine that it was compiled for."""
        try:
            return Target.from_dict(self.manifest.target, where="the artifact's target record")
        except UserError as error:
            raise UserError(
                error.message,
                where=error.where,
                remedy="it was made by another version of mcc: compile the model again",
            ) from None

    def module(self, name: str) -> Module:
        """A module kept in the artifact: `module` (float or quantized), `lowered` or `program`.

        Raises:
            UserError: Where the artifact has no such member.
        """
        text = self.member(f"{name}.mir")
        file = f"{name}.safetensors" if self.manifest.format == 1 else WEIGHTS
        weights = self.members.get(file)
        arrays = weights_from_bytes(weights, file) if weights else {}
        try:
            return parse(text.decode(), arrays, source=f"{name}.mir")
        except UnicodeDecodeError as error:
            raise UserError(f"is no text: {error}", where=f"{name}.mir") from None

    def member(self, name: str) -> bytes:
        """The bytes of a member; `UserError` naming the members there are."""
        if name not in self.members:
            known = ", ".join(sorted(self.members))
            raise UserError(f"the artifact has no member {name!r}", remedy=f"it has {known}")
        return self.members[name]

    def to_bytes(self) -> bytes:
        """The `.mcc` file's content."""
        content = io.BytesIO()
        self._write(content)
        return content.getvalue()

    def _write(self, file: IO[bytes]) -> None:
        sums = {
            name: hashlib.sha256(data).hexdigest() for name, data in sorted(self.members.items())
        }
        manifest = self.manifest.model_copy(update={"members": sums})
        with zipfile.ZipFile(file, "w", compresslevel=1) as archive:
            text = json.dumps(manifest.model_dump(mode="json"), indent=1, sort_keys=True).encode()
            archive.writestr(_entry(MANIFEST, text), text)
            for name, data in sorted(self.members.items()):
                archive.writestr(_entry(name, data), data)

    def save(self, path: str | Path) -> None:
        """Write the `.mcc` file: wholly or not at all."""
        write_atomically(Path(path), self._write)


def load(path: str | Path) -> Artifact:
    """Read and check a `.mcc` file.

    Raises:
        UserError: If it is missing, no artifact, damaged, or made by a newer mcc.
    """
    where = str(path)
    try:
        file = Path(path).open("rb")  # noqa: SIM115 (only what opening raises is caught here)
    except FileNotFoundError:
        raise UserError("no such file", where=where) from None
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=where) from None
    with file:
        return _read(file if file.seekable() else io.BytesIO(file.read()), where)  # a pipe


def from_bytes(content: bytes, where: str = "<bytes>") -> Artifact:
    """An artifact from the content of its file; raises as `load` does."""
    return _read(io.BytesIO(content), where)


def _read(file: IO[bytes], where: str) -> Artifact:
    remedy = "compile the model again"
    try:
        with zipfile.ZipFile(file) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        manifest = Manifest.model_validate_json(members.pop(MANIFEST))
    except (*_DAMAGED, KeyError, OSError, ValueError) as error:
        detail = "its manifest is malformed" if isinstance(error, ValidationError) else str(error)
        if where.endswith(".onnx"):
            remedy = f"compile the model first: mcc {where} -o {Path(where).stem}.mcc"
        raise UserError(
            f"not an mcc artifact, or a damaged one ({detail})", where=where, remedy=remedy
        ) from None
    if manifest.format > FORMAT:
        raise UserError(
            f"artifact format {manifest.format}, this mcc reads up to {FORMAT}",
            where=where,
            remedy="update mcc, or compile the model with this one",
        )
    missing = manifest.members.keys() - members.keys()
    if missing:
        raise UserError(f"member {min(missing)!r} is missing", where=where, remedy=remedy)
    unknown = members.keys() - manifest.members.keys()
    if unknown:
        raise UserError(
            f"member {min(unknown)!r} is not in the manifest", where=where, remedy=remedy
        )
    for name, expected in manifest.members.items():
        if hashlib.sha256(members[name]).hexdigest() != expected:
            raise UserError(
                f"member {name!r} is damaged: its SHA-256 is not the manifest's",
                where=where,
                remedy=remedy,
            )
    return Artifact(manifest, members)


def _entry(name: str, data: bytes) -> zipfile.ZipInfo:
    """A zip entry without a time of day, so that equal artifacts are equal bytes."""
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    # Float weights shrink by a tenth, and take longer to shrink than to compile.
    half = len(data) // 2
    middle = data[half : half + _PROBE]
    shrinks = len(zlib.compress(middle, 1)) < _WORTH * len(middle)
    entry.compress_type = zipfile.ZIP_DEFLATED if shrinks else zipfile.ZIP_STORED
    entry.external_attr = 0o644 << 16
    return entry
