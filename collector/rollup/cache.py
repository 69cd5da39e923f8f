"""Cache of days' facts, and of the raw counts that stored days were computed from.

It lives in the state directory. Lost entries are read from InfluxDB again. It holds pseudonyms, so
it is as private as raw data and is deleted when that expires.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from hashlib import blake2b
from pathlib import Path
from typing import Final, Self

import structlog

from collector.lazy import pl
from collector.rollup.facts import DayUnits
from collector.rollup.ranges import WHOLE, Range

log = structlog.get_logger("collector.rollup")

DIRECTORY: Final = "rollup"
_INDEX: Final = "index.json"
_RULES: Final = 6
"""Version of the counting rules, raised when they change; entries under another are ignored."""
_DAMAGED: Final = (OSError, ValueError, TypeError, LookupError, AttributeError)
"""Errors of reading a file that is not as it was written."""


@dataclass(frozen=True, slots=True)
class RawCount:
    """Numbers of raw rows of a day, erased ones included; a day has changed if they differ."""

    reports: int = 0
    node_reports: int = 0

    @property
    def rows(self) -> int:
        """The number of rows of both measurements."""
        return self.reports + self.node_reports


Basis = Mapping[date, RawCount]
"""Raw counts, by day, that a stored day was computed from; days without rows are left out."""


class FactsCache:
    """Cache of facts and bases by day.

    Facts are valid for the raw count that they were computed at, bases for one `k`, and both for
    the version of the counting rules: when the rules change, every day with complete raw data is
    computed again.

    Write errors are logged and ignored: a full disk must not stop the series.
    """

    def __init__(self, state_dir: Path, *, k: int) -> None:
        self.directory = state_dir / DIRECTORY
        """The directory of all files, which only the collector's user may read."""
        self._k = k

    def load(self, day: date, count: RawCount, part: Range = WHOLE) -> DayUnits | None:
        """The cached units of a day in a range; None if they are missing, outdated or damaged."""
        folder = self._folder(day)
        try:
            index = json.loads((folder / _INDEX).read_text())
            if index.get("rules") != _RULES or "ranges" not in index:
                return None
            if _count(index["count"]) != count:
                return None
            return _joined(
                [
                    {
                        name: _read(folder / file, index["digests"][file])
                        for name in DayUnits.names()
                        for file in [_file(name, each)]
                    }
                    for each in part.overlapping(index["ranges"])
                ],
                part,
            )
        except FileNotFoundError:
            return None
        except (*_DAMAGED, ArithmeticError, pl.exceptions.PolarsError) as error:
            log.warning("cached facts are damaged", day=day.isoformat(), error=type(error).__name__)
            return None

    def replace(self, day: date) -> Replacement:
        """Begin to store the units of a day, range by range."""
        return Replacement(day, self._folder(day))

    def basis(self, day: date) -> Basis | None:
        """The basis of a stored day; None if it is unknown or was computed under another k."""
        try:
            found = json.loads(self._basis_file(day).read_text())
            if (found["k"], found.get("rules")) != (self._k, _RULES):
                return None
            counts = found["counts"].items()
            return {date.fromisoformat(name): _count(value) for name, value in counts}
        except FileNotFoundError:
            return None
        except _DAMAGED as error:
            log.warning("cached basis is damaged", day=day.isoformat(), error=type(error).__name__)
            return None

    def save_basis(self, day: date, basis: Basis) -> None:
        """Store the basis of a day that is now stored in InfluxDB."""
        counts = {d.isoformat(): [c.reports, c.node_reports] for d, c in basis.items()}
        file = self._basis_file(day)
        new = file.with_suffix(".new")
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            new.write_text(json.dumps({"rules": _RULES, "k": self._k, "counts": counts}))
            new.replace(file)
        except OSError as error:
            log.warning("basis cannot be cached", day=day.isoformat(), error=type(error).__name__)

    def delete_basis(self, day: date) -> None:
        """Delete the basis of a day before the day is stored again."""
        try:
            self._basis_file(day).unlink(missing_ok=True)
        except OSError as error:
            log.warning("basis cannot be deleted", day=day.isoformat(), error=type(error).__name__)

    def forget(self, day: date) -> None:
        """Delete the facts of a day, partly written ones too. Raises OSError if files remain.

        Facts of any age go: they may have been read before an owner's rows were erased.
        """
        folder = self._folder(day)
        for path in (folder, folder.with_suffix(".new")):
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(path)

    def drop_before(self, facts_from: date, bases_from: date) -> None:
        """Delete facts and bases of earlier days; failures are logged and tried again next time."""
        for path in self.directory.glob("????-??-??*"):
            first = facts_from if path.is_dir() else bases_from
            if path.name[:10] < first.isoformat():
                try:
                    if path.is_dir():
                        shutil.rmtree(path)
                    else:
                        path.unlink()
                except FileNotFoundError:
                    continue
                except OSError as error:
                    log.error(
                        "expired pseudonyms cannot be deleted",
                        reason="undeletable",
                        file=path.name,
                        why=error.strerror,
                    )

    def _folder(self, day: date) -> Path:
        return self.directory / day.isoformat()

    def _basis_file(self, day: date) -> Path:
        return self.directory / f"{day.isoformat()}.basis"


