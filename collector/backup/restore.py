"""Restore of a backup: compares before it writes, and verifies afterwards."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from collector.backup.manifest import KEY_FILE, BackupError, Manifest, MonthFile
from collector.backup.months import DailySeries, Moment, Points, counted, month_of
from collector.days import day_of
from collector.influx import Influx
from collector.state import write_new

_LINE: Final = re.compile(r"((?:[^\\, ]|\\.)+)[, ].* (-?\d+)")
_ESCAPED: Final = re.compile(r"\\([, ])")

Progress = Callable[[str, int], object]
"""Called after each step with the step's name and the total number of steps."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Comparison of a backup with InfluxDB: the number of missing moments, and the conflicts.

    A moment whose points are stored only in part is missing, not in conflict, so that an
    interrupted restore can be repeated.
    """

    missing: int
    conflicts: list[Moment]

    def days(self) -> list[str]:
        """The days in conflict, oldest first."""
        return sorted({day_of(time).isoformat() for _, time in self.conflicts})


@dataclass(slots=True, eq=False)
class Restore:
    """Restores one backup, whose files have been checked by `read_manifest`."""

    influx: Influx
    directory: Path
    manifest: Manifest
    progress: Progress

    async def compare(self) -> Comparison:
        """Compare the backup with InfluxDB; writes nothing. Raises InfluxError, BackupError."""
        series, missing = DailySeries(self.influx), 0
        conflicts: list[Moment] = []
        for month in self.manifest.months:
            wanted = self._read(month)
            stored, _ = await series.read(_month(wanted))
            for moment, lines in wanted.items():
                found = set(stored.get(moment, []))
                if found - set(lines):
                    conflicts.append(moment)
                elif found != set(lines):
                    missing += 1
            self.progress(f"compared {month.file}", 2 * len(self.manifest.months))
        return Comparison(missing, sorted(conflicts))

    async def write(self, comparison: Comparison) -> None:
        """Write the backup, overwrite conflicts, and read all of it back to verify it.

        Days that are not in the backup are not changed. Raises BackupError, InfluxError.
        """
        series, replaced = DailySeries(self.influx), set(comparison.conflicts)
        for month in self.manifest.months:
            wanted = self._read(month)
            for moment in sorted(replaced & wanted.keys()):
                await series.remove(moment)
            await series.write(wanted)
            stored, _ = await series.read(_month(wanted))
            wrong = [moment for moment in wanted if stored.get(moment) != wanted[moment]]
            if wrong:
                raise BackupError(
                    f"{month.file}: {len(wrong)} of {len(wanted)} times differ in InfluxDB from"
                    " the backup; is its retention shorter than the backup?"
                )
            self.progress(f"restored {month.file}", 2 * len(self.manifest.months))

    def _read(self, month: MonthFile) -> Points:
        points: Points = {}
        text = gzip.decompress((self.directory / month.file).read_bytes()).decode()
        for line in text.removesuffix("\n").split("\n"):
            found = _LINE.fullmatch(line)
            if found is None:
                raise BackupError(f"{month.file} holds a line that is not line protocol")
            name = _ESCAPED.sub(r"\1", found[1])
            points.setdefault((name, int(found[2])), []).append(line)
        if counted(points) != month.points:
            raise BackupError(f"{month.file} does not hold the counts of the manifest")
        return points


def _month(points: Points) -> date:
    return month_of(min(time for _, time in points))


def restore_key(directory: Path, file: Path) -> bool:
    """Write the backup's key to `file`; return False if the file has that key already.

    Raises BackupError if another key is there: replacing it would change every pseudonym.
    """
    key = (directory / KEY_FILE).read_bytes()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        write_new(file, key)
    except FileExistsError:
        if file.read_bytes().strip() == key.strip():
            return False
        raise BackupError(
            f"{file} holds another pseudonym key than the backup; move one of them away first"
        ) from None
    return True
