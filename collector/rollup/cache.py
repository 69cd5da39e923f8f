"""Days' facts and what each stored day was computed from, kept in the state directory.

Only a saving: what is lost is read from InfluxDB again. It holds pseudonyms, so it is as private as
raw data, and is dropped with it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

import polars as pl
import structlog
from polars.exceptions import PolarsError

from collector.rollup.facts import DayFacts

log = structlog.get_logger("collector.rollup")

DIRECTORY: Final = "rollup"


@dataclass(frozen=True, slots=True)
class RawCount:
    """How many rows of a day there are, erased ones included: what tells a changed day."""

    reports: int = 0
    node_reports: int = 0


Basis = Mapping[date, RawCount]
"""The raw counts of the days that a stored day was computed from; days of none are left out."""


class FactsCache:
    """Facts by day, valid for the raw count that they were gathered at."""

    def __init__(self, state_dir: Path) -> None:
        self._directory = state_dir / DIRECTORY

    def load(self, day: date, count: RawCount) -> DayFacts | None:
        """A day's facts; None where they are not kept, of another count, or damaged."""
        folder = self._folder(day)
        try:
            if _count(json.loads((folder / "count.json").read_text())) != count:
                return None
            return DayFacts(
                **{name: pl.read_parquet(folder / f"{name}.parquet") for name in DayFacts.names()}
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, PolarsError) as error:
            log.warning("kept facts are damaged", day=day.isoformat(), error=type(error).__name__)
            return None

    def save(self, day: date, count: RawCount, facts: DayFacts) -> None:
        """Keep a day's facts."""
        folder = self._folder(day)
        new = folder.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700, parents=True)
        for name in DayFacts.names():
            getattr(facts, name).write_parquet(new / f"{name}.parquet", compression="lz4")
        (new / "count.json").write_text(json.dumps([count.reports, count.node_reports]))
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)

    def basis(self, day: date) -> Basis | None:
        """What a stored day was computed from; None where that is not known."""
        try:
            kept = json.loads(self._basis_file(day).read_text())
            return {date.fromisoformat(name): _count(value) for name, value in kept.items()}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, AttributeError) as error:
            log.warning("kept basis is damaged", day=day.isoformat(), error=type(error).__name__)
            return None

    def record(self, day: date, basis: Basis) -> None:
        """Keep what a day that is now stored was computed from."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self._basis_file(day)
        new = file.with_suffix(".new")
        new.write_text(
            json.dumps({d.isoformat(): [c.reports, c.node_reports] for d, c in basis.items()})
        )
        new.replace(file)

    def drop_before(self, facts_from: date, bases_from: date) -> None:
        """Drop facts, and bases, of days before these."""
        for path in self._directory.glob("????-??-??*"):
            first = facts_from if path.is_dir() else bases_from
            if path.name[:10] < first.isoformat():
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    def _folder(self, day: date) -> Path:
        return self._directory / day.isoformat()

    def _basis_file(self, day: date) -> Path:
        return self._directory / f"{day.isoformat()}.basis"


def _count(value: list[int]) -> RawCount:
    reports, node_reports = value
    return RawCount(int(reports), int(node_reports))
