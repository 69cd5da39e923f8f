"""Creation of a backup: reads, writes, counts again, then renames the finished directory."""

from __future__ import annotations

import gzip
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from collector.backup.manifest import (
    FORMAT,
    KEY_FILE,
    MANIFEST_FILE,
    SETTINGS_FILE,
    BackupError,
    File,
    Manifest,
    MonthFile,
    describe,
)
from collector.backup.months import DailySeries, Points, counted, months_between
from collector.days import day_of
from collector.influx import Influx
from collector.influx.databases import retentions
from collector.schema import DAILY
from collector.sqlite.lock import sync
from collector.state import write_new

_TRIES: Final = 3
_ADDRESS: Final = re.compile(r"(\w+://)(?:[^/\s]*@)?([^?#\s]*)(\?\S*)?")

Progress = Callable[[date, int], object]
"""Called after each month with its first day and the total number of months."""


async def save(
    influx: Influx,
    directory: Path,
    *,
    settings: Mapping[str, str],
    key: bytes | None,
    progress: Progress,
) -> Manifest:
    """Create a backup in `directory`, which must not exist, and return its manifest.

    InfluxDB counts each month again after it was read. The backup has a temporary name beside
    `directory` until it is complete. `settings` are variables without secrets; `key` is the content
    of the pseudonym key file, or None to leave it out. Raises BackupError, InfluxError, OSError.
    """
    if (await retentions(influx, (DAILY,)))[DAILY] is None:
        # An empty backup would hide that the settings name the wrong database.
        raise BackupError(
            f"there is no {influx.name(DAILY)} in InfluxDB, or the token may not see it"
        )
    with _created(directory) as draft:
        series = DailySeries(influx)
        extent = await series.extent()
        months = months_between(*extent) if extent else []
        files: dict[str, File] = {}
        listed: list[MonthFile] = []
        for month in months:
            points = await _read_month(series, month)
            if points:
                name = f"{DAILY}-{month:%Y-%m}.lp.gz"
                files[name] = _write(draft / name, _packed(points))
                listed.append(MonthFile(file=name, points=counted(points)))
            progress(month, len(months))
        files[SETTINGS_FILE] = _write(draft / SETTINGS_FILE, _as_env(settings).encode())
        if key is not None:
            files[KEY_FILE] = _write(draft / KEY_FILE, key)
        totals: Counter[str] = Counter()
        for one in listed:
            totals.update(one.points)
        manifest = Manifest(
            format=FORMAT,
            version=version("usage-collector"),
            influxdb=await influx.ping(),
            made=datetime.now(UTC),
            database=DAILY,
            first=day_of(extent[0]) if extent else None,
            last=day_of(extent[1]) if extent else None,
            points=dict(sorted(totals.items())),
            months=tuple(listed),
            files=files,
        )
        _write(draft / MANIFEST_FILE, (manifest.model_dump_json(indent=2) + "\n").encode())
        sync(draft)
        return manifest


@contextmanager
def _created(directory: Path) -> Iterator[Path]:
    """A temporary directory that is renamed to `directory` if the block succeeds."""
    if directory.exists():
        raise BackupError(f"{directory} exists already: a backup is never overwritten")
    directory.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        yield draft
        # This fails if another run created it meanwhile, since that directory is not empty.
        draft.rename(directory)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    sync(directory.parent)


async def _read_month(series: DailySeries, month: date) -> Points:
    """Read a month until its values match InfluxDB's count; a rollup may write in between."""
    for _ in range(_TRIES):
        points, values = await series.read(month)
        if values == await series.count(month):
            return points
    raise BackupError(
        f"{month:%Y-%m}: InfluxDB's count differs from the points read; try again when no rollup"
        " runs"
    )


def _packed(points: Points) -> bytes:
    lines = (line for moment in sorted(points) for line in points[moment])
    # Without a time stamp, equal series make equal files.
    return gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0)


def _write(path: Path, content: bytes) -> File:
    write_new(path, content)
    # The checksum is that of the file on disk.
    return describe(path)


def _as_env(settings: Mapping[str, str]) -> str:
    """Format settings as an environment file, with secrets in addresses removed."""
    lines = ["# The collector's settings. Secrets are not included: set them again."]
    lines += [name + "=" + _ADDRESS.sub(r"\1\2", value) for name, value in settings.items()]
    return "\n".join([*lines, ""])
