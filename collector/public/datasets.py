"""The series that can be downloaded: their rows, and how stored points become them. Pure.

Every row has a day, a count, the unit of the count, the time it counts over (`window`), and whether
the day is complete (`final`). Rows of a month are sorted by their columns, so that the same numbers
are always the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import polars as pl

from collector.days import day_ns
from collector.influx import Select, identifier, string
from collector.influx.frames import Rows
from collector.public.definitions import MEASURES
from collector.public.series import UsageDay
from collector.schema import (
    DAILY_NODES,
    DAILY_PACKAGES,
    DAILY_SERVERS,
    DAILY_UPGRADES,
    Measurement,
)

LICENCE: Final = "CC0-1.0"
LICENCE_URL: Final = "https://creativecommons.org/publicdomain/zero/1.0/"

_FORMULA: Final = r"^[=+\-@\t\r]"
"""How a text begins that a spreadsheet takes for a formula."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """One series to download at `/v1/{path}`.

    `measurement` is None for `daily_usage`, whose rows are its fields. `columns` are the texts of a
    row beside its day, `filters` those by which rows can be chosen.
    """

    path: str
    measurement: Measurement | None
    columns: tuple[str, ...]
    filters: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its name in file names and in OpenAPI's operations."""
        return self.path.replace("/", "-")

    def heading(self) -> tuple[str, ...]:
        """The names of a row's values, in order."""
        last = ("final", "imported") if self.measurement is None else ("final",)
        return ("day", *self.columns, "count", "unit", "window", *last)

    def select(self, first: date, last: date, chosen: Mapping[str, str]) -> Select:
        """The rows from one day to another. Raises TypeError for `daily_usage`."""
        if self.measurement is None:
            raise TypeError("daily_usage is read whole")
        narrowed = "".join(
            f" AND {identifier(name)} = {string(value)}" for name, value in chosen.items()
        )
        return Select.rows(
            self.measurement,
            (self._field, *self.columns),
            f"time >= {day_ns(first)} AND time < {day_ns(last + timedelta(days=1))}" + narrowed,
        )

    def rows(self) -> Rows:
        """A parser of what `select` gives."""
        types: dict[str, pl.DataType] = {self._field: pl.Int64()}
        return Rows(types | dict.fromkeys(self.columns, pl.String()))

    @property
    def _field(self) -> str:
        return self.measurement.fields[0].name if self.measurement else ""

    def table_frame(self, read: pl.DataFrame, final: Iterable[date]) -> pl.DataFrame:
        """Rows from what `rows` parsed; `final` are the complete days."""
        days = pl.Series("final", sorted(final), dtype=pl.Date)
        return (
            read.select(
                pl.from_epoch("time", time_unit="ns").dt.date().alias("day"),
                *self.columns,
                pl.col(self._field).alias("count"),
                pl.lit(self._field).alias("unit"),
                pl.lit("1d").alias("window"),
            )
            .with_columns(pl.col("day").is_in(days.implode()).alias("final"))
            .sort("day", *self.columns)
        )

    def usage_frame(self, days: Iterable[UsageDay], chosen: Mapping[str, str]) -> pl.DataFrame:
        """Rows from days of `daily_usage`: one a day and measure, in the schema's order."""
        rows = [
            (
                day.day,
                item.name,
                day.fields[item.name],
                item.unit,
                item.window,
                day.final,
                day.fields.get("imported") == 1,
            )
            for day in days
            for item in MEASURES
            if item.name in day.fields and chosen.get("measure", item.name) == item.name
        ]
        return pl.DataFrame(rows, schema=list(self.heading()), orient="row")


DAILY: Final = Dataset("daily", None, ("measure",), ("measure",))
NODES: Final = Dataset(
    "daily/nodes",
    DAILY_NODES,
    ("dimension", "within", "within_value", "value"),
    ("dimension", "within", "within_value"),
)
SERVERS: Final = Dataset("daily/servers", DAILY_SERVERS, NODES.columns, NODES.filters)
PACKAGES: Final = Dataset("daily/packages", DAILY_PACKAGES, ("package", "version"), ("package",))
UPGRADES: Final = Dataset("upgrades", DAILY_UPGRADES, ("from_version", "to_version"), ())

DATASETS: Final = (DAILY, NODES, SERVERS, PACKAGES, UPGRADES)


def as_csv(frame: pl.DataFrame) -> bytes:
    """Rows as CSV without a heading.

    A text that a spreadsheet would run as a formula gets an apostrophe before it: senders choose
    these texts.
    """
    texts = pl.col(pl.String)
    safe = pl.when(texts.str.contains(_FORMULA)).then(pl.lit("'") + texts).otherwise(texts)
    return frame.with_columns(safe.name.keep()).write_csv(include_header=False).encode()


def as_json(frame: pl.DataFrame) -> bytes:
    """Rows as JSON objects, a comma and a line's end between."""
    return frame.write_ndjson().encode().rstrip(b"\n").replace(b"}\n{", b"},\n{")
