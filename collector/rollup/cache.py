"""Days' facts and what each stored day was computed from, kept in the state directory.

Only a saving: what is lost is read from InfluxDB again. It holds pseudonyms, so it is as private as
raw data, and is dropped with it.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from hashlib import blake2b
from pathlib import Path
from typing import Final

import polars as pl
import structlog
from polars.exceptions import PolarsError

from collector.rollup.facts import DayFacts

log = structlog.get_logger("collector.rollup")

DIRECTORY: Final = "rollup"
_INDEX: Final = "index.json"
_RULES: Final = 2
"""The rules by which days are counted; what was kept under other ones counts as lost.

2: labels as in `collector.rollup.labels`; a node goes to a version once in 30 days.
"""


@dataclass(frozen=True, slots=True)
class RawCount:
    """How many rows of a day there are, erased ones included: what tells a changed day."""

    reports: int = 0
    node_reports: int = 0


Basis = Mapping[date, RawCount]
"""The raw counts of the days that a stored day was computed from; days of none are left out."""


class FactsCache:
    """Facts by day, valid for the raw count that they were gathered at; bases, valid for one `k`.

    Both are valid for the rules they were made under: a new version that counts by other rules
    computes every day anew whose raw reports are whole.

    What cannot be written is not kept: a full disk must not stop the series.
    """

    def __init__(self, state_dir: Path, *, k: int) -> None:
        self._directory = state_dir / DIRECTORY
        self._k = k

    def load(self, day: date, count: RawCount) -> DayFacts | None:
        """A day's facts; None where they are not kept, of another count, or damaged."""
        folder = self._folder(day)
        try:
            kept = json.loads((folder / _INDEX).read_text())
            if kept.get("rules") != _RULES or _count(kept["count"]) != count:
                return None
            return DayFacts(
                **{
                    name: _read(folder / f"{name}.parquet", kept["digests"][name])
                    for name in DayFacts.names()
                }
            )
        except FileNotFoundError:
            return None
        except (
            OSError,
            ValueError,
            TypeError,
            LookupError,
            AttributeError,
            PolarsError,
        ) as error:
            log.warning("kept facts are damaged", day=day.isoformat(), error=type(error).__name__)
            return None

    def save(self, day: date, count: RawCount, facts: DayFacts) -> None:
        """Keep a day's facts."""
        folder = self._folder(day)
        new = folder.with_suffix(".new")
        try:
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(mode=0o700, parents=True)
            digests = {}
            for name in DayFacts.names():
                content = io.BytesIO()
                getattr(facts, name).write_parquet(content, compression="lz4")
                digests[name] = _digest(content.getvalue())
                (new / f"{name}.parquet").write_bytes(content.getbuffer())
            index = {
                "rules": _RULES,
                "count": [count.reports, count.node_reports],
                "digests": digests,
            }
            (new / _INDEX).write_text(json.dumps(index))
            shutil.rmtree(folder, ignore_errors=True)
            new.rename(folder)
        except (OSError, PolarsError) as error:
            log.warning("facts cannot be kept", day=day.isoformat(), error=type(error).__name__)

    def basis(self, day: date) -> Basis | None:
        """What a stored day was computed from; None where not known, or under another k."""
        try:
            kept = json.loads(self._basis_file(day).read_text())
            if (kept["k"], kept.get("rules")) != (self._k, _RULES):
                return None
            counts = kept["counts"].items()
            return {date.fromisoformat(name): _count(value) for name, value in counts}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
            log.warning("kept basis is damaged", day=day.isoformat(), error=type(error).__name__)
            return None

    def record(self, day: date, basis: Basis) -> None:
        """Keep what a day that is now stored was computed from."""
        counts = {d.isoformat(): [c.reports, c.node_reports] for d, c in basis.items()}
        file = self._basis_file(day)
        new = file.with_suffix(".new")
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            new.write_text(json.dumps({"rules": _RULES, "k": self._k, "counts": counts}))
            new.replace(file)
        except OSError as error:
            log.warning("a basis cannot be kept", day=day.isoformat(), error=type(error).__name__)

    def unrecord(self, day: date) -> None:
        """What a day was computed from is not known any more: it is about to be stored."""
        try:
            self._basis_file(day).unlink(missing_ok=True)
        except OSError as error:
            log.warning("a basis stays", day=day.isoformat(), error=type(error).__name__)

    def forget(self, day: date) -> None:
        """Drop a day's facts, half-written ones too. Raises OSError where some stay.

        Whenever they were saved: they may have been read before an owner's rows were gone.
        """
        folder = self._folder(day)
        for path in (folder, folder.with_suffix(".new")):
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(path)

    def drop_before(self, facts_from: date, bases_from: date) -> None:
        """Drop facts, and bases, of days before these; what cannot be is told, and tried again."""
        for path in self._directory.glob("????-??-??*"):
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
                        "pseudonyms that are past their time cannot be deleted",
                        reason="undeletable",
                        file=path.name,
                        why=error.strerror,
                    )

    def _folder(self, day: date) -> Path:
        return self._directory / day.isoformat()

    def _basis_file(self, day: date) -> Path:
        return self._directory / f"{day.isoformat()}.basis"


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=16).hexdigest()


def _read(file: Path, digest: str) -> pl.DataFrame:
    """A frame as it was written; ValueError where the file is not, which Parquet would not tell."""
    content = file.read_bytes()
    if _digest(content) != digest:
        raise ValueError(f"{file.name} is not as it was written")
    return pl.read_parquet(content)


def _count(value: list[int]) -> RawCount:
    reports, node_reports = value
    return RawCount(int(reports), int(node_reports))
