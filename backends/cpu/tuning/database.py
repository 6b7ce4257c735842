"""What tuning found, in files that people share: JSON, by instruction set and problem."""

import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from mcc.ir import UserError, write_atomically

from ..blocking import Blocking

FORMAT = 1
Effort = Literal["quick", "full"]


class Entry(BaseModel):
    """The fastest block of one problem."""

    model_config = ConfigDict(frozen=True)

    tile: int
    vectors: int
    rows: int
    effort: Effort
    """How long was measured."""
    gain: float
    """How many times as fast as the block that is chosen without measuring."""

    @property
    def blocking(self) -> Blocking:
        return Blocking(self.tile, self.vectors, self.rows)


class Database(BaseModel):
    """Entries by instruction set, then by the problem's key."""

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT
    entries: Mapping[str, Mapping[str, Entry]] = {}

    def merged(self, other: "Database") -> Self:
        """Both; where both know a problem, the other's word counts."""
        sets = dict.fromkeys([*self.entries, *other.entries])
        entries = {s: {**self.entries.get(s, {}), **other.entries.get(s, {})} for s in sets}
        return self.model_copy(update={"entries": entries})

    def blockings(self, instruction_set: str) -> dict[str, Blocking]:
        """The blocks for one kind of processor, by the problem's key.

        Where nothing was faster than what the cost model chose, it goes on choosing: it may have
        become wiser since.
        """
        entries = self.entries.get(instruction_set, {}).items()
        return {key: entry.blocking for key, entry in entries if entry.gain > 1}


def user_database() -> Path:
    """The user's own file: `mcc/tuning.json` in the folder for caches (XDG)."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "mcc" / "tuning.json"


def read_databases(path: Path | None) -> Database:
    """What ships with mcc, and over it the user's file, or the one at `path`.

    Raises:
        UserError: For a file that is malformed or newer than this mcc.
    """
    shipped = files("mcc.backends.cpu.tuning") / "shipped.json"
    found = _parsed(shipped.read_text(encoding="utf-8"), "shipped.json")
    return found.merged(read_database(path or user_database()))


def read_database(path: Path) -> Database:
    """One file; an empty database where there is none. Raises as `read_databases`."""
    try:
        return _parsed(path.read_text(encoding="utf-8"), str(path))
    except (FileNotFoundError, NotADirectoryError):
        return Database()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the tuning database cannot be read: {error}", where=str(path)) from None


def add_entries(path: Path, instruction_set: str, entries: Mapping[str, Entry]) -> None:
    """Write entries to a file, beside those that others have written to it meanwhile."""
    if path == user_database():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"there is no place for tuning results: {error.strerror}",
                where=str(path),
                remedy="name a file with --tuning-database",
            ) from None
    together = read_database(path).merged(Database(entries={instruction_set: entries}))
    write_atomically(path, together.model_dump_json(indent=1).encode() + b"\n")


def _parsed(text: str, where: str) -> Database:
    try:
        database = Database.model_validate_json(text)
    except ValidationError as error:
        raise UserError(
            f"the tuning database is malformed: {error.errors()[0]['msg']}",
            where=where,
            remedy="remove it, or name another with --tuning-database",
        ) from None
    if database.format > FORMAT:
        raise UserError(
            f"tuning database of format {database.format}, this mcc reads up to {FORMAT}",
            where=where,
            remedy="update mcc, or name another file with --tuning-database",
        )
    return database
