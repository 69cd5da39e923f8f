"""The daily series as line protocol, read and written one month at a time to bound memory."""

from __future__ import annotations

from collections import Counter
from datetime import date

from collector.days import day_ns, day_of, month_after, months
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


def month_of(time_ns: int) -> date:
    """The month of a time in ns since 1970, as its first day."""
    return day_of(time_ns).replace(day=1)


def months_between(first_ns: int, last_ns: int) -> list[date]:
    """All months from that of `first_ns` to that of `last_ns`."""
    return [first for first, _ in months(month_of(first_ns), day_of(last_ns))]


class DailySeries:
    """All measurements of the daily database of one InfluxDB, unknown ones included.

    A month (UTC) is given by its first day.
    """

    def __init__(self, influx: Influx) -> None:
        self._contents = Contents(influx, DAILY)

    async def extent(self) -> tuple[int, int] | None:
        """The times (ns) of the oldest and the newest point; None if there is none."""
        return await self._contents.extent(*await self._contents.measurements())

    async def read(self, month: date) -> tuple[Points, Values]:
        """Read a month's points and count their values. Raises InfluxError."""
        points: Points = {}
        values: Values = Counter()
        for name in await self._contents.measurements():
            found, counts = await self._contents.read(name, _span(month))
            points.update({(name, time): lines for time, lines in found.items()})
            values.update({(name, field): number for field, number in counts.items()})
        return points, values

    async def count(self, month: date) -> Values:
        """Let InfluxDB count the values of a month. Raises InfluxError."""
        values: Values = Counter()
        for name in await self._contents.measurements():
            counts = await self._contents.count(name, _span(month))
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


def _span(month: date) -> Span:
    return Span(day_ns(month), day_ns(month_after(month)))
