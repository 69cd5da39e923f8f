"""What a backup says of itself: what is in it, and how to know that it is whole."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

NAME: Final = "manifest.json"
FORMAT: Final = 1
SETTINGS: Final = "settings.env"
KEY: Final = "pseudonym.key"
_PIECE: Final = 1 << 20


class BackupError(Exception):
    """A backup cannot be made or used; the text says why."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class File(_Frozen):
    """One file: its SHA-256 in hexadecimal, its size in bytes."""

    sha256: str
    bytes: int


class Month(_Frozen):
    """One month of the daily series: its file, and its points by measurement."""

    file: str
    points: Mapping[str, int]


class Manifest(_Frozen):
    """`format` rises when an older version could no longer read a backup.

    `first` and `last` are the days of the oldest and the newest point; None where there is none.
    """

    format: int
    version: str
    influxdb: str
    made: datetime
    database: str
    first: date | None
    last: date | None
    points: Mapping[str, int]
    months: tuple[Month, ...]
    files: Mapping[str, File]

    @property
    def total(self) -> int:
        """Points in all."""
        return sum(self.points.values())


def describe(path: Path) -> File:
    """The checksum and the size of a file as it is on disk."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return File(sha256=digest.hexdigest(), bytes=path.stat().st_size)


def read(directory: Path) -> Manifest:
    """The manifest of a backup whose every file is as it was written.

    Raises BackupError: no backup, one of a newer version, or a damaged one.
    """
    path = directory / NAME
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
        raise BackupError(f"{directory} is no backup: it has no {NAME}") from None
    except (ValidationError, UnicodeDecodeError):
        raise BackupError(f"{directory} is damaged: {NAME} cannot be read") from None
    for name, wanted in manifest.files.items():
        if name != Path(name).name:
            raise BackupError(f"{directory} is damaged: it names a file {name!r} outside it")
        try:
            whole = describe(directory / name) == wanted
        except FileNotFoundError:
            raise BackupError(f"{directory} is damaged: {name} is missing") from None
        if not whole:
            raise BackupError(f"{directory} is damaged: {name} is not as it was written")
    if missing := {month.file for month in manifest.months} - manifest.files.keys():
        raise BackupError(f"{directory} is damaged: no checksum of {', '.join(sorted(missing))}")
    return manifest


class _Format(BaseModel):
    format: int
