"""The daily series as line protocol, read and written one month at a time to bound memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from collector.backup.manifest import BackupError
from collector.days import day_ns, day_of, months
from collector.influx import Influx, Select, identifier, read
from collector.influx.usage import measurement_range
from collector.influx.writing import write_all
from collector.lines import FieldValue, line, tag_set
from collector.schema import DAILY

Moment = tuple[str, int]
"""A measurement and a time (ns since 1970)."""
Points = dict[Moment, list[str]]
"""The lines of each moment, sorted, so that equal contents compare equal."""
Values = Counter[tuple[str, str]]
"""The number of values of each measurement and field."""


def counted(points: Points) -> dict[str, int]:
    """The number of points of each measurement."""
    counts: Counter[str] = Counter()
    for (name, _), lines in points.items():
        counts[name] += len(lines)
    return dict(counts)


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A calendar month, UTC."""

    year: int
    month: int

    def __str__(self) -> str:
        return f"{self.year:04}-{self.month:02}"

    def following(self) -> Month:
        """The next month."""
        return Month(self.year + self.month // 12, self.month % 12 + 1)

    def start(self) -> int:
        """The start of the month, in ns since 1970."""
        return day_ns(date(self.year, self.month, 1))

    def where(self) -> str:
        """An InfluxQL condition that selects the month."""
        return f"time >= {self.start()} AND time < {self.following().start()}"


def month_of(time_ns: int) -> Month:
    """The month of a time in ns since 1970."""
    day = day_of(time_ns)
    return Month(day.year, day.month)


def months_between(first_ns: int, last_ns: int) -> Iterator[Month]:
    """All months from that of `first_ns` to that of `last_ns`."""
    for first, _ in months(day_of(first_ns), day_of(last_ns)):
        yield Month(first.year, first.month)


class DailySeries:
    """All measurements of the daily database of one InfluxDB, unknown ones included."""

    def __init__(self, influx: Influx) -> None:
        self._influx = influx

    async def extent(self) -> tuple[int, int] | None:
        """The times (ns) of the oldest and the newest point; None if there is none."""
        times = [
            time
            for name in await self._measurements()
            for time in await measurement_range(self._influx, DAILY, name)
        ]
        return (min(times), max(times)) if times else None

    async def read(self, month: Month) -> tuple[Points, Values]:
        """Read a month's points and count their values. Raises InfluxError, BackupError."""
        points: Points = {}
        values: Values = Counter()
        for name in await self._measurements():
            types = await self._types(name)
            select = Select(
                DAILY, name, ["*"], month.where(), "GROUP BY *", counted=next(iter(types), "")
            )
            found = await read(self._influx, select)
            for series in found:
                tags = tag_set({key: value for key, value in series.tags.items() if value})
                for row in series.rows():
                    time = int(row.pop("time"))
                    fields = {
                        key: _typed(value, types[key])
                        for key, value in sorted(row.items())
                        if value is not None
                    }
                    values.update((name, key) for key in fields)
                    points.setdefault((name, time), []).append(line(name, tags, fields, time))
        for lines in points.values():
            lines.sort()
        return points, values

    async def count(self, month: Month) -> Values:
        """Let InfluxDB count the values of a month. Raises InfluxError."""
        values: Values = Counter()
        for name in await self._measurements():
            found = await read(self._influx, Select(DAILY, name, ["count(*)"], month.where()))
            for series in found:
                for column, number in zip(series.columns[1:], series.values[0][1:], strict=True):
                    values[name, column.removeprefix("count_")] += number or 0
        return +values

    async def write(self, points: Points) -> None:
        """Write points. Raises InfluxError if InfluxDB does not store all of them."""
        lines = [line for moment in sorted(points) for line in points[moment]]
        await write_all(self._influx, DAILY, "the daily series", lines)

    async def remove(self, moment: Moment) -> None:
        """Delete all points of a measurement at a time. Raises InfluxError."""
        name, time = moment
        await self._influx.delete(DAILY, name, f"time = {time}")

    async def _measurements(self) -> list[str]:
        found = await self._influx.query(DAILY, "SHOW MEASUREMENTS")
        return sorted(row[0] for series in found for row in series.values)

    async def _types(self, measurement: str) -> dict[str, str]:
        """Read the type of each field, since JSON does not distinguish 5 from 5.0."""
        found = await self._influx.query(DAILY, f"SHOW FIELD KEYS FROM {identifier(measurement)}")
        pairs = [(row[0], row[1]) for series in found for row in series.values]
        types = dict(pairs)
        if twice := sorted({key for key, kind in pairs if types[key] != kind}):
            raise BackupError(
                f"{measurement} holds {', '.join(twice)} as two types in different years:"
                " InfluxDB cannot read that back as it was"
            )
        return types


def _typed(value: FieldValue, kind: str) -> FieldValue:
    match kind:
        case "integer":
            return int(value)
        case "float":
            return float(value)
        case "string" if "\n" not in str(value):
            return str(value)
    raise BackupError(
        f"a field of type {kind} that line protocol cannot represent: {str(value)[:40]!r}"
    )
