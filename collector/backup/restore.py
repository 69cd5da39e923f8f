"""A backup put back: checked before anything is written, compared after."""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from collector.backup import manifest as about
from collector.backup.manifest import BackupError, Manifest
from collector.backup.months import (
    DailySeries,
    Moment,
    Month,
    Points,
    counted,
    month_of,
)
from collector.days import day_of
from collector.influx import Influx

_LINE: Final = re.compile(r"((?:[^\\, ]|\\.)+)[, ].* (-?\d+)")
_ESCAPED: Final = re.compile(r"\\([, ])")

Progress = Callable[[str, int], object]
"""Told after each step: what was done, and how many steps there are in all."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A backup against what InfluxDB holds: moments to write, and those that hold something else.

    A moment of which a part is stored as the backup has it is no conflict: a restore that was
    interrupted goes on.
    """

    missing: int
    conflicts: list[Moment]

    def days(self) -> list[str]:
        """The days in conflict, oldest first."""
        return sorted({day_of(time).isoformat() for _, time in self.conflicts})


class Restore:
    """Puts one backup back. The manifest is of a backup whose checksums are right."""

    def __init__(
        self,
        influx: Influx,
        directory: Path,
        manifest: Manifest,
        progress: Progress,
    ) -> None:
        self._series = DailySeries(influx)
        self._directory = directory
        self._manifest = manifest
        self._progress = progress

    async def compare(self) -> Comparison:
        """What restoring would write and overwrite. Writes nothing. Raises InfluxError."""
        missing = 0
        conflicts: list[Moment] = []
        for month in self._manifest.months:
            wanted = self._read(month)
            stored, _ = await self._series.read(_month(wanted))
            for moment, lines in wanted.items():
                found = set(stored.get(moment, []))
                if found - set(lines):
                    conflicts.append(moment)
                elif found != set(lines):
                    missing += 1
            self._progress(f"compared {month.file}", 2 * len(self._manifest.months))
        return Comparison(missing, sorted(conflicts))

    async def write(self, comparison: Comparison) -> None:
        """Make InfluxDB hold what the backup holds, conflicts too; then compare what it gives.

        Days that the backup does not have stay as they are. Raises BackupError, InfluxError.
        """
        replaced = set(comparison.conflicts)
        for month in self._manifest.months:
            wanted = self._read(month)
            for moment in sorted(replaced & wanted.keys()):
                await self._series.remove(moment)
            await self._series.write(wanted)
            stored, _ = await self._series.read(_month(wanted))
            wrong = [moment for moment in wanted if stored.get(moment) != wanted[moment]]
            if wrong:
                raise BackupError(
                    f"{month.file}: {len(wrong)} of {len(wanted)} times are not in InfluxDB as the"
                    " backup has them; is its retention shorter than the backup?"
                )
            self._progress(f"restored {month.file}", 2 * len(self._manifest.months))

    def _read(self, month: about.Month) -> Points:
        points: Points = {}
        text = gzip.decompress((self._directory / month.file).read_bytes()).decode()
        for line in text.removesuffix("\n").split("\n"):
            found = _LINE.fullmatch(line)
            if found is None:
                raise BackupError(f"{month.file} holds what is no line protocol")
            name = _ESCAPED.sub(r"\1", found[1])
            points.setdefault((name, int(found[2])), []).append(line)
        if counted(points) != month.points:
            raise BackupError(f"{month.file} holds other counts than the manifest says")
        return points


def _month(points: Points) -> Month:
    return month_of(min(time for _, time in points))


def restore_key(directory: Path, file: Path) -> bool:
    """Put the backup's key in its place; False where it was there already.

    Raises BackupError where another key is there: with it gone, no node would be known again.
    """
    key = (directory / about.KEY).read_bytes()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        if file.read_bytes().strip() == key.strip():
            return False
        raise BackupError(
            f"{file} holds another pseudonym key than the backup; move one of them away first"
        ) from None
    with os.fdopen(handle, "wb") as opened:
        opened.write(key)
        opened.flush()
        os.fsync(opened.fileno())
    return True
