"""A backup made: read, written, counted again, and only then put in its place."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from collector.backup import manifest as about
from collector.backup.manifest import BackupError, File, Manifest
from collector.backup.months import DailySeries, Month, Points, counted, months_between
from collector.days import day_of
from collector.influx import Influx
from collector.influx.databases import retentions
from collector.schema import DAILY

_TRIES: Final = 3
_ADDRESS: Final = re.compile(r"(\w+://)(?:[^/\s]*@)?([^?#\s]*)(\?\S*)?")

Progress = Callable[[Month, int], object]
"""Told after each month: it, and how many there are in all."""


async def save(
    influx: Influx,
    directory: Path,
    *,
    settings: Mapping[str, str],
    key: bytes | None,
    progress: Progress,
) -> Manifest:
    """Make a backup in `directory`, which must not be there yet, and return its manifest.

    Each month is counted again by InfluxDB once it is written. Until all is done the backup lies
    beside, under a temporary name. `settings` are variables without secrets; `key` is what the
    pseudonym key's file holds, if that is to be in the backup. Raises BackupError, InfluxError,
    OSError.
    """
    if (await retentions(influx, (DAILY,)))[DAILY] is None:
        # Not an empty backup: the settings may name the wrong place.
        raise BackupError(
            f"there is no {influx.name(DAILY)} in InfluxDB, or the token may not see it"
        )
    with _in_place_of(directory) as draft:
        return await _fill(influx, draft, settings=settings, key=key, progress=progress)


@contextmanager
def _in_place_of(directory: Path) -> Iterator[Path]:
    """A directory beside, which gets the name of `directory` if the block ends well."""
    if directory.exists():
        raise BackupError(f"{directory} is there already: a backup is never overwritten")
    directory.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.parent))
    try:
        yield draft
        # Had another run made it meanwhile, this fails, since that is not empty.
        draft.rename(directory)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    _sync(directory.parent)


async def _fill(
    influx: Influx,
    draft: Path,
    *,
    settings: Mapping[str, str],
    key: bytes | None,
    progress: Progress,
) -> Manifest:
    series = DailySeries(influx)
    extent = await series.extent()
    months = list(months_between(*extent)) if extent else []
    files: dict[str, File] = {}
    listed: list[about.Month] = []
    for month in months:
        points = await _settled(series, month)
        if points:
            name = f"{DAILY}-{month}.lp.gz"
            files[name] = _write(draft / name, _packed(points))
            listed.append(about.Month(file=name, points=counted(points)))
        progress(month, len(months))
    files[about.SETTINGS] = _write(draft / about.SETTINGS, _as_env(settings).encode())
    if key is not None:
        files[about.KEY] = _write(draft / about.KEY, key)
    totals: Counter[str] = Counter()
    for one in listed:
        totals.update(one.points)
    manifest = Manifest(
        format=about.FORMAT,
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
    _write(draft / about.NAME, (manifest.model_dump_json(indent=2) + "\n").encode())
    _sync(draft)
    return manifest


async def _settled(series: DailySeries, month: Month) -> Points:
    """A month as InfluxDB counts it too; read anew where a rollup wrote in between."""
    for _ in range(_TRIES):
        points, values = await series.read(month)
        if values == await series.count(month):
            return points
    raise BackupError(
        f"{month}: InfluxDB counts other points than it gives; try again when no rollup runs"
    )


def _packed(points: Points) -> bytes:
    lines = (line for moment in sorted(points) for line in points[moment])
    # No time in it: equal series make equal files.
    return gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0)


def _write(path: Path, content: bytes) -> File:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    # Read back: what counts is what is on the disk.
    return about.describe(path)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _as_env(settings: Mapping[str, str]) -> str:
    """Settings as an environment file; what an address may hold of a secret is left out."""
    lines = [
        f"{name}={_ADDRESS.sub(_without_secrets, value)}\n" for name, value in settings.items()
    ]
    return "# The collector's settings. Secrets are not here: give them anew.\n" + "".join(lines)


def _without_secrets(address: re.Match[str]) -> str:
    return f"{address[1]}{address[2]}"
