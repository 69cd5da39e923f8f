"""Series that can be downloaded: their columns, and the conversion of stored points to rows. Pure.

Every row has a day, a count, the unit of the count, the period that it covers (`window`), and
whether the day is complete (`final`). Rows of a month are sorted by their columns, so that the same
numbers always give the same bytes.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from pydantic import BaseModel

from collector.days import day_ns
from collector.influx import Select, identifier, string
from collector.influx.frames import Rows
from collector.lazy import pl
from collector.public.definitions import MEASURES
from collector.public.series import UsageDay
from collector.schema import (
    DAILY_NODES,
    DAILY_PACKAGES,
    DAILY_SERVERS,
    DAILY_UPGRADES,
    DAILY_USAGE,
    NODE_DIMENSIONS,
    WHOLE_DIMENSIONS,
    Measurement,
)

LICENCE: Final = "CC0-1.0"

_FORMULA: Final = r"^[=+\-@\t\r]"
"""Matches text that a spreadsheet takes for a formula."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """One series that can be downloaded at `/v1/{path}`.

    Of `daily_usage` it has a row for each field, of any other `measurement` one for each point.
    `columns` are the text columns beside the day, `filters` those that rows can be selected by.
    `dimensions` are the values of the column `dimension`.
    """

    path: str
    measurement: Measurement
    columns: tuple[str, ...]
    filters: tuple[str, ...]
    dimensions: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name in file names and in OpenAPI operation IDs."""
        return self.path.replace("/", "-")

    def heading(self) -> tuple[str, ...]:
        """Names of all columns, in order."""
        last = ("final", "imported") if self.measurement is DAILY_USAGE else ("final",)
        return ("day", *self.columns, "count", "unit", "window", *last)

    def select(self, first: date, last: date, chosen: Mapping[str, str]) -> Select:
        """The query for points from `first` to `last`."""
        narrowed = "".join(
            f" AND {identifier(name)} = {string(value)}" for name, value in chosen.items()
        )
        return Select.rows(
            self.measurement,
            (self._field, *self.columns),
            f"time >= {day_ns(first)} AND time < {day_ns(last + timedelta(days=1))}" + narrowed,
        )

    def rows(self) -> Rows:
        """A parser for the result of `select`."""
        types: dict[str, pl.DataType] = {self._field: pl.Int64()}
        return Rows(types | dict.fromkeys(self.columns, pl.String()))

    @property
    def _field(self) -> str:
        return self.measurement.fields[0].name

    def table_frame(self, read: pl.DataFrame, final: Iterable[date]) -> pl.DataFrame:
        """Rows made from a parsed result; `final` are the complete days."""
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
        """Rows made from days of `daily_usage`: one for each day and field, in schema order."""
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


DAILY: Final = Dataset("daily", DAILY_USAGE, ("measure",), ("measure",))
NODES: Final = Dataset(
    "daily/nodes",
    DAILY_NODES,
    ("dimension", "within", "within_value", "value"),
    ("dimension", "within", "within_value"),
    NODE_DIMENSIONS,
)
SERVERS: Final = Dataset(
    "daily/servers",
    DAILY_SERVERS,
    NODES.columns,
    NODES.filters,
    (*NODE_DIMENSIONS, *WHOLE_DIMENSIONS),
)
PACKAGES: Final = Dataset("daily/packages", DAILY_PACKAGES, ("package", "version"), ("package",))
UPGRADES: Final = Dataset("upgrades", DAILY_UPGRADES, ("from_version", "to_version"), ())

DATASETS: Final = (DAILY, NODES, SERVERS, PACKAGES, UPGRADES)


def csv_of(model: type[BaseModel], rows: Iterable[BaseModel]) -> bytes:
    """Rows of a model as CSV, with a header line of its fields; formulas as in `as_csv`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(model.model_fields)
    for row in rows:
        writer.writerow(map(_cell, row.model_dump(mode="json").values()))
    return text.getvalue().encode()


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}" if isinstance(value, str) and re.match(_FORMULA, value) else value


def as_csv(frame: pl.DataFrame) -> bytes:
    """Rows as CSV without a header line.

    Senders choose these texts, so one that a spreadsheet would run as a formula gets an apostrophe
    before it.
    """
    texts = pl.col(pl.String)
    safe = pl.when(texts.str.contains(_FORMULA)).then(pl.lit("'") + texts).otherwise(texts)
    return frame.with_columns(safe.name.keep()).write_csv(include_header=False).encode()


def as_json(frame: pl.DataFrame) -> bytes:
    """Rows as JSON objects, separated by a comma and a newline."""
    return frame.write_ndjson().encode().rstrip(b"\n").replace(b"}\n{", b"},\n{")
