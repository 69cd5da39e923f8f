"""The manifest of a backup: its contents, and the checksums that prove it is complete."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

MANIFEST_FILE: Final = "manifest.json"
FORMAT: Final = 1
SETTINGS_FILE: Final = "settings.env"
KEY_FILE: Final = "pseudonym.key"
_PIECE: Final = 1 << 20


class BackupError(Exception):
    """A backup cannot be made or used; the text gives the reason."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class File(_Frozen):
    """Checksum of a file (SHA-256 in hexadecimal) and its size in bytes."""

    sha256: str
    bytes: int


class MonthFile(_Frozen):
    """A month of the daily series: its file, and its number of points by measurement."""

    file: str
    points: Mapping[str, int]


class Manifest(_Frozen):
    """Contents of a backup.

    `format` is raised when older versions cannot read new backups. `first` and `last` are the days
    of the oldest and the newest point, None if there is no point.
    """

    format: int
    version: str
    influxdb: str
    made: datetime
    database: str
    first: date | None
    last: date | None
    points: Mapping[str, int]
    months: tuple[MonthFile, ...]
    files: Mapping[str, File]

    @property
    def total(self) -> int:
        """The total number of points."""
        return sum(self.points.values())


def describe(path: Path) -> File:
    """Compute the checksum and the size of a file on disk."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return File(sha256=digest.hexdigest(), bytes=path.stat().st_size)


def read_manifest(directory: Path) -> Manifest:
    """Read the manifest of a backup and check every file against it.

    Raises BackupError if there is no backup, or if it is damaged or of a newer version.
    """
    path = directory / MANIFEST_FILE
    try:
        text = path.read_text(encoding="utf-8")
        found = _Format.model_validate_json(text).format
        if found > FORMAT:
            raise BackupError(
                f"{directory} was made by a newer version (format {found}, this one reads up to"
                f" {FORMAT}): restore it with that version"
            )
        manifest = Manifest.model_validate_json(text)
    except FileNotFoundError:
        raise BackupError(f"{directory} is not a backup: it has no {MANIFEST_FILE}") from None
    except (ValidationError, UnicodeDecodeError):
        raise BackupError(f"{directory} is damaged: {MANIFEST_FILE} cannot be read") from None
    for name, wanted in manifest.files.items():
        if name != Path(name).name:
            raise BackupError(f"{directory} is damaged: it names a file {name!r} outside it")
        try:
            whole = describe(directory / name) == wanted
        except FileNotFoundError:
            raise BackupError(f"{directory} is damaged: {name} is missing") from None
        if not whole:
            raise BackupError(f"{directory} is damaged: {name} has changed since it was written")
    if missing := {month.file for month in manifest.months} - manifest.files.keys():
        raise BackupError(f"{directory} is damaged: no checksum of {', '.join(sorted(missing))}")
    return manifest


class _Format(BaseModel):
    format: int