class Replacement:
    """Units of a day that replace the cached ones when committed; a context manager.

    Write errors are logged, and nothing is replaced then.
    """

    def __init__(self, day: date, folder: Path) -> None:
        self._day = day
        self._folder = folder
        self._new = folder.with_suffix(".new")
        self._digests: dict[str, str] = {}
        self._ranges = 1
        self._begun = False
        self._failed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # A day that was not stored needs no pseudonyms.
        if self._begun:
            shutil.rmtree(self._new, ignore_errors=True)

    def add(self, part: Range, units: DayUnits) -> None:
        """Write the units of the next range."""
        if self._failed:
            return
        with self._logged():
            if not self._begun:
                self._begun = True
                shutil.rmtree(self._new, ignore_errors=True)
                self._new.mkdir(mode=0o700, parents=True)
            self._ranges = part.of
            for name in DayUnits.names():
                content = io.BytesIO()
                getattr(units, name).write_parquet(content, compression="lz4")
                file = _file(name, part)
                self._digests[file] = _digest(content.getbuffer())
                (self._new / file).write_bytes(content.getbuffer())

    def commit(self, count: RawCount) -> None:
        """Replace the cached units of the day by those of all ranges."""
        index = {
            "rules": _RULES,
            "count": [count.reports, count.node_reports],
            "ranges": self._ranges,
            "digests": self._digests,
        }
        if not self._failed:
            with self._logged():
                (self._new / _INDEX).write_text(json.dumps(index))
                shutil.rmtree(self._folder, ignore_errors=True)
                self._new.rename(self._folder)

    @contextlib.contextmanager
    def _logged(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pl.exceptions.PolarsError) as error:
            self._failed = True
            log.warning(
                "facts cannot be cached", day=self._day.isoformat(), error=type(error).__name__
            )


def _file(name: str, part: Range) -> str:
    return f"{name}-{part.number}.parquet"


def _joined(parts: list[dict[str, pl.DataFrame]], part: Range) -> DayUnits:
    """The units of a range, of the frames of ranges that overlap it."""
    frames = {name: pl.concat([each[name] for each in parts]) for name in DayUnits.names()}
    if part.of > 1:
        frames = {
            name: rows.filter(part.contains(rows.columns[0])) for name, rows in frames.items()
        }
    return DayUnits(**frames)


def _digest(content: bytes | memoryview) -> str:
    return blake2b(content, digest_size=16).hexdigest()


def _read(file: Path, digest: str) -> pl.DataFrame:
    """Read a frame. Raises ValueError if the file has changed, which Parquet does not detect."""
    content = file.read_bytes()
    if _digest(content) != digest:
        raise ValueError(f"{file.name} is not as it was written")
    return pl.read_parquet(content)


def _count(value: list[int]) -> RawCount:
    reports, node_reports = value
    return RawCount(int(reports), int(node_reports))
