"""The daily series as line protocol, a month at a time: ten years need no more memory than one."""

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
"""A measurement and a time in ns."""
Points = dict[Moment, list[str]]
"""The lines of each moment, sorted, so that what is equal compares equal."""
Values = Counter[tuple[str, str]]
"""How many values each measurement and field has."""


def counted(points: Points) -> dict[str, int]:
    """How many points each measurement has."""
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
        """The month after."""
        return Month(self.year + self.month // 12, self.month % 12 + 1)

    def start(self) -> int:
        """Its first moment, in ns since 1970."""
        return day_ns(date(self.year, self.month, 1))

    def where(self) -> str:
        """The month as a condition of InfluxQL."""
        return f"time >= {self.start()} AND time < {self.following().start()}"


def month_of(time_ns: int) -> Month:
    """The month of a time."""
    day = day_of(time_ns)
    return Month(day.year, day.month)


def months_between(first_ns: int, last_ns: int) -> Iterator[Month]:
    """Every month from that of one time to that of another."""
    for first, _ in months(day_of(first_ns), day_of(last_ns)):
        yield Month(first.year, first.month)


class DailySeries:
    """All measurements of one InfluxDB's daily database, those of other versions included."""

    def __init__(self, influx: Influx) -> None:
        self._influx = influx

    async def extent(self) -> tuple[int, int] | None:
        """The times (ns) of the oldest and the newest point; None where there is none."""
        times = [
            time
            for name in await self._measurements()
            for time in await measurement_range(self._influx, DAILY, name)
        ]
        return (min(times), max(times)) if times else None

    async def read(self, month: Month) -> tuple[Points, Values]:
        """A month's points, and how many values they hold. Raises InfluxError, BackupError."""
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
                for held in series.rows():
                    time = int(held.pop("time"))
                    fields = {
                        key: _typed(value, types[key])
                        for key, value in sorted(held.items())
                        if value is not None
                    }
                    values.update((name, key) for key in fields)
                    points.setdefault((name, time), []).append(line(name, tags, fields, time))
        for lines in points.values():
            lines.sort()
        return points, values

    async def count(self, month: Month) -> Values:
        """How many values a month holds, by InfluxDB's own counting. Raises InfluxError."""
        values: Values = Counter()
        for name in await self._measurements():
            found = await read(self._influx, Select(DAILY, name, ["count(*)"], month.where()))
            for series in found:
                for column, number in zip(series.columns[1:], series.values[0][1:], strict=True):
                    values[name, column.removeprefix("count_")] += number or 0
        return +values

    async def write(self, points: Points) -> None:
        """Store points. Raises InfluxError where InfluxDB does not take them all."""
        lines = [line for moment in sorted(points) for line in points[moment]]
        await write_all(self._influx, DAILY, "the daily series", lines)

    async def remove(self, moment: Moment) -> None:
        """Remove every point of a measurement at a time."""
        name, time = moment
        await self._influx.delete(DAILY, name, f"time = {time}")

    async def _measurements(self) -> list[str]:
        found = await self._influx.query(DAILY, "SHOW MEASUREMENTS")
        return sorted(row[0] for series in found for row in series.values)

    async def _types(self, measurement: str) -> dict[str, str]:
        """The type of each field; an answer in JSON does not tell 5 from 5.0."""
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
    raise BackupError(f"a field of type {kind} that a line cannot hold: {str(value)[:40]!r}")
