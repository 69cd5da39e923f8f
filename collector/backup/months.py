"""The daily series as line protocol, read and written one month at a time to bound memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from collector.days import day_ns, day_of, months
from collector.influx import Influx
from collector.influx.contents import Contents, Span
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

    def span(self) -> Span:
        """The times of the month."""
        return Span(self.start(), self.following().start())


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
        self._contents = Contents(influx, DAILY)

    async def extent(self) -> tuple[int, int] | None:
        """The times (ns) of the oldest and the newest point; None if there is none."""
        times = [
            time
            for name in await self._contents.measurements()
            for time in await self._contents.extent(name) or ()
        ]
        return (min(times), max(times)) if times else None

    async def read(self, month: Month) -> tuple[Points, Values]:
        """Read a month's points and count their values. Raises InfluxError."""
        points: Points = {}
        values: Values = Counter()
        for name in await self._contents.measurements():
            found, counts = await self._contents.read(name, month.span())
            points.update({(name, time): lines for time, lines in found.items()})
            values.update({(name, field): number for field, number in counts.items()})
        return points, values

    async def count(self, month: Month) -> Values:
        """Let InfluxDB count the values of a month. Raises InfluxError."""
        values: Values = Counter()
        for name in await self._contents.measurements():
            counts = await self._contents.count(name, month.span())
            values.update({(name, field): number for field, number in counts.items()})
        return values

    async def write(self, points: Points) -> None:
        """Write points. Raises InfluxError if InfluxDB does not store all of them."""
        batch: dict[int, list[str]] = {}
        for (_, time), lines in sorted(points.items()):
            batch.setdefault(time, []).extend(lines)
        await self._contents.write(batch)

    async def remove(self, moment: Moment) -> None:
        """Delete all points of a measurement at a time. Raises InfluxError."""
        name, time = moment
        await self._contents.remove(name, f"time = {time}")
